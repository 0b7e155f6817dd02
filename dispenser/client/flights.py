"""Concurrent calls for one and the same thing are one call."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from dispenser.client.errors import Closed
from dispenser.client.tasks import Tasks

T = TypeVar("T")


class Flights(Generic[T]):
    """What is under way, by key. Whoever comes later waits for the same outcome."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._flying: dict[Hashable, asyncio.Task[T]] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._flying

    async def join(self, key: Hashable, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The outcome of the flight of this key, begun if there is none. A waiter who leaves does not end it.

        Raises: what `begin` raises; Closed when the flight was cancelled.
        """
        flight = self._flying.get(key) or self._begin(key, begin)
        await asyncio.wait((flight,))
        if flight.cancelled():
            raise Closed("The vault was closed while a call waited for its answer.")
        return flight.result()

    def _begin(self, key: Hashable, begin: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        flight = self._flying[key] = self._tasks.start(begin())
        flight.add_done_callback(lambda ended: self._land(key, ended))
        return flight

    def _land(self, key: Hashable, ended: asyncio.Task[T]) -> None:
        del self._flying[key]
        if not ended.cancelled():
            ended.exception()  # seen, even if all its waiters have left
