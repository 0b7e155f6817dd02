from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from shared.model import SealedColumn, SealedRow

#: A row's key in its table.
RowId = str | bytes | int


class SealedStore(Protocol):
    """Every sealed value, whatever it is: for whoever brings them under a newer key."""

    async def count(self) -> Mapping[SealedColumn, Mapping[str, int]]:
        """How many rows of each column are sealed with which key, by its id."""

    async def page(
        self, column: SealedColumn, *, after: RowId | None, limit: int, other_than: str | None = None
    ) -> list[SealedRow]:
        """Rows in the order of their ids; with `other_than` those alone that another key has sealed."""

    async def swap(self, swaps: Sequence[tuple[SealedRow, bytes]]) -> int:
        """Put each new envelope in its old one's place, where that is still there. Returns how many were."""


class TransportKeyStore(Protocol):
    """The keys that agents seal their requests to, sealed under the keyring's transport key, by day."""

    async def load(self) -> Mapping[int, bytes]:
        """All that have not been purged."""

    async def add(self, day: int, sealed: bytes, expires_at: datetime) -> None:
        """Keep it, unless another dispenser was faster: each day has one key."""
