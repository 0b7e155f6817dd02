"""The processes that keep every grant fresh and the house in order."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

from dispenser.wiring.provider_http import provider_http
from dispenser.wiring.role import until_stopped
from dispenser.wiring.world import World, checkpoint_folder, journal_folder
from shared.adapters.audit_journal import FileAuditJournal
from shared.adapters.checkpoint_folder import CheckpointFolder
from shared.ending import end
from shared.ports import AuditJournal
from workers.audit_delivery import AuditDelivery
from workers.audit_retention import AuditRetention
from workers.audit_shipping import AuditShipping
from workers.checkpoints import Checkpoints
from workers.janitor import Janitor
from workers.refresher import Refresher
from workers.scheduler import Scheduler
from workers.spool import Spool
from workers.spool_slot import SpoolSlot

SCHEDULER_INTERVAL_SECONDS: Final = 0.5


async def refresher(world: World) -> None:
    """Rotates what is due, until the process is asked to stop; rotations in flight come to their end."""
    await until_stopped(world, refreshing, "Refreshing")


async def scheduler(world: World) -> None:
    """Announces what is due."""
    await until_stopped(world, scheduling, "Announcing")


async def janitor(world: World) -> None:
    """Purges, reconciles, ships the audit."""
    await until_stopped(world, tidying, "Tidying")


@asynccontextmanager
async def refreshing(world: World) -> AsyncIterator[Refresher]:
    """A refresher at work, with a spool and an audit journal of its own."""
    with SpoolSlot.take(world.settings.home / "spool") as slot:
        slot.adopt()
        async with _journal(world, "refresher") as journal, _refresher(world, slot, journal) as worker:
            yield worker


@asynccontextmanager
async def _refresher(world: World, slot: SpoolSlot, journal: AuditJournal) -> AsyncIterator[Refresher]:
    http = provider_http(world.settings)
    worker = Refresher(
        store=world.store,
        bus=world.bus,
        cache=world.cache,
        http=http,
        keys=world.keys,
        spool=Spool(slot.folder),
        clock=world.clock,
        entropy=random.SystemRandom().random,
        name=f"refresher-{socket.gethostname()}-{slot.number}",
        public_url=world.settings.public_url,
        journal=journal,
    )
    try:
        await worker.start()
        yield worker
        await worker.drain()
    finally:
        await http.close()


@asynccontextmanager
async def scheduling(world: World) -> AsyncIterator[None]:
    """A scheduler at work."""
    worker = Scheduler(
        store=world.store, bus=world.bus, clock=world.clock, interval_seconds=SCHEDULER_INTERVAL_SECONDS
    )
    async with _running(worker.run()):
        yield


@asynccontextmanager
async def tidying(world: World) -> AsyncIterator[None]:
    """A janitor at work, and the audit on its way."""
    shipping = AuditShipping(
        journal_folder(world.settings), AuditDelivery(world.store.audit, world.bus), world.clock
    )
    async with _journal(world, "janitor") as journal:
        worker = Janitor(
            store=world.store,
            bus=world.bus,
            cache=world.cache,
            clock=world.clock,
            name=world.name,
            journal=journal,
        )
        retention = AuditRetention(world.store, world.clock, name=world.name, days=world.settings.audit_days)
        signing = Checkpoints(
            tree=world.store.audit_tree,
            kept=world.store.checkpoints,
            ledger=CheckpointFolder(checkpoint_folder(world.settings)),
            bus=world.bus,
            keys=world.keys,
            clock=world.clock,
            vault=world.settings.vault_name,
        )
        async with _running(worker.run(), shipping.run(), signing.run(), retention.run()):
            yield


def _journal(world: World, room: str) -> FileAuditJournal:
    # The room too: an embedded vault's process is several writers.
    return FileAuditJournal(journal_folder(world.settings), f"{world.name}.{room}")


@asynccontextmanager
async def _running(*loops: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Endless workers beside the body; one that ends by an error ends the body too."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(loop) for loop in loops]
            yield
            await end(tasks)
    except BaseExceptionGroup as errors:
        # A person reads the error, not the group around it.
        if len(errors.exceptions) == 1:
            raise errors.exceptions[0] from None
        raise
