"""`python -m bench [--quick]`: measure, show, write build/bench.json, bench.md and bench.svg."""

import argparse
import asyncio
import sys
from contextlib import ExitStack
from pathlib import Path

from bench import report
from bench.audit_cost import audit_cost
from bench.bursts import bursts
from bench.growth import growth
from bench.herd import herd
from bench.more_processes import more_processes
from bench.outages import outages
from bench.refreshes import refreshes
from bench.round_trips import round_trips
from bench.row import Row
from bench.servers import servers
from bench.stage import open_stage
from bench.start_up import start_up
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

MEASUREMENTS = (
    start_up,
    round_trips,
    bursts,
    servers,
    audit_cost,
    more_processes,
    outages,
    herd,
    refreshes,
    growth,
)
BUILD = Path("build")


def main() -> None:
    arguments = _arguments()
    console = Console()
    rows = asyncio.run(_measured(console, quick=arguments.quick, only=arguments.only))
    console.print(report.table(rows))
    for file in report.write(rows, BUILD):
        console.print(f"wrote {file}")
    sys.exit(1 if any(row.holds is False for row in rows) and not arguments.quick else 0)


async def _measured(console: Console, *, quick: bool, only: list[str]) -> list[Row]:
    rows: list[Row] = []
    chosen = [m for m in MEASUREMENTS if not only or m.__name__ in only]
    with _progress(console) as progress, ExitStack() as closing:
        task = progress.add_task("starting servers", total=len(chosen))
        stage = closing.enter_context(open_stage(quick=quick))
        for measurement in chosen:
            progress.update(task, description=measurement.__name__.replace("_", " "))
            async for row in measurement(stage):
                rows.append(row)
                progress.console.print(report.line(row))
            progress.advance(task)
    return rows


def _progress(console: Console) -> Progress:
    """How many are done, and for how long: they take too unlike times to say how long it will be."""
    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, expand=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a hundredth of it: does it run?")
    names = [measurement.__name__ for measurement in MEASUREMENTS]
    parser.add_argument("--only", action="append", choices=names, default=[], help="one of them; repeatable")
    return parser.parse_args()


if __name__ == "__main__":
    main()
