"""What an agent's `import dispenser` costs beside `import aio_pika`, and a command's first word."""

import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator

from bench.row import Row
from bench.stage import Stage

RUNS = 15


async def start_up(stage: Stage) -> AsyncIterator[Row]:
    """Medians of whole processes, in turns."""
    runs = max(3, stage.count(RUNS))
    dispenser, aio_pika, everything = [], [], []
    for _ in range(runs):
        dispenser.append(_seconds("-c", "import dispenser"))
        aio_pika.append(_seconds("-c", "import aio_pika"))
        everything.append(_seconds("-m", "dispenser", "--help"))
    yield Row(
        name="import dispenser, import aio_pika",
        ours=statistics.median(dispenser) * 1000,
        theirs=statistics.median(aio_pika) * 1000,
        unit="ms",
        goal=1.2,
        better="lower",
    )
    yield Row(name="dispenser --help", ours=statistics.median(everything) * 1000, unit="ms", better="lower")


def _seconds(*arguments: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-P", *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began
