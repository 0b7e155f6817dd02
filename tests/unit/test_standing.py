"""How many get ready for a provider, and how many ask it."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest

from shared.model import Provider
from workers.answer import Answer
from workers.circuit import OPEN_SECONDS
from workers.standing import BEGUN_FOR_EACH, Crowded, Standing, Turn

NOW = datetime(2026, 3, 29, tzinfo=UTC)
AT_ONCE = 2


@pytest.fixture
def standing() -> Standing:
    provider = Provider(name="strict", client_id="c", token_url="https://p.example", max_concurrency=AT_ONCE)
    return Standing.towards(provider, lambda: NOW)


async def begun(standing: Standing, leaving: AsyncExitStack, many: int) -> list[Turn]:
    return [await leaving.enter_async_context(standing.turn()) for _ in range(many)]


async def tried(turn: Turn) -> "asyncio.Task[bool]":
    """Its way to the provider, as far as it comes at once."""
    asking = asyncio.create_task(turn.to_ask())
    for _ in range(3):
        await asyncio.sleep(0)
    return asking


async def test_as_many_ask_as_the_provider_bears_and_as_many_get_ready(standing: Standing):
    async with AsyncExitStack() as leaving:
        turns = await begun(standing, leaving, BEGUN_FOR_EACH * AT_ONCE)
        asking = [await tried(turn) for turn in turns]
        assert [one.done() for one in asking] == [True, True, False, False]
        turns[0].end()
        assert await asking[2]
        assert not asking[3].done()
        turns[1].end()
        assert await asking[3]


async def test_one_more_waits_for_a_turn_and_loses_patience(
    standing: Standing, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("workers.standing.PATIENCE_SECONDS", 0.01)
    async with AsyncExitStack() as leaving:
        [first, *_] = await begun(standing, leaving, BEGUN_FOR_EACH * AT_ONCE)
        with pytest.raises(Crowded):
            await begun(standing, leaving, 1)
        assert standing.in_hand == BEGUN_FOR_EACH * AT_ONCE
        first.end()
        await begun(standing, leaving, 1)
    assert standing.in_hand == 0


async def test_a_turn_that_is_ended_twice_makes_room_once(standing: Standing):
    async with AsyncExitStack() as leaving:
        turns = await begun(standing, leaving, BEGUN_FOR_EACH * AT_ONCE)
        asking = [await tried(turn) for turn in turns]
        turns[0].end()
        turns[0].end()
        assert await asking[2]
        assert not asking[3].done()
        turns[1].end()
        assert await asking[3]


@pytest.mark.parametrize("what", ["pause", "circuit"])
async def test_who_hears_while_waiting_that_it_is_closed_does_not_ask(standing: Standing, what: str):
    async with AsyncExitStack() as leaving:
        turns = await begun(standing, leaving, AT_ONCE + 1)
        *_, waiting = [await tried(turn) for turn in turns]
        if what == "pause":
            standing.pace.pause(100.0, NOW)
        else:
            standing.circuit.client_refused(1, NOW)
        turns[0].end()
        assert not await waiting


async def test_who_hears_while_getting_ready_that_it_is_closed_does_not_ask(standing: Standing):
    async with AsyncExitStack() as leaving:
        [turn] = await begun(standing, leaving, 1)
        assert turn.begin(NOW)
        standing.hear(Answer(status=429, sent_at=NOW))
        assert not await turn.to_ask()


async def test_a_turn_does_not_begin_at_a_provider_that_wants_rest(standing: Standing):
    standing.hear(Answer(status=503, retry_after="7", sent_at=NOW))
    async with AsyncExitStack() as leaving:
        turns = await begun(standing, leaving, 2)
        begins = [NOW + timedelta(seconds=6.9), NOW + timedelta(seconds=7)]
        assert [turn.begin(at) for turn, at in zip(turns, begins, strict=True)] == [False, True]


async def test_who_is_on_trial_may_ask_though_the_circuit_is_open(standing: Standing):
    standing.circuit.client_refused(1, NOW)
    async with AsyncExitStack() as leaving:
        [trial] = await begun(standing, leaving, 1)
        assert trial.begin(NOW + timedelta(seconds=OPEN_SECONDS))
        assert await trial.to_ask()
