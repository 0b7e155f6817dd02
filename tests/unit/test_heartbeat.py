"""What refreshers say of themselves in the cache."""

from datetime import UTC, datetime

from shared.adapters.memory_cache import MemoryCache
from workers.heartbeat import MOST_TOLD, Heartbeat, heard

NOW = datetime(2026, 3, 29, tzinfo=UTC)


async def test_a_refresher_is_heard_with_the_answers_that_it_has() -> None:
    cache = MemoryCache(lambda: NOW)
    for name, answers in (("busy", {"a", "b"}), ("idle", set())):
        await Heartbeat(cache, lambda: NOW, name, lambda answers=answers: answers).beat()

    found = await heard(cache, ["busy", "idle", "gone"])

    assert found == {"busy": {"a", "b"}, "idle": frozenset()}


async def test_a_beat_stays_small_however_many_answers_wait() -> None:
    cache = MemoryCache(lambda: NOW)
    await Heartbeat(cache, lambda: NOW, "busy", lambda: [f"{n:032x}" for n in range(3 * MOST_TOLD)]).beat()

    found = await heard(cache, ["busy"])

    assert found is not None
    assert len(found["busy"]) == MOST_TOLD
