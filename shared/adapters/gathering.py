"""Many small lookups, one round trip."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

Fetch = Callable[[Sequence[str]], Awaitable[list[bytes | None]]]


class Gathering:
    """Joins the keys that are asked for in one turn of the event loop into one fetch, each key once."""

    def __init__(self, fetch: Fetch, *, limit: int) -> None:
        """`limit`: keys per fetch, at most."""
        self._fetch = fetch
        self._limit = limit
        self._open: _Batch | None = None
        #: The loop itself keeps only weak references to tasks.
        self._running: set[asyncio.Task[list[bytes | None]]] = set()

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The keys' values, in the keys' order. Raises what the fetch raises."""
        places = [self._place(key) for key in keys]
        for batch in dict.fromkeys(batch for batch, _ in places):
            # Shielded: an asker that gives up must not take the others' values along.
            await asyncio.shield(batch.values)
        return [batch.values.result()[index] for batch, index in places]

    def _place(self, key: str) -> tuple["_Batch", int]:
        batch = self._open
        if batch is None or (len(batch.keys) >= self._limit and key not in batch.keys):
            batch = self._open = _Batch()
            asyncio.get_running_loop().call_soon(self._send, batch)
        return batch, batch.keys.setdefault(key, len(batch.keys))

    def _send(self, batch: "_Batch") -> None:
        if batch is self._open:
            self._open = None
        task = asyncio.ensure_future(self._fetch_all(list(batch.keys)))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(batch.settle)

    async def _fetch_all(self, keys: list[str]) -> list[bytes | None]:
        return await self._fetch(keys)


class _Batch:
    """Keys with their place in the fetch, and the values to come."""

    def __init__(self) -> None:
        self.keys: dict[str, int] = {}
        self.values: asyncio.Future[list[bytes | None]] = asyncio.get_running_loop().create_future()

    def settle(self, task: asyncio.Task[list[bytes | None]]) -> None:
        if task.cancelled():
            self.values.cancel()
        elif (error := task.exception()) is not None:
            self.values.set_exception(error)
            # Whoever asked may have given up: then nobody is left to see the error, and that is fine.
            self.values.exception()
        else:
            self.values.set_result(task.result())
