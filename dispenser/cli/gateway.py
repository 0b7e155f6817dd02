import socket
from contextlib import AsyncExitStack
from typing import Annotated

import typer

from dispenser.cli.output import aside
from dispenser.cli.processes import DEFAULT_PORT, listening
from dispenser.cli.session import execute_process, settings
from dispenser.wiring import http_door
from dispenser.wiring.process import Stop
from dispenser.wiring.world import world


def register(app: typer.Typer) -> None:
    """The HTTP door."""
    app.command()(gateway)


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


async def _gateway(door: socket.socket) -> None:
    here = settings()
    aside.print(f"Listening on http://{door.getsockname()[0]}:{door.getsockname()[1]}")
    async with world(here, "gateway") as at:
        if not here.embedded:
            await http_door.gateway(at, door)
            return
        from dispenser.wiring.embedded import embedded  # noqa: PLC0415 - no other gateway has workers in it

        aside.print("The broker is memory://, so refresher, scheduler and janitor run in this process too.")
        async with Stop() as stop, AsyncExitStack() as stack:
            await stack.enter_async_context(embedded(at, door))
            await stop.asked()
