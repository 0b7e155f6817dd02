import asyncio
import contextlib
import signal
import sys
from collections.abc import Sequence
from typing import Final

import structlog

from dispenser.wiring.process import Stop

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 10.0
#: A process that lived so long is restarted at once when it dies.
STEADY_SECONDS: Final = 30.0
log = structlog.get_logger()


class Fleet:
    """Several processes, each with arguments of its own, and each replaced when it dies."""

    def __init__(self, arguments: Sequence[Sequence[str]]) -> None:
        self._arguments = arguments

    async def run(self) -> None:
        """Keep them all alive until asked to stop; then let each finish what it has in hand."""
        async with Stop() as stop:
            keepers = [asyncio.create_task(_keep_one(arguments)) for arguments in self._arguments]
            await stop.asked()
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)


async def _keep_one(arguments: Sequence[str]) -> None:
    loop, pause = asyncio.get_running_loop(), FIRST_PAUSE_SECONDS
    while True:
        started = loop.time()
        code = await _live(arguments)
        pause = FIRST_PAUSE_SECONDS if loop.time() - started > STEADY_SECONDS else pause
        log.warning("A process ended and is replaced", code=code, in_seconds=pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


async def _live(arguments: Sequence[str]) -> int:
    process = await asyncio.create_subprocess_exec(
        # -P: a folder the operator stands in never shadows our packages.
        sys.executable,
        "-P",
        "-m",
        "dispenser",
        *arguments,
    )
    try:
        return await process.wait()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.wait()
        raise
