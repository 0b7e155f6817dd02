"""The cache's keys and the plain values among them. Sealed tokens are `shared.envelope`'s matter."""

from datetime import UTC, datetime, timedelta
from typing import Final

from shared.model import Owner, RevocationKind, ServiceName

#: There once every revocation that still matters has been written: without it, absence proves nothing.
EPOCHS_READY_KEY: Final = "epoch:ready"
#: A token's place after its grant was revoked: newer than any token, and none itself.
TOMBSTONE: Final = b""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def token_key(service: ServiceName, owner: Owner) -> str:
    """Where the sealed access token of a service and owner lies."""
    return f"tok:{service}:{owner}"


def epoch_key(kind: RevocationKind, subject: str) -> str:
    """Where the moment lies up to which a subject's vault tokens are void."""
    return f"epoch:{kind.value}:{subject}"


def epoch_version(moment: datetime) -> int:
    """Microseconds since the epoch: an epoch's version in the cache, so that it never goes back."""
    return (moment - _EPOCH) // _MICROSECOND


def epoch_value(moment: datetime) -> bytes:
    """A moment as the cache holds it: microseconds since the epoch, big endian, in 8 bytes."""
    return epoch_version(moment).to_bytes(8, "big")


def epoch_moment(value: bytes) -> datetime:
    """The moment that `epoch_value` made."""
    return _EPOCH + _MICROSECOND * int.from_bytes(value, "big")
