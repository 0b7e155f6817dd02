from functools import partial
from typing import Annotated

import typer

from dispenser.cli.processes import refuse_embedded, run_role
from dispenser.cli.session import execute_process
from dispenser.wiring import amqp_door
from dispenser.wiring.fleet import Fleet


def register(app: typer.Typer) -> None:
    """The AMQP door."""
    app.command()(serve)


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
    refuse_embedded("serve")
    if processes == 1:
        metrics_at = None if metrics_port is None else (host, metrics_port)
        execute_process(run_role("serve", partial(amqp_door.serve, metrics_at=metrics_at)))
        return
    places = [
        [] if metrics_port is None else ["--metrics-port", str(metrics_port + number), "--host", host]
        for number in range(processes)
    ]
    execute_process(Fleet([["serve", *place] for place in places]).run())
