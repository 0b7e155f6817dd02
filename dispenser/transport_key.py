"""The keys that agents seal their requests to: one pair for each day (UTC), known a day ahead.

A day's key opens what was sealed to it until some time after the day has ended; then it is purged, and what
was recorded of its traffic stays sealed whatever else is stolen later. With it goes the day's ticket key,
under which sessions travel.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MATERIAL_BYTES: Final = 64
KEY_ID_BYTES: Final = 8
DAY_SECONDS: Final = 86_400
#: So long a session lives at most; longer than that an ended day's key is kept.
SESSION_SECONDS: Final = 3600
OVERLAP: Final = timedelta(seconds=2 * SESSION_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportKey:
    """A day's key."""

    #: The first 8 bytes of the public key's SHA-256.
    id: bytes
    #: Counted from the epoch.
    day: int
    private: X25519PrivateKey = field(repr=False)
    public: bytes
    #: Seals the tickets of sessions that were opened with this key.
    tickets: AESGCM = field(repr=False)

    @property
    def expires_at(self) -> datetime:
        """From then on nothing is opened with it."""
        return expires_at(self.day)


def from_material(day: int, material: bytes) -> TransportKey:
    """The key that 64 random bytes make. Raises: ValueError for another number of them."""
    if len(material) != MATERIAL_BYTES:
        raise ValueError("A transport key is made of 64 bytes.")
    private = X25519PrivateKey.from_private_bytes(material[:32])
    public = private.public_key().public_bytes_raw()
    return TransportKey(
        id=hashlib.sha256(public).digest()[:KEY_ID_BYTES],
        day=day,
        private=private,
        public=public,
        tickets=AESGCM(material[32:]),
    )


def begins_at(day: int) -> datetime:
    """The day's first instant."""
    return datetime.fromtimestamp(day * DAY_SECONDS, UTC)


def expires_at(day: int) -> datetime:
    """When nothing is opened with the day's key any more."""
    return begins_at(day + 1) + OVERLAP


def wanted(now: datetime) -> tuple[int, int]:
    """The days whose keys there must be: a database that is down for less than a day delays no rotation."""
    today = int(now.timestamp() // DAY_SECONDS)
    return today, today + 1


def current(held: Mapping[int, TransportKey], now: datetime) -> TransportKey:
    """The key for what is sealed now: today's, or the nearest there is. `held` is by day, and not empty."""
    today, _ = wanted(now)
    return held[min(held, key=lambda day: (abs(day - today), day))]
