"""Tasks in the background that end with their owner."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")
#: Longer than any task here needs to put its things away.
_UNHEARD_SECONDS: Final = 5.0


class Tasks:
    """Holds what it starts, and lets none outlive `cancel`."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Runs a coroutine until it ends or is cancelled."""
        task = asyncio.create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def cancel(self) -> None:
        """Returns when all have ended. Asks again where a driver has lost a cancellation (shared.ending)."""
        ending = tuple(self._running)
        while running := [task for task in ending if not task.done()]:
            for task in running:
                task.cancel()
            await asyncio.wait(running, timeout=_UNHEARD_SECONDS)
