import asyncio
import random
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn

from dispenser.http.app import build_app
from dispenser.wiring.world import Desk, World


class _Server(uvicorn.Server):
    """A server whose signals are the process's matter."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def http_door(world: World, at: Desk, listening: socket.socket) -> AsyncIterator[None]:
    """The gateway on a socket that listens already."""
    app = build_app(
        dispenser=at.dispenser,
        journal=at.journal,
        metrics=at.metrics,
        store=world.store,
        bus=world.bus,
        cache=world.cache,
        keys=world.keys,
        settings=world.settings,
        clock=world.clock,
        entropy=random.SystemRandom().randbytes,
    )
    server = _Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="http door")
    try:
        yield
    finally:
        server.should_exit = True
        await serving
