from datetime import datetime
from typing import Protocol

from shared.model import Revocation


class RevocationStore(Protocol):
    """The truth behind the epochs in the cache."""

    async def add(self, revocation: Revocation) -> None:
        """The later of two for one subject stays."""

    async def since(self, moment: datetime) -> list[Revocation]: ...


class AdminStore(Protocol):
    """Admin tokens, by SHA-256."""

    async def add(self, name: str, token_hash: bytes, now: datetime) -> None: ...
    async def named(self, token_hash: bytes) -> str | None:
        """Whose token it is. None: nobody's."""

    async def any(self) -> bool: ...
