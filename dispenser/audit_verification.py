"""Whether records are what was signed, found in one pass and in little memory."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final

from shared import audit_line
from shared.audit_tiles import HEIGHT, WIDTH
from shared.checkpoint import Checkpoint
from shared.merkle import Peaks, complete_hash

PURGED: Final = "audit.purged"
_PURGED_LINE: Final = b'{"action":"%s"' % PURGED.encode()


class Tampering(StrEnum):
    """What became of a record."""

    CHANGED = "changed"
    REMOVED = "removed"
    MOVED = "moved"
    INSERTED = "inserted"
    #: Its column in the database is not what it says.
    MISINDEXED = "misindexed"
    #: The hashes that stand for it in the database are not its own.
    UNHASHED = "unhashed"
    #: The same log was signed with two contents.
    FORKED = "forked"
    #: A checkpoint is not signed by the key.
    UNSIGNED = "unsigned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The first thing that is not as it was signed."""

    tampering: Tampering
    #: Of the record; of the first that it may be where it is one of several.
    position: int
    #: Of the last that it may be.
    last: int
    says: str


def forked(checkpoints: Iterable[Checkpoint]) -> Fault | None:
    """Two checkpoints of one size and log with different roots: somebody was shown another audit."""
    for one, other in pairwise(
        sorted(checkpoints, key=lambda checkpoint: (checkpoint.size, checkpoint.root))
    ):
        if one.size == other.size and one.root != other.root:
            return _fault(Tampering.FORKED, 0, one.size - 1, f"Two audits of {one.size} records were signed.")
    return None


class AuditVerification:
    """Takes an audit's lines from the first to the last, and compares them with what was signed."""

    def __init__(
        self, checkpoints: Iterable[Checkpoint], purged: int = 0, peaks: Sequence[bytes] = ()
    ) -> None:
        """`purged`: how many records there are none of from the first on; `peaks`: what stands for them.

        Raises: ValueError when the peaks are not those of so many.
        """
        self._checkpoints = sorted(checkpoints, key=lambda checkpoint: checkpoint.size, reverse=True)
        while self._checkpoints and self._checkpoints[-1].size < purged:
            self._checkpoints.pop()
        self._purged = purged
        self._said_to_be_purged = 0
        self._peaks = Peaks(purged, peaks)
        self._leaves: list[bytes] = []
        #: Up to where the records are those of a checkpoint.
        self.signed = 0
        #: How many records were taken, the purged ones counted.
        self.size = purged
        #: The hashes of complete tiles of leaves, by their number, purged ones left out.
        self.tiles: dict[int, bytes] = {}

    def take(self, lines: Sequence[tuple[int, bytes]], hashes: Sequence[bytes]) -> Fault | None:
        """Compare the next lines, at their positions, with their hashes as they were kept beside them."""
        for at, (position, line) in enumerate(lines):
            if position != self.size:
                return self._misplaced(position)
            leaf = hashlib.sha256(b"\x00" + line).digest()
            if at >= len(hashes) or leaf != hashes[at]:
                return self._changed(leaf, hashes[at:])
            if line.startswith(_PURGED_LINE):
                self._said_to_be_purged = max(self._said_to_be_purged, audit_line.decode(line).count)
            fault = self._append(leaf)
            if fault is not None:
                return fault
        return None

    def end(self) -> Fault | None:
        """What is missing at the end, or was taken away from the beginning without a word."""
        if self._checkpoints:
            signed = self._checkpoints[0].size
            if signed > self.size:
                says = f"Record {self.size} and those after it are missing: {signed} were signed."
                return _fault(Tampering.REMOVED, self.size, signed - 1, says)
        if self._purged > self._said_to_be_purged:
            says = f"The first {self._purged} records are missing, and no record says that they were purged."
            return _fault(Tampering.REMOVED, self._said_to_be_purged, self._purged - 1, says)
        return None

    def _append(self, leaf: bytes) -> Fault | None:
        self.size += 1
        if not self._leaves and (self.size - 1) % WIDTH:
            self._peaks.append(leaf)  # the rest of a tile of which the beginning was purged
        else:
            self._leaves.append(leaf)
            if len(self._leaves) == WIDTH:
                tile = self.tiles[self.size // WIDTH - 1] = complete_hash(self._leaves)
                self._peaks.append(tile, HEIGHT)
                self._leaves.clear()
        while self._checkpoints and self._checkpoints[-1].size == self.size:
            if self._root() != self._checkpoints.pop().root:
                return self._unlike()
            self.signed = self.size
        return None

    def _root(self) -> bytes:
        peaks = self._peaks.copy()
        for leaf in self._leaves:
            peaks.append(leaf)
        return peaks.root

    def _misplaced(self, position: int) -> Fault:
        at = self.size
        if position < at:
            return _fault(
                Tampering.INSERTED, at, at, f"In place of record {at} stands a second record {position}."
            )
        return _fault(Tampering.REMOVED, at, position - 1, f"Record {at} is missing.")

    def _changed(self, leaf: bytes, hashes: Sequence[bytes]) -> Fault:
        at = self.size
        if leaf in hashes:
            return _fault(Tampering.MOVED, at, at, f"In place of record {at} stands one of after it.")
        return _fault(Tampering.CHANGED, at, at, f"Record {at} is not the one whose hash was kept.")

    def _unlike(self) -> Fault:
        first, last = max(self.signed, self._purged), self.size - 1
        says = (
            f"One of the records from {first} to {last} is not what was signed, though its hash is its own."
        )
        return _fault(Tampering.CHANGED, first, last, says)


def _fault(tampering: Tampering, position: int, last: int, says: str) -> Fault:
    return Fault(tampering=tampering, position=position, last=last, says=says)
