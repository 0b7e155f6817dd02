import asyncio
from typing import Final

import structlog

from shared.checkpoint import Checkpoint, Verifier, opened, origin, signed
from shared.errors import VaultError
from shared.keyring import Keyring
from shared.merkle import nodes, span_hash
from shared.messages import EventType, LifecycleEvent
from shared.model import Owner, ServiceName
from shared.ports import AuditTree, Bus, CheckpointLedger, CheckpointStore, Clock
from workers.announcements import outgoing

#: Between two checkpoints, while records come in.
PACE_SECONDS: Final = 10.0
LOST: Final = (
    "The audit is not what was signed before, so nothing is signed: run `dispenser audit verify`. "
    "Where an older database was restored on purpose, move DISPENSER_HOME/checkpoints away"
)
log = structlog.get_logger()


class Checkpoints:
    """Signs the audit's tree at a fixed pace, as long as it goes on from what was signed before.

    Each checkpoint goes to a file, to the database and to `vault.events`, for witnesses outside to keep.
    """

    def __init__(
        self,
        *,
        tree: AuditTree,
        kept: CheckpointStore,
        ledger: CheckpointLedger,
        bus: Bus,
        keys: Keyring,
        clock: Clock,
        vault: str,
    ) -> None:
        """`ledger`: where checkpoints are kept outside of the database."""
        self._tree = tree
        self._kept = kept
        self._ledger = ledger
        self._bus = bus
        self._keys = keys
        self._clock = clock
        self._origin = origin(vault)
        self._lost = False

    async def run(self) -> None:
        """Sign until cancelled; what fails is tried again."""
        failing = ""
        while True:
            try:
                await self.sign()
                failing = ""
            except VaultError as error:
                if error.code != failing:
                    log.warning("The audit is not signed", code=error.code, why=str(error))
                failing = error.code
            await asyncio.sleep(PACE_SECONDS)

    async def sign(self) -> Checkpoint | None:
        """Sign the tree as it is. None: it has not grown, or is not what was signed before.

        Raises: KeyMissing, AuditUnavailable, StoreUnavailable, BusUnavailable, QueueFull, Unroutable.
        """
        _, key = self._keys.primary_key("checkpoint", self._keys.checkpoint_private)
        before, size = await self._before(), await self._tree.size()
        if size == (before.size if before else 0):
            return None
        root = await self._root(size)
        if root is None or (before is not None and not await self._begins(before, size)):
            if not self._lost:
                log.critical(LOST, size=size, signed_size=before.size if before else 0)
            self._lost = True
            return None
        self._lost = False
        checkpoint = Checkpoint(origin=self._origin, size=size, root=root)
        await self._publish(checkpoint, signed(checkpoint, key))
        return checkpoint

    async def _publish(self, checkpoint: Checkpoint, note: str) -> None:
        now = self._clock()
        await asyncio.to_thread(self._ledger.add, note, now)
        await self._kept.add(checkpoint.size, note, now)
        event = LifecycleEvent(
            id=f"{checkpoint.origin}.{checkpoint.size}",
            type=EventType.CHECKPOINT,
            at=now,
            service=ServiceName(""),
            owner=Owner(""),
            details={"checkpoint": note},
        )
        await self._bus.publish(outgoing(event))

    async def _before(self) -> Checkpoint | None:
        """The largest that was signed, by the file or by the database."""
        notes = [await asyncio.to_thread(self._ledger.last), await self._kept.newest()]
        verifiers = verifiers_of(self._keys, self._origin)
        known = [found for note in notes if note and (found := opened(note, verifiers)) is not None]
        return max(known, key=lambda checkpoint: checkpoint.size, default=None)

    async def _begins(self, before: Checkpoint, size: int) -> bool:
        """The tree that was signed is the beginning of the one there is."""
        return before.size <= size and await self._root(before.size) == before.root

    async def _root(self, size: int) -> bytes | None:
        """None: the tree misses hashes."""
        wanted = nodes((0, size))
        hashes = await self._tree.hashes(wanted)
        return span_hash((0, size), hashes.__getitem__) if len(hashes) == len(wanted) else None


def verifiers_of(keys: Keyring, name: str) -> list[Verifier]:
    """The verifiers for the checkpoint keys that a keyring holds."""
    return [Verifier(name=name, key=key) for key in keys.checkpoint_public.values()]
