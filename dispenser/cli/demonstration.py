from typing import Annotated

import typer

from dispenser.cli.failure import Exit
from dispenser.cli.processes import DEFAULT_PORT
from dispenser.cli.session import execute
from dispenser.wiring.process import run
from shared.settings import MEMORY_URL
from shared.telemetry import configure


def register(app: typer.Typer) -> None:
    """Seeing it work."""
    app.command()(demo)
    app.command()(dev)


def demo(
    *,
    broker: Annotated[str, typer.Option(help="amqp://… to run on a real RabbitMQ.")] = MEMORY_URL,
    cache: Annotated[str, typer.Option(help="redis://… to run on a real Redis.")] = MEMORY_URL,
    database: Annotated[str, typer.Option(help="postgresql://… to run on a real PostgreSQL.")] = "",
) -> None:
    """The productivity tracker from start to end, in about 20 seconds. Exits 0 when every claim held."""
    configure("error")
    from dispenser.cli import emulated  # noqa: PLC0415 - loading an emulated provider takes its time

    if not run(emulated.demo(broker, cache, database)):
        raise typer.Exit(Exit.WORLD)


def dev(
    *,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where to listen; 0 takes a free one.")
    ] = DEFAULT_PORT,
    as_json: Annotated[bool, typer.Option("--json", help="Say what to paste as one line of JSON.")] = False,
) -> None:
    """An embedded vault with an emulated provider, for developing agents. Ends with Ctrl-C."""
    from dispenser.cli import emulated  # noqa: PLC0415 - loading an emulated provider takes its time

    execute(emulated.dev(port, as_json=as_json))
