import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")


class Flights(Generic[K, R]):
    """Work that runs once per key at a time, is shared by all who ask, and outlives every one of them."""

    def __init__(self) -> None:
        self._flying: dict[K, asyncio.Task[R]] = {}
        self._grounded = False

    async def join(self, key: K, begin: Callable[[], Coroutine[Any, Any, R]]) -> R | None:
        """The result of the flight under way, or of a new one. None: no new ones are begun any more."""
        task = self._flying.get(key)
        if task is None:
            if self._grounded:
                return None
            task = self._flying[key] = asyncio.create_task(begin(), name=f"flight {type(key).__name__}")
            task.add_done_callback(lambda _: self._flying.pop(key, None))
        # An asker that gives up must not take a request to a provider along.
        return await asyncio.shield(task)

    async def land(self) -> None:
        """Begin nothing any more, and return once all flights have ended, however they ended."""
        self._grounded = True
        while self._flying:
            await asyncio.wait(list(self._flying.values()))
