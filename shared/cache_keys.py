"""Where things lie in the cache: access tokens, and the epochs that revoke vault tokens.

An epoch's value is its moment in microseconds since 1970, 8 bytes big endian; its version is the same number.
"""

from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote

from shared.model import Owner, RevocationKind, ServiceName

_UNIX_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")

#: Present while every revocation of the last day is in the cache. Where it is missing, SQL knows.
EPOCHS_READY_KEY: Final = "epoch:ready"


def token_key(service: ServiceName, owner: Owner) -> str:
    """Where a sealed access token lies. No two pairs share a key: the service is percent-encoded."""
    return f"tok:{quote(service, safe='')}:{owner}"


def epoch_key(kind: RevocationKind, subject: str) -> str:
    """Where the epoch of an agent, session or owner lies, or that of all with an empty subject."""
    return f"epoch:{kind.value}:{subject}"


def epoch_microseconds(moment: datetime) -> int:
    """A moment as an epoch's version."""
    return (moment - _UNIX_EPOCH) // timedelta(microseconds=1)


def epoch_value(moment: datetime) -> bytes:
    """A moment as an epoch's value."""
    return epoch_microseconds(moment).to_bytes(8, "big")


def epoch_moment(value: bytes) -> datetime:
    """The moment an epoch's value tells."""
    return _UNIX_EPOCH + timedelta(microseconds=int.from_bytes(value, "big"))
