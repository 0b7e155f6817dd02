"""Concurrent calls with one key share one run, and what becomes of one caller is nothing to the others."""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dispenser.joining import Joining


class Work:
    """Runs until it is let go, and ends as told."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.finished = 0
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, key: str) -> str:
        self.runs.append(key)
        await self.gate.wait()
        self.finished += 1
        if self.error is not None:
            raise self.error
        return f"{key} {len(self.runs)}"


@pytest.fixture
async def work() -> Work:
    return Work()


async def begun(joining: Joining[str, str], *keys: str) -> list[asyncio.Task[str]]:
    """Callers that all wait for their work."""
    callers = [asyncio.ensure_future(joining(key)) for key in keys]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return callers


async def abandoned(joining: Joining[str, str], key: str) -> None:
    """Work whose only caller has gone: nothing of the caller is left that would hold on to it."""
    (caller,) = await begun(joining, key)
    caller.cancel()
    await asyncio.wait([caller])
    await asyncio.sleep(0)  # the shield around the work has let go of it too


@contextmanager
def unheard_errors() -> Iterator[list[dict[str, Any]]]:
    """What the loop complains about to nobody in particular."""
    heard: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: heard.append(context))
    yield heard
    gc.collect()
    loop.set_exception_handler(None)


async def test_callers_with_one_key_share_one_run(work: Work) -> None:
    callers = await begun(Joining(work), *["a"] * 200)
    work.gate.set()
    assert set(await asyncio.gather(*callers)) == {"a 1"}
    assert work.runs == ["a"]


async def test_callers_with_other_keys_do_not(work: Work) -> None:
    callers = await begun(Joining(work), "a", "b")
    work.gate.set()
    await asyncio.gather(*callers)
    assert work.runs == ["a", "b"]


async def test_a_caller_that_comes_after_the_end_starts_anew(work: Work) -> None:
    joining = Joining(work)
    work.gate.set()
    assert [await joining("a"), await joining("a")] == ["a 1", "a 2"]


async def test_a_caller_that_goes_away_takes_nothing_from_the_others(work: Work) -> None:
    first, second = await begun(Joining(work), "a", "a")
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    work.gate.set()
    assert await second == "a 1"


async def test_work_that_all_callers_have_left_comes_to_its_end_and_takes_new_ones(work: Work) -> None:
    joining = Joining(work)
    for caller in await begun(joining, "a", "a"):
        caller.cancel()
    (late,) = await begun(joining, "a")
    work.gate.set()
    assert await late == "a 1"
    assert (work.runs, work.finished) == (["a"], 1)


async def test_all_callers_get_the_exception_and_the_next_a_new_run(work: Work) -> None:
    joining = Joining(work)
    work.error = LookupError("gone")
    callers = await begun(joining, "a", "a", "a")
    work.gate.set()
    assert await asyncio.gather(*callers, return_exceptions=True) == [work.error] * 3
    work.error = None
    assert await joining("a") == "a 2"


async def test_an_exception_that_no_caller_stayed_for_disturbs_nobody(work: Work) -> None:
    joining = Joining(work)
    work.error = LookupError("gone")
    with unheard_errors() as heard:
        await abandoned(joining, "a")
        work.gate.set()
        await asyncio.wait(list(joining._running.values()))
        await asyncio.sleep(0)
    assert (work.finished, joining._running) == (1, {})
    assert heard == []


async def test_cancelled_work_is_cancelled_for_all_and_not_for_ever(work: Work) -> None:
    joining = Joining(work)
    callers = await begun(joining, "a", "a")
    joining._running["a"].cancel()
    await asyncio.wait(callers)
    assert all(caller.cancelled() for caller in callers)
    work.gate.set()
    assert await joining("a") == "a 2"
