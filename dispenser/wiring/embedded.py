import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from dispenser.wiring.amqp_door import amqp_door
from dispenser.wiring.desk import Desk, desk
from dispenser.wiring.http_door import http_door
from dispenser.wiring.role import connected
from dispenser.wiring.working import refreshing, scheduling, tidying
from dispenser.wiring.world import World


@asynccontextmanager
async def embedded(world: World, listening: socket.socket) -> AsyncIterator[Desk]:
    """Everything in this process: for a laptop, the demo and tests."""
    async with AsyncExitStack() as stack:
        await connected(world)
        await stack.enter_async_context(refreshing(world))
        await stack.enter_async_context(scheduling(world))
        await stack.enter_async_context(tidying(world))
        at = await stack.enter_async_context(desk(world))
        await stack.enter_async_context(amqp_door(world, at))
        await stack.enter_async_context(http_door(world, at, listening))
        yield at
