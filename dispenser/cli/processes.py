import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from enum import StrEnum
from functools import partial
from typing import Annotated

import typer

from dispenser.cli.failure import Usage
from dispenser.cli.output import aside
from dispenser.cli.session import execute_process, settings
from dispenser.wiring import roles
from dispenser.wiring.fleet import Fleet
from dispenser.wiring.process import Stop
from dispenser.wiring.world import World, world

DEFAULT_PORT = 8250


class Worker(StrEnum):
    """The processes that keep every grant fresh."""

    REFRESHER = "refresher"
    SCHEDULER = "scheduler"
    JANITOR = "janitor"


_WORKERS: dict[Worker, Callable[[World], Awaitable[None]]] = {
    Worker.REFRESHER: roles.refresher,
    Worker.SCHEDULER: roles.scheduler,
    Worker.JANITOR: roles.janitor,
}


def register(app: typer.Typer) -> None:
    """The vault's processes."""
    for command in (serve, gateway, work):
        app.command()(command)


def serve(
    *,
    processes: Annotated[int, typer.Option(min=1, max=256, help="How many, on this machine.")] = 1,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Where Prometheus finds /metrics; each further process takes the next."
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="On which address; 0.0.0.0 for all.")] = "127.0.0.1",
) -> None:
    """Answer agents over AMQP. Start more of it, here or elsewhere, to answer more."""
    _refuse_embedded("serve")
    if processes == 1:
        metrics_at = None if metrics_port is None else (host, metrics_port)
        execute_process(_run("serve", partial(roles.serve, metrics_at=metrics_at)))
        return
    places = [
        [] if metrics_port is None else ["--metrics-port", str(metrics_port + number), "--host", host]
        for number in range(processes)
    ]
    execute_process(Fleet([["serve", *place] for place in places]).run())


def gateway(
    *,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where to listen; 0 takes a free one.")
    ] = DEFAULT_PORT,
    host: Annotated[str, typer.Option(help="On which address; 0.0.0.0 for all.")] = "127.0.0.1",
) -> None:
    """Answer agents and admins over HTTP, and lead owners through consent.

    With the default memory:// broker this is the whole vault in one process.
    """
    execute_process(_gateway(listening(host, port)))


def work(worker: Annotated[Worker, typer.Argument(help="Which worker this process is.")]) -> None:
    """Refresh grants, announce what is due, or tidy up."""
    _refuse_embedded(f"work {worker.value}")
    execute_process(_run(worker.value, _WORKERS[worker]))


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens already. Raises: OSError."""
    try:
        return socket.create_server((host, port), backlog=512)
    except OSError as error:
        raise OSError(f"Cannot listen on {host}:{port}: {error.strerror}. Choose another --port.") from error


async def _run(role: str, body: Callable[[World], Awaitable[None]]) -> None:
    async with world(settings(), role) as at:
        await body(at)


async def _gateway(door: socket.socket) -> None:
    here = settings()
    aside.print(f"Listening on http://{door.getsockname()[0]}:{door.getsockname()[1]}")
    async with world(here, "gateway") as at:
        if not here.embedded:
            await roles.gateway(at, door)
            return
        aside.print("The broker is memory://, so refresher, scheduler and janitor run in this process too.")
        async with Stop() as stop, AsyncExitStack() as stack:
            await stack.enter_async_context(roles.embedded(at, door))
            await stop.asked()


def _refuse_embedded(command: str) -> None:
    if settings().embedded:
        raise Usage(
            f"`dispenser {command}` needs a broker that other processes reach: set DISPENSER_BROKER_URL to "
            "amqp://…, and DISPENSER_CACHE_URL to redis://…. On one machine `dispenser gateway` is a whole "
            "vault without any."
        )
