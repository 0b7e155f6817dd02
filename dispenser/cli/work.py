from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Annotated

import typer

from dispenser.cli.processes import refuse_embedded, run_role
from dispenser.cli.session import execute_process
from dispenser.wiring import working
from dispenser.wiring.world import World


class Worker(StrEnum):
    """The processes that keep every grant fresh."""

    REFRESHER = "refresher"
    SCHEDULER = "scheduler"
    JANITOR = "janitor"


_WORKERS: dict[Worker, Callable[[World], Awaitable[None]]] = {
    Worker.REFRESHER: working.refresher,
    Worker.SCHEDULER: working.scheduler,
    Worker.JANITOR: working.janitor,
}


def register(app: typer.Typer) -> None:
    """The workers."""
    app.command()(work)


def work(worker: Annotated[Worker, typer.Argument(help="Which worker this process is.")]) -> None:
    """Refresh grants, announce what is due, or tidy up."""
    refuse_embedded(f"work {worker.value}")
    execute_process(run_role(worker.value, _WORKERS[worker]))
