"""Whoever asks while a round is under way goes with the next one."""

import asyncio
from collections.abc import Sequence

import pytest

from shared.rounds import Rounds


class Work:
    """Doubles numbers, a round at a time, each when it is let."""

    def __init__(self, *, limit: int = 10) -> None:
        self.done: list[list[int]] = []
        self.let = asyncio.Event()
        self.fails: Exception | None = None
        self.rounds: Rounds[int, int] = Rounds(self._double, limit=limit)

    async def _double(self, items: Sequence[int]) -> list[int | Exception]:
        self.done.append(list(items))
        await self.let.wait()
        if self.fails is not None:
            raise self.fails
        return [ValueError("odd") if item % 2 else 2 * item for item in items]

    def ask(self, *items: int) -> list["asyncio.Task[int]"]:
        return [asyncio.create_task(self.rounds.join(item)) for item in items]


async def begun() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_what_is_asked_at_once_is_done_together() -> None:
    work = Work()
    work.let.set()

    assert await asyncio.gather(*work.ask(2, 4, 6)) == [4, 8, 12]
    assert work.done == [[2, 4, 6]]


async def test_what_is_asked_meanwhile_is_done_next_and_together() -> None:
    work = Work()
    first = work.ask(2)
    await begun()
    meanwhile = work.ask(4, 6)
    await begun()
    assert work.done == [[2]]

    work.let.set()

    assert await asyncio.gather(*first, *meanwhile) == [4, 8, 12]
    assert work.done == [[2], [4, 6]]


async def test_a_round_has_so_many_at_most() -> None:
    work = Work(limit=2)
    work.let.set()

    await asyncio.gather(*work.ask(2, 4, 6, 8, 10))

    assert work.done == [[2, 4], [6, 8], [10]]


async def test_ones_own_trouble_is_nobody_elses() -> None:
    work = Work()
    work.let.set()

    first, odd, last = await asyncio.gather(*work.ask(2, 3, 4), return_exceptions=True)

    assert (first, last) == (4, 8)
    assert isinstance(odd, ValueError)


async def test_where_the_work_fails_all_of_its_round_hear_of_it_and_no_later_one() -> None:
    work = Work()
    work.fails = OSError("full")
    first = work.ask(2, 4)
    await begun()
    work.let.set()
    assert await asyncio.gather(*first, return_exceptions=True) == [work.fails] * 2

    work.fails = None

    assert await asyncio.gather(*work.ask(6)) == [12]


async def test_work_that_answers_too_few_leaves_nobody_waiting() -> None:
    async def forgetful(items: Sequence[int]) -> list[int | Exception]:
        return list(items[1:])

    rounds: Rounds[int, int] = Rounds(forgetful, limit=10)

    asked = asyncio.gather(rounds.join(2), rounds.join(4), return_exceptions=True)

    async with asyncio.timeout(10):
        assert [type(each) for each in await asked] == [ValueError, ValueError]


async def test_whoever_gives_up_does_not_take_the_round_along() -> None:
    work = Work()
    first, second = work.ask(2, 4)
    await begun()

    first.cancel()
    work.let.set()

    assert await second == 8
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_whoever_gave_up_before_its_round_is_left_out() -> None:
    work = Work()
    first = work.ask(2)
    await begun()
    late, later = work.ask(4, 6)
    await begun()

    late.cancel()
    await begun()
    work.let.set()

    assert await asyncio.gather(*first, later) == [4, 12]
    assert work.done == [[2], [6]]
