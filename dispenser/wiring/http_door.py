import asyncio
import random
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import structlog
import uvicorn

from dispenser.http.app import build_app
from dispenser.issuer_keys import IssuerKeys
from dispenser.wiring.desk import Desk, desk
from dispenser.wiring.process import Stop
from dispenser.wiring.provider_http import provider_http
from dispenser.wiring.role import connected, on_the_databases_time
from dispenser.wiring.world import World, new_id
from dispenser.workloads import Workloads
from shared.ports import ProviderHttp

log = structlog.get_logger()


async def gateway(world: World, listening: socket.socket) -> None:
    """The HTTP door, until the process is asked to stop."""
    async with Stop() as stop:
        await connected(world)
        async with (
            on_the_databases_time(world) as timed,
            desk(timed) as at,
            http_door(timed, at, listening),
        ):
            log.info("Serving agents over HTTP", process=world.name)
            await stop.asked()


class _Server(uvicorn.Server):
    """A server whose signals are the process's matter."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def http_door(world: World, at: Desk, listening: socket.socket) -> AsyncIterator[None]:
    """The gateway on a socket that listens already."""
    http = provider_http(world.settings)
    app = build_app(
        dispenser=at.dispenser,
        workloads=_workloads(world, at, http),
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
        await http.close()


def _workloads(world: World, at: Desk, http: ProviderHttp) -> Workloads:
    return Workloads(
        issuer_keys=IssuerKeys(http),
        catalogue=at.catalogue,
        keys=world.keys,
        journal=at.journal,
        clock=world.clock,
        vault=world.settings.vault_name,
        new_id=new_id,
    )
