"""Many calls, one piece of work."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Rounds(Generic[Item, Answer]):
    """Does together what is asked for at once: while one round is under way, the next one fills.

    A round is a task of its own, so an asker that gives up does not take the others along. One that gave up
    before its round began is left out of it.
    """

    def __init__(
        self, work: Callable[[Sequence[Item]], Awaitable[Sequence[Answer | Exception]]], *, limit: int
    ) -> None:
        """`work`: an answer for each item, in their order. What it raises, each of them is told; what is
        one's own trouble comes as its answer. `limit`: items of a round, at most."""
        self._work = work
        self._limit = limit
        self._waiting: deque[_Seat[Item, Answer]] = deque()
        #: The loop itself keeps only a weak reference to it.
        self._under_way: asyncio.Task[None] | None = None

    async def join(self, item: Item) -> Answer:
        """The answer for an item, once the round that it was in is over."""
        loop = asyncio.get_running_loop()
        seat: _Seat[Item, Answer] = _Seat(item, loop.create_future())
        self._waiting.append(seat)
        if self._under_way is None:
            # From the loop's next turn on, so that all who ask in this one go together.
            self._under_way = loop.create_task(self._run())
        return await seat.answer

    async def _run(self) -> None:
        try:
            while seats := self._seated():
                await self._round(seats)
        finally:
            self._under_way = None

    def _seated(self) -> "list[_Seat[Item, Answer]]":
        """The next round."""
        seats: list[_Seat[Item, Answer]] = []
        while self._waiting and len(seats) < self._limit:
            seat = self._waiting.popleft()
            if not seat.answer.done():
                seats.append(seat)
        return seats

    async def _round(self, seats: "Sequence[_Seat[Item, Answer]]") -> None:
        answered: Sequence[tuple[_Seat[Item, Answer], Answer | Exception]]
        try:
            answers = await self._work([seat.item for seat in seats])
            answered = list(zip(seats, answers, strict=True))
        except asyncio.CancelledError:
            for seat in (*seats, *self._waiting):
                seat.answer.cancel()
            self._waiting.clear()
            raise
        except Exception as error:  # noqa: BLE001 - each of those who wait is told
            answered = [(seat, error) for seat in seats]
        for seat, answer in answered:
            seat.settle(answer)


class _Seat(NamedTuple, Generic[Item, Answer]):
    """One item of a round, and who waits for its answer."""

    item: Item
    answer: "asyncio.Future[Answer]"

    def settle(self, answer: Answer | Exception) -> None:
        if self.answer.done():  # whoever waited has given up
            return
        if isinstance(answer, Exception):
            self.answer.set_exception(answer)
        else:
            self.answer.set_result(answer)
