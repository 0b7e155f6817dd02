"""`python -m bench [--quick]`: measure, show, write build/bench.json and build/bench.svg."""

import argparse
import asyncio
import sys
from pathlib import Path

from bench import report
from bench.audit_cost import audit_cost
from bench.bursts import bursts
from bench.growth import growth
from bench.herd import herd
from bench.more_processes import more_processes
from bench.refreshes import refreshes
from bench.round_trips import round_trips
from bench.row import Row
from bench.stage import open_stage
from bench.start_up import start_up
from rich.console import Console
from rich.progress import Progress

MEASUREMENTS = (start_up, round_trips, bursts, audit_cost, more_processes, herd, refreshes, growth)
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
    with open_stage(quick=quick) as stage, Progress(console=console) as progress:
        task = progress.add_task("measuring", total=len(chosen))
        for measurement in chosen:
            progress.update(task, description=measurement.__name__.replace("_", " "))
            async for row in measurement(stage):
                rows.append(row)
                progress.console.print(f"{row.name}: {row.ours:.4g} {row.unit}")
            progress.advance(task)
    return rows


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a hundredth of it: does it run?")
    names = [measurement.__name__ for measurement in MEASUREMENTS]
    parser.add_argument("--only", action="append", choices=names, default=[], help="one of them; repeatable")
    return parser.parse_args()


if __name__ == "__main__":
    main()
