import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class Joining(Generic[Key, Result]):
    """Concurrent calls with one key share one run of the work, which no caller's cancellation ends."""

    def __init__(self, work: Callable[[Key], Awaitable[Result]]) -> None:
        self._work = work
        self._running: dict[Key, asyncio.Future[Result]] = {}

    async def __call__(self, key: Key) -> Result:
        """The work's result, or its exception, for everybody who waits."""
        running = self._running.get(key)
        if running is None:
            running = self._running[key] = asyncio.ensure_future(self._work(key))
            running.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(running)

    def _forget(self, key: Key, done: asyncio.Future[Result]) -> None:
        del self._running[key]
        if not done.cancelled():
            done.exception()  # seen, even when every caller has gone
