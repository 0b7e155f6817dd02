"""The cache's keys and the plain values among them. Sealed tokens are `shared.envelope`'s matter."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Final

from shared.model import Client, Owner, ProviderName, RevocationKind, ServiceName

#: Seconds that an epoch or a tombstone stays: longer than any vault token or refresh in flight.
REVOKED_SECONDS: Final = 86_400.0
#: A token's place after its grant was revoked: newer than any token, and none itself.
TOMBSTONE: Final = b""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def token_key(service: ServiceName, owner: Owner) -> str:
    """Where the sealed access token of a service and owner lies."""
    return f"tok:{service}:{owner}"


def provider_key(provider: ProviderName) -> str:
    """Where the moment lies until which refreshers leave a provider alone."""
    return f"provider:{provider}"


def client_key(provider: ProviderName, client: Client) -> str:
    """Where the mark lies that people were told of a provider's grants that are not this client's."""
    named = hashlib.sha256("\n".join(client.asks).encode()).hexdigest()
    return f"provider:{provider}:{named}"


def heartbeat_key(refresher: str) -> str:
    """Where a refresher that lives leaves its mark, for some seconds each time."""
    return f"alive:{refresher}"


def proof_key(digest: bytes) -> str:
    """Where the mark lies that a proof of possession has been used."""
    return f"proof:{digest.hex()}"


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
