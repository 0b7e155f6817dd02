"""A process's life: its loop, its signals, its end."""

import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import structlog

from dispenser.wiring.hardening import harden
from shared.errors import StoreUnavailable

#: Objects made and not yet let go of, after which the youngest are looked through for cycles.
GARBAGE_OBJECTS: Final = 10_000
T = TypeVar("T")
log = structlog.get_logger()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end, on uvloop where there is one."""
    harden()
    _spare_the_collector()
    if sys.platform == "win32":
        return asyncio.run(main)
    import uvloop  # noqa: PLC0415 - not there on Windows

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def _spare_the_collector() -> None:
    """What is loaded stays, so it is not searched for garbage; a request leaves next to none in cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS, 20, 20)


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
