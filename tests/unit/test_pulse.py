import asyncio

import pytest

from workers.pulse import Pulse

#: Longer than any test: who is not let through by anything else is not let through.
LONG_SECONDS = 3600.0


async def rush(pulse: Pulse, many: int) -> list[asyncio.Task[None]]:
    """So many come, and have had their chance to go on at once."""
    coming = [asyncio.create_task(pulse.wait()) for _ in range(many)]
    await asyncio.sleep(0)
    return coming


async def test_who_comes_alone_is_let_through_at_once():
    await Pulse(LONG_SECONDS).wait()


async def test_who_comes_soon_after_waits_for_the_next_beat():
    pulse = Pulse(LONG_SECONDS)
    await pulse.wait()
    assert [one.done() for one in await rush(pulse, 3)] == [False] * 3


async def test_all_who_wait_go_in_one_turn_of_the_loop():
    pulse = Pulse(0.01)
    await pulse.wait()
    first, *others = await rush(pulse, 4)
    await first
    await asyncio.sleep(0)
    assert [one.done() for one in others] == [True] * 3


async def test_the_next_beat_is_as_far_from_one_that_was_waited_for(monkeypatch: pytest.MonkeyPatch):
    pulse = Pulse(0.01)
    await pulse.wait()
    [waited] = await rush(pulse, 1)
    await waited
    began = asyncio.get_running_loop().time()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: began)
    assert [one.done() for one in await rush(pulse, 1)] == [False]


async def test_once_a_beat_is_over_the_next_to_come_is_alone_again(monkeypatch: pytest.MonkeyPatch):
    pulse = Pulse(LONG_SECONDS)
    await pulse.wait()
    over = asyncio.get_running_loop().time() + LONG_SECONDS
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: over)
    assert [one.done() for one in await rush(pulse, 2)] == [True, False]


async def test_who_gives_up_takes_nobody_along():
    pulse = Pulse(0.01)
    await pulse.wait()
    leaving, staying = await rush(pulse, 2)
    leaving.cancel()
    await staying
    assert leaving.cancelled()
