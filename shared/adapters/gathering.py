"""Many small lookups, one round trip."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

Fetch = Callable[[Sequence[str]], Awaitable[list[bytes | None]]]
Values = list[bytes | None]


class Gathering:
    """Joins the keys that are asked for in one turn of the event loop into one fetch, each key once."""

    def __init__(self, fetch: Fetch, *, limit: int) -> None:
        """`limit`: keys per fetch, at most."""
        self._fetch = fetch
        self._limit = limit
        self._open: _Batch | None = None
        #: The loop itself keeps only weak references to tasks.
        self._running: set[asyncio.Task[None]] = set()

    async def get_many(self, keys: Sequence[str]) -> Values:
        """The keys' values, in the keys' order. Raises what the fetch raises."""
        places = [self._place(key) for key in keys]
        found = {batch: await batch.values() for batch in dict.fromkeys(batch for batch, _ in places)}
        return [found[batch][index] for batch, index in places]

    def _place(self, key: str) -> tuple["_Batch", int]:
        batch = self._open
        if batch is None or (len(batch.keys) >= self._limit and key not in batch.keys):
            batch = self._begun()
        return batch, batch.keys.setdefault(key, len(batch.keys))

    def _begun(self) -> "_Batch":
        """A batch that is open until the loop's next turn, when its task begins.

        In a task of its own: an asker that gives up must not take the others' values along.
        """
        batch = self._open = _Batch()
        task = asyncio.create_task(self._fill(batch))
        self._running.add(task)
        task.add_done_callback(partial(self._ended, batch))
        return batch

    def _ended(self, batch: "_Batch", task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        # One that is cancelled before it began could not tell its askers itself.
        if task.cancelled():
            self._close(batch)
            batch.cancel()

    def _close(self, batch: "_Batch") -> None:
        if batch is self._open:
            self._open = None

    async def _fill(self, batch: "_Batch") -> None:
        self._close(batch)
        try:
            batch.settle(await self._fetch(list(batch.keys)))
        except Exception as error:  # noqa: BLE001 - each of those who wait is told
            batch.fail(error)


class _Batch:
    """Keys with their place in the fetch, and who waits for the values."""

    def __init__(self) -> None:
        self.keys: dict[str, int] = {}
        self._waiting: list[asyncio.Future[Values]] = []
        self._settled: Callable[[asyncio.Future[Values]], object] | None = None

    async def values(self) -> Values:
        waiting: asyncio.Future[Values] = asyncio.get_running_loop().create_future()
        if self._settled is None:
            self._waiting.append(waiting)
        else:
            self._settled(waiting)
        return await waiting

    def settle(self, values: Values) -> None:
        self._settle(lambda waiting: waiting.set_result(values))

    def fail(self, error: Exception) -> None:
        self._settle(lambda waiting: waiting.set_exception(error))

    def cancel(self) -> None:
        self._settle(lambda waiting: waiting.cancel())

    def _settle(self, how: Callable[[asyncio.Future[Values]], object]) -> None:
        self._settled = how
        for waiting in self._waiting:
            if not waiting.done():  # whoever waited has not given up
                how(waiting)
