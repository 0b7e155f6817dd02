"""A process's life: its loop, its signals, its end."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

import structlog

from dispenser.wiring.hardening import harden
from shared.errors import StoreUnavailable

T = TypeVar("T")
log = structlog.get_logger()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end, on uvloop where there is one."""
    harden()
    if sys.platform == "win32":
        return asyncio.run(main)
    import uvloop  # noqa: PLC0415 - not there on Windows

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


class Stop:
    """Set by SIGTERM and SIGINT: finish what is in hand, then end."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked.set)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    async def asked(self) -> None:
        """Returns when the process is to end."""
        await self._asked.wait()
        log.info("Stopping")


async def until_reachable(ping: Callable[[], Awaitable[None]]) -> None:
    """Wait for the database as long as it takes, and say so. Raises: StoreNotMigrated."""
    waiting = False
    while True:
        try:
            await ping()
        except StoreUnavailable as error:
            if not waiting:
                log.warning("Waiting for the database", why=str(error))
            waiting = True
            await asyncio.sleep(1.0)
        else:
            return
