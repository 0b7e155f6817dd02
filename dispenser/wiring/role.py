"""How every process of the vault begins and ends, whatever it does."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Final

import structlog

from dispenser.polling import polled
from dispenser.wiring.process import Stop, until_reachable
from dispenser.wiring.world import World
from shared.store_clock import StoreClock

#: Seconds between looks at the database's clock.
CLOCK_SECONDS: Final = 10.0
log = structlog.get_logger()


async def until_stopped(
    world: World, work: Callable[[World], AbstractAsyncContextManager[object]], says: str
) -> None:
    """One kind of work, until the process is asked to stop."""
    async with Stop() as stop:
        await connected(world)
        async with on_the_databases_time(world) as timed, work(timed):
            log.info(says, process=world.name)
            await stop.asked()


@asynccontextmanager
async def on_the_databases_time(world: World) -> AsyncIterator[World]:
    """The same world by the one clock that all processes share: they read in SQL what others wrote."""
    clock = StoreClock(world.store.now, time.monotonic, own=world.clock)
    await until_reachable(clock.look)
    async with polled(clock.look, "time", CLOCK_SECONDS):
        yield replace(world, clock=clock)


async def connected(world: World) -> None:
    """Connect to what a process cannot begin without, however long that takes."""
    await until_reachable(world.store.ping)
    await world.bus.start()
