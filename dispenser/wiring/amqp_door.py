import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from dispenser.door_amqp import AmqpDoor
from dispenser.place import vhost_of
from dispenser.polling import polled
from dispenser.sessions import Sessions
from dispenser.transport_view import TransportView
from dispenser.wiring.desk import Desk, desk
from dispenser.wiring.process import Stop
from dispenser.wiring.role import connected, on_the_databases_time
from dispenser.wiring.world import World

log = structlog.get_logger()


async def serve(world: World, metrics_at: tuple[str, int] | None = None) -> None:
    """The AMQP door, until the process is asked to stop; requests in hand are answered first.

    `metrics_at`: address and port for Prometheus. Raises: OSError where it cannot listen there.
    """
    async with Stop() as stop, AsyncExitStack() as stack:
        await connected(world)
        async with on_the_databases_time(world) as timed, desk(timed) as at, amqp_door(timed, at):
            if metrics_at is not None:
                stack.enter_context(at.metrics.served(*metrics_at))
            log.info("Serving agents over AMQP", process=world.name)
            await stop.asked()
            await world.bus.drain()


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
