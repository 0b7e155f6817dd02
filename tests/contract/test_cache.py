"""What every cache does, in memory and on a real Redis."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from redis.asyncio import Redis

from shared.adapters.memory_cache import MemoryCache
from shared.adapters.redis_cache import RedisCache
from shared.ports import Cache

Flush = Callable[[], object]


@pytest.fixture(params=["memory", "redis"])
async def cache(request):
    if request.param == "memory":
        cache: Cache = MemoryCache(lambda: datetime.now(UTC))
    else:
        cache = RedisCache.open(request.getfixturevalue("redis_database"))
    yield cache
    await cache.close()


async def _flush(cache: Cache, url: str | None) -> None:
    """Everything is gone: what the server may do at any moment."""
    if isinstance(cache, MemoryCache):
        cache.flush()
        return
    async with Redis.from_url(url) as redis:
        await redis.flushdb()
        await redis.script_flush()


@pytest.fixture
def flush(request, cache):
    url = None if isinstance(cache, MemoryCache) else request.getfixturevalue("redis_database")
    return lambda: _flush(cache, url)


async def test_what_is_put_is_found(cache: Cache):
    assert await cache.put_if_newer("a", 1, b"one", None)
    assert await cache.get_many(["a"]) == [b"one"]


async def test_values_come_in_the_order_of_their_keys(cache: Cache):
    await cache.put_if_newer("a", 1, b"A", None)
    await cache.put_if_newer("b", 1, b"", 60)
    assert await cache.get_many(["b", "missing", "a", "b"]) == [b"", None, b"A", b""]


async def test_no_keys_have_no_values(cache: Cache):
    assert await cache.get_many([]) == []


@pytest.mark.parametrize("version", [6, 7])
async def test_the_same_or_an_older_version_changes_nothing(cache: Cache, version):
    await cache.put_if_newer("a", 7, b"seven", 60)
    assert not await cache.put_if_newer("a", version, b"other", 60)
    assert await cache.get_many(["a"]) == [b"seven"]


@pytest.mark.parametrize("version", [8, 256, 2**32, 2**53 + 1, 2**63])
async def test_a_newer_version_replaces(cache: Cache, version):
    await cache.put_if_newer("a", version - 1, b"older", 60)
    assert await cache.put_if_newer("a", version, b"newer", 60)
    assert await cache.get_many(["a"]) == [b"newer"]
    assert not await cache.put_if_newer("a", version - 1, b"older", 60)


async def test_of_writers_at_once_the_newest_stays(cache: Cache):
    async with asyncio.TaskGroup() as writers:
        for version in (3, 9, 1, 7, 5, 2, 8, 6, 4):
            writers.create_task(cache.put_if_newer("a", version, str(version).encode(), 60))
    assert await cache.get_many(["a"]) == [b"9"]


async def test_a_value_ends_with_its_time(cache: Cache):
    await cache.put_if_newer("a", 5, b"brief", 0.05)
    await cache.put_if_newer("b", 5, b"lasting", None)
    async with asyncio.timeout(10):
        while await cache.get_many(["a"]) != [None]:  # noqa: ASYNC110 - only the clock can tell
            await asyncio.sleep(0.01)
    assert await cache.get_many(["b"]) == [b"lasting"]


async def test_an_ended_version_stands_in_nobodys_way(cache: Cache):
    await cache.put_if_newer("a", 5, b"brief", 0.02)
    async with asyncio.timeout(10):
        while not await cache.put_if_newer("a", 1, b"new", 60):  # noqa: ASYNC110 - only the clock can tell
            await asyncio.sleep(0.01)
    assert await cache.get_many(["a"]) == [b"new"]


async def test_a_replacement_brings_its_own_time(cache: Cache):
    await cache.put_if_newer("a", 1, b"brief", 0.05)
    await cache.put_if_newer("a", 2, b"lasting", None)
    await cache.put_if_newer("witness", 1, b"", 0.1)
    async with asyncio.timeout(10):
        while await cache.get_many(["witness"]) != [None]:  # noqa: ASYNC110 - only the clock can tell
            await asyncio.sleep(0.01)
    assert await cache.get_many(["a"]) == [b"lasting"]


async def test_after_a_flush_all_works_as_before(cache: Cache, flush: Flush):
    await cache.put_if_newer("a", 9, b"gone", None)
    await flush()
    assert await cache.get_many(["a"]) == [None]
    assert await cache.put_if_newer("a", 1, b"back", None)
    assert await cache.get_many(["a"]) == [b"back"]


async def test_a_cache_that_is_there_answers(cache: Cache):
    await cache.ping()


async def test_a_value_is_replaced_where_it_still_is(cache: Cache):
    await cache.put_if_newer("a", 7, b"old", 60)
    assert await cache.replace("a", b"old", b"new")
    assert await cache.get_many(["a"]) == [b"new"]
    assert not await cache.replace("a", b"old", b"other")
    assert await cache.get_many(["a"]) == [b"new"]


async def test_what_is_not_there_is_not_replaced(cache: Cache):
    assert not await cache.replace("a", b"", b"new")
    assert await cache.get_many(["a"]) == [None]


async def test_a_replaced_value_keeps_its_version(cache: Cache):
    await cache.put_if_newer("a", 7, b"old", 60)
    await cache.replace("a", b"old", b"new")
    assert not await cache.put_if_newer("a", 7, b"same", 60)
    assert await cache.put_if_newer("a", 8, b"newer", 60)


async def test_a_replaced_value_keeps_its_end(cache: Cache):
    await cache.put_if_newer("a", 7, b"old", 0.1)
    await cache.replace("a", b"old", b"new")
    async with asyncio.timeout(10):
        while await cache.get_many(["a"]) != [None]:  # noqa: ASYNC110 - only the clock can tell
            await asyncio.sleep(0.01)
