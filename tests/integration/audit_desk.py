"""An audit with its signer, and what it is verified with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from builders import KEYS, NOW
from contract.stores import a_record

from dispenser.audit_export import head, wrapped
from dispenser.audit_proof import inclusion_proof
from dispenser.audit_review import Review, of_database, of_export
from shared import audit_line
from shared.adapters.checkpoint_folder import CheckpointFolder
from shared.adapters.memory_bus import MemoryBus
from shared.adapters.sql.store import SqlStore
from shared.checkpoint import Checkpoint, Verifier, opened, origin
from shared.merkle import inclusion, nodes, span_hash
from workers.checkpoints import Checkpoints, verifiers_of

VERIFIERS = verifiers_of(KEYS, origin("vault"))
VERIFIER: Verifier = VERIFIERS[0]


def lines(count: int, **changes: object) -> list[bytes]:
    return [audit_line.encode(a_record(**changes)) for _ in range(count)]


@dataclass
class AuditDesk:
    """`witnessed` are the checkpoints that somebody outside has kept."""

    store: SqlStore
    folder: Path
    bus: MemoryBus = field(default_factory=MemoryBus)
    witnessed: list[Checkpoint] = field(default_factory=list)

    def signer(self) -> Checkpoints:
        return Checkpoints(
            tree=self.store.audit_tree,
            kept=self.store.checkpoints,
            ledger=CheckpointFolder(self.folder / "checkpoints"),
            bus=self.bus,
            keys=KEYS,
            clock=lambda: NOW,
            vault="vault",
        )

    async def signed(self, *added: bytes) -> Checkpoint | None:
        """Add lines, and sign."""
        await self.bus.start()
        await self.store.audit.append(added)
        checkpoint = await self.signer().sign()
        if checkpoint is not None:
            self.witnessed.append(checkpoint)
        return checkpoint

    async def review(self) -> Review:
        return await of_database(self.store, self.witnessed, lambda _: None)

    async def proof(self, position: int) -> str:
        note = await self.store.checkpoints.newest()
        assert note is not None
        checkpoint = opened(note, VERIFIERS)
        assert checkpoint is not None
        spans = inclusion(position, checkpoint.size)
        hashes = await self.store.audit_tree.hashes({node for span in spans for node in nodes(span)})
        [(_, line)] = await self.store.audit.read(position, 1)
        path = [span_hash(span, hashes.__getitem__) for span in spans]
        return inclusion_proof(line, position, path, note)

    async def exported(self, start: int, limit: int) -> list[bytes]:
        """Lines of an export."""
        found = await self.store.audit.read(start, limit)
        return [wrapped(position, line) + b"\n" for position, line in found]

    async def export(self) -> list[bytes]:
        exported = await self.exported(0, 10_000)
        if purged := (await self.store.audit.read(0, 1))[0][0]:
            hashes = await self.store.audit_tree.hashes(nodes((0, purged)))
            exported.insert(0, head(purged, [hashes[node] for node in nodes((0, purged))]) + b"\n")
        return exported

    def export_review(self, exported: Sequence[bytes]) -> Review:
        return of_export(exported, self.witnessed, lambda _: None)
