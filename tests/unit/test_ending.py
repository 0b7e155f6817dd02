"""Tasks end when they are asked to, and those that do not hear are asked again."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from dispenser.client import tasks as client_tasks
from dispenser.client.tasks import Tasks
from shared import ending


async def hard_of_hearing(started: asyncio.Event) -> None:
    """Loses its first cancellation, as a driver's wait does whose result comes at the same moment."""
    started.set()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.Event().wait()


async def by_ending(started: asyncio.Event) -> asyncio.Task[None]:
    task = asyncio.create_task(hard_of_hearing(started))
    await started.wait()
    await ending.end([task])
    return task


async def by_the_clients_tasks(started: asyncio.Event) -> asyncio.Task[None]:
    tasks = Tasks()
    task = tasks.start(hard_of_hearing(started))
    await started.wait()
    await tasks.cancel()
    return task


@pytest.mark.parametrize("ended", [by_ending, by_the_clients_tasks])
async def test_a_task_that_loses_a_cancellation_is_asked_again(
    ended: Callable[[asyncio.Event], Awaitable[asyncio.Task[None]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (ending, client_tasks):
        monkeypatch.setattr(module, "_UNHEARD_SECONDS", 0.01)
    async with asyncio.timeout(30):
        task = await ended(asyncio.Event())
    assert task.cancelled()
