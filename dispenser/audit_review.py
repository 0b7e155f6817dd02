"""Reads a whole audit, from the database or from an export, and has it verified."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final

from dispenser.audit_export import parsed_head, unwrapped
from dispenser.audit_verification import AuditVerification, Fault, Tampering, forked
from shared.audit_tiles import HEIGHT, WIDTH
from shared.checkpoint import Checkpoint
from shared.merkle import Node, complete_hash, nodes
from shared.ports import AuditStore, AuditTree, Store

BATCH: Final = 16 * WIDTH
#: Told how many records more are done.
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What came of it."""

    records: int
    purged: int
    #: How many of the records, from the first on, are under a checkpoint.
    signed: int
    fault: Fault | None


async def of_database(store: Store, checkpoints: Sequence[Checkpoint], progress: Progress) -> Review:
    """Every record, what questions find it by, and all hashes. Raises: StoreUnavailable."""
    while True:
        size, purged = await store.audit_tree.size(), await _purged(store.audit, store.audit_tree)
        review = await _DatabaseReview(store, checkpoints, progress).run(purged, size)
        if review.fault is None or await _purged(store.audit, store.audit_tree) == purged:
            return review  # what was purged meanwhile is no fault


def of_export(lines: Iterable[bytes], checkpoints: Sequence[Checkpoint], progress: Progress) -> Review:
    """Lines of an export, with their line feeds."""
    purged, rest = _begun(lines)
    try:
        verification = AuditVerification(checkpoints, *purged)
    except ValueError:
        says = "The hashes that stand for purged records are not so many as they must be."
        short = Fault(tampering=Tampering.UNHASHED, position=0, last=purged[0] - 1, says=says)
        return Review(records=0, purged=purged[0], signed=0, fault=short)
    fault = forked(checkpoints)
    while fault is None and (batch := list(islice(rest, BATCH))):
        parsed = [unwrapped(line.removesuffix(b"\n")) for line in batch]
        whole = [item for item in parsed if item is not None]
        readable = whole if len(whole) == len(parsed) else whole[: parsed.index(None)]
        fault = verification.take(
            [(at, line) for at, _, line in readable], [known for _, known, _ in readable]
        )
        if fault is None and len(readable) < len(parsed):
            at = verification.size
            says = f"The line of record {at} is not as the export had it."
            fault = Fault(tampering=Tampering.CHANGED, position=at, last=at, says=says)
        progress(len(batch))
    return _review(verification, purged[0], fault or verification.end())


class _DatabaseReview:
    def __init__(self, store: Store, checkpoints: Sequence[Checkpoint], progress: Progress) -> None:
        self._audit = store.audit
        self._tree = store.audit_tree
        self._checkpoints = checkpoints
        self._progress = progress

    async def run(self, purged: int, size: int) -> Review:
        wanted = nodes((0, purged))
        hashes = await self._tree.hashes(wanted)
        if len(hashes) < len(wanted):
            says = "Hashes that stand for purged records are missing."
            short = Fault(tampering=Tampering.UNHASHED, position=0, last=purged - 1, says=says)
            return Review(records=0, purged=purged, signed=0, fault=short)
        verification = AuditVerification(self._checkpoints, purged, [hashes[node] for node in wanted])
        fault = (
            forked(self._checkpoints)
            or await self._lines(verification, size)
            or await self._tiles(verification)
            or verification.end()
            or await self._beyond()
        )
        return _review(verification, purged, fault)

    async def _lines(self, verification: AuditVerification, size: int) -> Fault | None:
        while verification.size < size:
            start = verification.size
            end = min(size, start + BATCH - start % WIDTH)
            lines = [item for item in await self._audit.read(start, end - start) if item[0] < end]
            if not lines:
                says = f"Record {start} is missing."
                return Fault(tampering=Tampering.REMOVED, position=start, last=end - 1, says=says)
            fault = verification.take(lines, await self._tree.leaves(start, end))
            misindexed = await self._audit.misindexed(start, verification.size)
            if misindexed is not None:
                says = f"What record {misindexed} is found by is not what it says."
                return Fault(tampering=Tampering.MISINDEXED, position=misindexed, last=misindexed, says=says)
            if fault is not None:
                return fault
            self._progress(len(lines))
        return None

    async def _tiles(self, verification: AuditVerification) -> Fault | None:
        """The tree's inner hashes are those of its leaves."""
        height, row = HEIGHT, verification.tiles
        while row:
            kept = await self._kept(height, row)
            wrong = [index for index, computed in row.items() if kept.get((height, index)) != computed]
            if wrong:
                first, last = min(wrong) << height, ((min(wrong) + 1) << height) - 1
                says = f"A hash that stands for the records from {first} to {last} is not theirs."
                return Fault(tampering=Tampering.UNHASHED, position=first, last=last, says=says)
            height, row = height + HEIGHT, _row_above(row)
        return None

    async def _kept(self, height: int, row: Mapping[int, bytes]) -> Mapping[Node, bytes]:
        return await self._tree.hashes([(height, index) for index in row])

    async def _beyond(self) -> Fault | None:
        """Nothing stands where the tree has no place for it."""
        beyond = await self._audit.read(await self._tree.size(), 1)
        if beyond and beyond[0][0] >= await self._tree.size():
            says = f"Record {beyond[0][0]} is beyond the end of the tree."
            return Fault(tampering=Tampering.INSERTED, position=beyond[0][0], last=beyond[0][0], says=says)
        return None


def _row_above(row: Mapping[int, bytes]) -> dict[int, bytes]:
    """The next tiles' hashes, of those tiles that are whole."""
    above = {index // WIDTH for index in row}
    whole = {
        tile: [row[index] for index in range(tile * WIDTH, (tile + 1) * WIDTH) if index in row]
        for tile in above
    }
    return {tile: complete_hash(hashes) for tile, hashes in whole.items() if len(hashes) == WIDTH}


async def _purged(audit: AuditStore, tree: AuditTree) -> int:
    first = await audit.read(0, 1)
    return first[0][0] if first else await tree.size()


def _begun(lines: Iterable[bytes]) -> tuple[tuple[int, list[bytes]], Iterator[bytes]]:
    """What an export says was purged, and the lines after that."""
    rest = iter(lines)
    first = next(rest, None)
    if first is None:
        return (0, []), rest
    purged = parsed_head(first.removesuffix(b"\n"))
    return (purged, rest) if purged else ((0, []), chain([first], rest))


def _review(verification: AuditVerification, purged: int, fault: Fault | None) -> Review:
    return Review(records=verification.size - purged, purged=purged, signed=verification.signed, fault=fault)
