from collections.abc import Sequence
from typing import Protocol


class Cache(Protocol):
    """A shared map from keys to versioned values, which may lose everything at any moment."""

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values, in the keys' order, in one round trip. Raises: CacheUnavailable."""

    async def put_if_newer(self, key: str, version: int, value: bytes, ttl_seconds: float | None) -> bool:
        """Store unless a value of the same or a higher version is there. Raises: CacheUnavailable."""

    async def replace(self, key: str, old: bytes, new: bytes) -> bool:
        """Put `new` in `old`'s place where that is still there; its version and its end stay.

        Raises: CacheUnavailable.
        """

    async def ping(self) -> None:
        """Raises: CacheUnavailable."""

    async def close(self) -> None:
        """Disconnect for good."""
