import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from workers.pulse import Pulse

BEAT = 10.0


class Hand:
    """A loop's clock, moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self._due: list[tuple[float, Callable[[], object]]] = []

    def call_at(self, when: float, call: Callable[..., object], *arguments: object) -> None:
        self._due.append((when, partial(call, *arguments)))

    async def forward(self, seconds: float) -> None:
        self.now += seconds
        due = [call for when, call in self._due if when <= self.now]
        self._due = [(when, call) for when, call in self._due if when > self.now]
        for call in due:
            call()
        await a_turn()


async def a_turn() -> None:
    """Whoever may go on has done so."""
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.fixture
async def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    hand, loop = Hand(), asyncio.get_running_loop()
    monkeypatch.setattr(loop, "time", lambda: hand.now)
    monkeypatch.setattr(loop, "call_at", hand.call_at)
    return hand


async def rush(pulse: Pulse, many: int) -> list[asyncio.Task[None]]:
    """So many come, and have had their chance to go on at once."""
    coming = [asyncio.create_task(pulse.wait()) for _ in range(many)]
    await a_turn()
    return coming


def let_through(tasks: list[asyncio.Task[None]]) -> int:
    return sum(task.done() for task in tasks)


async def test_who_comes_alone_is_let_through_at_once(hand: Hand):
    pulse = Pulse(BEAT)
    for _ in range(3):
        assert let_through(await rush(pulse, 1)) == 1
        await hand.forward(BEAT)


async def test_who_comes_soon_after_goes_with_all_others_at_the_next_beat(hand: Hand):
    pulse = Pulse(BEAT)
    coming = await rush(pulse, 2)
    await hand.forward(BEAT / 2)
    coming += await rush(pulse, 2)
    assert let_through(coming) == 1
    await hand.forward(BEAT / 2)
    assert let_through(coming) == 4


async def test_the_beat_after_one_that_was_waited_for_is_as_far_away(hand: Hand):
    pulse = Pulse(BEAT)
    await rush(pulse, 2)
    await hand.forward(BEAT)
    coming = await rush(pulse, 1)
    assert let_through(coming) == 0
    await hand.forward(BEAT)
    assert let_through(coming) == 1


async def test_who_gives_up_takes_nobody_along(hand: Hand):
    pulse = Pulse(BEAT)
    _, leaving, staying = await rush(pulse, 3)
    leaving.cancel()
    await hand.forward(BEAT)
    assert leaving.cancelled()
    assert let_through([staying]) == 1
    assert not staying.cancelled()
