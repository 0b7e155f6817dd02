"""Lookups of one turn of the event loop travel together."""

import asyncio
from collections.abc import Sequence

import pytest

from shared.adapters.gathering import Gathering


class Source:
    """Answers each key with itself, and keeps what it was asked for at a time."""

    def __init__(self) -> None:
        self.fetches: list[list[str]] = []
        self.failure: Exception | None = None
        self.asked = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def fetch(self, keys: Sequence[str]) -> list[bytes | None]:
        self.fetches.append(list(keys))
        self.asked.set()
        await self.open.wait()
        if self.failure:
            raise self.failure
        return [key.encode() for key in keys]


@pytest.fixture
def source():
    return Source()


async def test_what_is_asked_at_once_is_fetched_once(source):
    gathering = Gathering(source.fetch, limit=100)
    answers = await asyncio.gather(*(gathering.get_many([key, "shared"]) for key in "abc"))
    assert answers == [[b"a", b"shared"], [b"b", b"shared"], [b"c", b"shared"]]
    assert source.fetches == [["a", "shared", "b", "c"]]


async def test_a_later_turn_fetches_anew(source):
    gathering = Gathering(source.fetch, limit=100)
    assert await gathering.get_many(["a"]) == [b"a"]
    assert await gathering.get_many(["a"]) == [b"a"]
    assert source.fetches == [["a"], ["a"]]


async def test_a_fetch_takes_no_more_keys_than_its_limit(source):
    gathering = Gathering(source.fetch, limit=2)
    answers = await asyncio.gather(gathering.get_many("abc"), gathering.get_many("cde"))
    assert answers == [[b"a", b"b", b"c"], [b"c", b"d", b"e"]]
    assert source.fetches == [["a", "b"], ["c", "d"], ["e"]]


async def test_asking_for_nothing_fetches_nothing(source):
    assert await Gathering(source.fetch, limit=2).get_many([]) == []
    assert source.fetches == []


async def test_a_failure_reaches_everybody_who_asked(source):
    source.failure = ValueError("down")
    gathering = Gathering(source.fetch, limit=100)
    answers = await asyncio.gather(
        gathering.get_many(["a"]), gathering.get_many(["b"]), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [ValueError, ValueError]


async def test_who_gives_up_takes_nobody_along(source):
    source.open.clear()
    gathering = Gathering(source.fetch, limit=100)
    impatient = asyncio.create_task(gathering.get_many(["a"]))
    patient = asyncio.create_task(gathering.get_many(["a"]))
    await source.asked.wait()
    impatient.cancel()
    source.open.set()
    assert await patient == [b"a"]
    assert impatient.cancelled()


@pytest.mark.parametrize("begun", [False, True])
async def test_a_fetch_that_is_cancelled_ends_its_askers_with_it_and_nobody_after(source, begun):
    source.open.clear()
    gathering = Gathering(source.fetch, limit=100)
    before = asyncio.all_tasks()
    asker = asyncio.ensure_future(gathering.get_many(["a"]))
    await asyncio.sleep(0)
    [fetching] = asyncio.all_tasks() - before - {asker}
    if begun:
        await source.asked.wait()
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asker
    source.open.set()
    assert await gathering.get_many(["a"]) == [b"a"]
