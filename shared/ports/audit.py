from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from shared.audit_filter import EVERYTHING, AuditFilter
from shared.merkle import Node
from shared.model import AuditRecord, Owner, ServiceName


class AuditJournal(Protocol):
    """Where a decision is written down before it takes effect."""

    async def append(self, *records: AuditRecord) -> None:
        """Returns once all of them are durable; `writer` and `sequence` are the journal's to set.

        Raises: AuditUnavailable.
        """


class AuditStore(Protocol):
    """The audit: records in the order of their shipping, each at a position that it keeps."""

    async def append(self, lines: Sequence[bytes]) -> None:
        """Add journals' lines, and to the tree as its next leaves. Idempotent by writer and sequence.

        Raises: MalformedMessage for a line that is none.
        """

    async def query(self, wanted: AuditFilter = EVERYTHING, *, limit: int = 1000) -> list[AuditRecord]:
        """Newest first."""

    async def read(self, start: int, limit: int) -> list[tuple[int, bytes]]:
        """Positions and lines, from a position on, in order. Purged ones are not there."""

    async def position(self, writer: str, sequence: int) -> int | None:
        """Where a record is."""

    async def misindexed(self, start: int, end: int) -> int | None:
        """The first position in a range at which what questions look at is not what the line says."""

    async def naming(self, since: datetime, until: datetime) -> int:
        """How many records of a time name a token, by its fingerprint."""

    async def generation(self, service: ServiceName, owner: Owner) -> int:
        """The highest generation that the audit knows of a grant; 0: it knows none."""

    async def generations(self) -> Mapping[tuple[ServiceName, Owner], int]:
        """The highest generation of every grant that the audit knows."""

    async def purge(self, before: datetime, limit: int, purged: Callable[[int], bytes]) -> int:
        """Remove records of before a moment, up to the first that is not; at most so many, and none that no
        checkpoint covers. How many there are none of from the first on, `purged` makes a record of, which is
        added in the same transaction. The tree keeps their hashes. Returns how many were removed."""


class AuditTree(Protocol):
    """The hashes of the audit's tree (RFC 9162), those of purged records too."""

    async def size(self) -> int:
        """How many leaves it has."""

    async def hashes(self, nodes: Collection[Node]) -> Mapping[Node, bytes]:
        """The hashes of complete subtrees; a node that the tree has not, or not any more, is missing."""

    async def leaves(self, start: int, end: int) -> list[bytes]:
        """The hashes of a range of leaves; short where the tree is."""


class CheckpointStore(Protocol):
    """Signed checkpoints of the audit's tree, by its size."""

    async def add(self, size: int, note: str, now: datetime) -> None:
        """Keep one. That of a size there is already stays as it is."""

    async def thin(self, before: datetime) -> int:
        """Of those written before a moment, keep the last of each day. Returns how many went."""

    async def newest(self) -> str | None: ...
    async def after(self, size: int, limit: int) -> list[tuple[int, str]]:
        """Those of larger trees with their sizes, smallest first."""


class CheckpointLedger(Protocol):
    """Checkpoints outside of the database. Raises: AuditUnavailable."""

    def add(self, note: str, at: datetime) -> None:
        """Durable on return."""

    def last(self) -> str | None:
        """The note that was added last."""
