"""The processes of the vault, each a short script. `embedded` is all of them in one."""

import asyncio
import os
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import structlog

from dispenser.door_amqp import AmqpDoor
from dispenser.place import vhost_of
from dispenser.polling import polled
from dispenser.sessions import Sessions
from dispenser.transport_view import TransportView
from dispenser.wiring.process import Stop, until_reachable
from dispenser.wiring.world import Desk, World, checkpoint_folder, desk, journal_folder, provider_http
from shared.adapters.audit_journal import FileAuditJournal
from shared.adapters.checkpoint_folder import CheckpointFolder
from shared.ending import end
from shared.ports import AuditJournal
from shared.store_clock import StoreClock
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
#: Seconds between looks at the database's clock.
CLOCK_SECONDS: Final = 10.0
log = structlog.get_logger()


async def serve(world: World, metrics_at: tuple[str, int] | None = None) -> None:
    """The AMQP door, until the process is asked to stop; requests in hand are answered first.

    `metrics_at`: address and port for Prometheus. Raises: OSError where it cannot listen there.
    """
    async with Stop() as stop, AsyncExitStack() as stack:
        await _connected(world)
        async with _on_the_databases_time(world) as timed, desk(timed) as at, amqp_door(timed, at):
            if metrics_at is not None:
                stack.enter_context(at.metrics.served(*metrics_at))
            log.info("Serving agents over AMQP", process=world.name)
            await stop.asked()
            await world.bus.drain()


async def gateway(world: World, listening: socket.socket) -> None:
    """The HTTP door, until the process is asked to stop."""
    from dispenser.wiring.http_door import http_door  # noqa: PLC0415 - loading FastAPI takes its time

    async with Stop() as stop:
        await _connected(world)
        async with (
            _on_the_databases_time(world) as timed,
            desk(timed) as at,
            http_door(timed, at, listening),
        ):
            log.info("Serving agents over HTTP", process=world.name)
            await stop.asked()


async def refresher(world: World) -> None:
    """Rotates what is due, until the process is asked to stop; rotations in flight come to their end."""
    await _until_stopped(world, refreshing, "Refreshing")


async def scheduler(world: World) -> None:
    """Announces what is due."""
    await _until_stopped(world, scheduling, "Announcing")


async def janitor(world: World) -> None:
    """Purges, reconciles, ships the audit."""
    await _until_stopped(world, tidying, "Tidying")


@asynccontextmanager
async def embedded(world: World, listening: socket.socket) -> AsyncIterator[Desk]:
    """Everything in this process: for a laptop, the demo and tests."""
    from dispenser.wiring.http_door import http_door  # noqa: PLC0415 - loading FastAPI takes its time

    async with AsyncExitStack() as stack:
        await _connected(world)
        await stack.enter_async_context(refreshing(world))
        await stack.enter_async_context(scheduling(world))
        await stack.enter_async_context(tidying(world))
        at = await stack.enter_async_context(desk(world))
        await stack.enter_async_context(amqp_door(world, at))
        await stack.enter_async_context(http_door(world, at, listening))
        yield at


@asynccontextmanager
async def amqp_door(world: World, at: Desk) -> AsyncIterator[None]:
    """The AMQP door, open. Raises: StoreUnavailable, KeyMissing."""
    transport = TransportView(world.store.transport_keys, world.keys, world.clock, os.urandom)
    async with polled(transport.look, "transport keys"):
        sessions = Sessions(transport, world.keys, world.clock, os.urandom)
        vhost = vhost_of(world.settings.broker_url)
        door = AmqpDoor(
            world.bus,
            at.dispenser,
            sessions,
            metrics=at.metrics,
            clock=world.clock,
            vhost=vhost,
            queue=world.settings.request_queue,
        )
        await door.open()
        yield


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


async def _until_stopped(
    world: World, work: Callable[[World], AbstractAsyncContextManager[object]], says: str
) -> None:
    async with Stop() as stop:
        await _connected(world)
        async with _on_the_databases_time(world) as timed, work(timed):
            log.info(says, process=world.name)
            await stop.asked()


@asynccontextmanager
async def _on_the_databases_time(world: World) -> AsyncIterator[World]:
    """The same world by the one clock that all processes share: they read in SQL what others wrote."""
    clock = StoreClock(world.store.now, time.monotonic, own=world.clock)
    await until_reachable(clock.look)
    async with polled(clock.look, "time", CLOCK_SECONDS):
        yield replace(world, clock=clock)


async def _connected(world: World) -> None:
    await until_reachable(world.store.ping)
    await world.bus.start()


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
