"""The cache on a Redis that is restarted, stopped, frozen, and counted at."""

import asyncio
from collections.abc import Callable

import pytest
from integration.silence import silent
from redis.asyncio import Redis
from services.server import Server

from shared.adapters.redis_cache import RedisCache
from shared.errors import CacheUnavailable


async def test_lookups_of_one_moment_share_a_command(redis_server: Server):
    cache = RedisCache.open(redis_server.url)
    await cache.put_if_newer("k7", 1, b"seven", 60)
    async with Redis.from_url(redis_server.url) as redis:
        await redis.config_resetstat()
        answers = await asyncio.gather(*(cache.get_many([f"k{n}", f"k{n + 1}"]) for n in range(600)))
        commands = await redis.info("commandstats")
    assert answers[7] == [b"seven", None]
    # 601 different keys, at most 512 at a time.
    assert commands["cmdstat_mget"]["calls"] == 2
    await cache.close()


async def test_the_script_travels_once(redis_server: Server):
    cache = RedisCache.open(redis_server.url)
    await cache.put_if_newer("a", 1, b"", 60)
    async with Redis.from_url(redis_server.url) as redis:
        await redis.config_resetstat()
        await cache.put_if_newer("a", 2, b"", 60)
        commands = await redis.info("commandstats")
    assert commands["cmdstat_evalsha"]["calls"] == 1
    assert "cmdstat_script|load" not in commands
    await cache.close()


async def test_a_restart_empties_it_and_no_more(redis_server: Server):
    cache = RedisCache.open(redis_server.url)
    await cache.put_if_newer("a", 9, b"before", 60)
    redis_server.kill()
    redis_server.start()
    assert await cache.get_many(["a"]) == [None]
    assert await cache.put_if_newer("a", 1, b"after", 60)
    assert await cache.get_many(["a"]) == [b"after"]
    await cache.close()


async def test_lookups_that_overtake_each_other_have_their_own_answers(redis_server: Server):
    cache = RedisCache.open(redis_server.url)
    for number in range(50):
        await cache.put_if_newer(f"k{number}", 1, b"%d" % number * 5000, 60)

    async def looked_up(number: int) -> list[bytes | None]:
        for _ in range(number % 7):
            await asyncio.sleep(0)
        return await cache.get_many([f"k{number}", "none"])

    for _ in range(3):
        found = await asyncio.gather(*(looked_up(number) for number in range(50)))
        assert found == [[b"%d" % number * 5000, None] for number in range(50)]
    await cache.close()


async def test_a_full_server_takes_nothing_and_still_tells_what_it_has(private_redis: Callable[..., Server]):
    server = private_redis()
    cache = RedisCache.open(server.url)
    await cache.put_if_newer("a", 1, b"old", 60)
    async with Redis.from_url(server.url) as redis:
        await redis.config_set("maxmemory-policy", "noeviction")
        await redis.config_set("maxmemory", 1)
        with pytest.raises(CacheUnavailable, match="OutOfMemory"):
            await cache.put_if_newer("a", 2, b"new", 60)
        assert await cache.get_many(["a"]) == [b"old"]
        await redis.config_set("maxmemory", 0)
    assert await cache.put_if_newer("a", 2, b"new", 60)
    await cache.close()


@pytest.mark.parametrize("scheme", ["redis", "redis+sentinel", "redis+cluster"])
async def test_a_server_that_is_down_is_unavailable(redis_server: Server, scheme):
    url = redis_server.url.replace("redis:", f"{scheme}:").replace(
        "/0", "/mymaster/0" if "sent" in scheme else "/0"
    )
    redis_server.kill()
    cache = RedisCache.open(url)
    for call in (cache.ping(), cache.get_many(["a"]), cache.put_if_newer("a", 1, b"", None)):
        with pytest.raises(CacheUnavailable, match="DISPENSER_CACHE_URL"):
            await call
    await cache.close()


async def test_a_server_that_accepts_and_says_nothing_is_unavailable():
    async with await asyncio.start_server(silent, "127.0.0.1") as server:
        host, port = server.sockets[0].getsockname()
        cache = RedisCache.open(f"redis://{host}:{port}/0")
        with pytest.raises(CacheUnavailable, match="Timeout"):
            await cache.get_many(["a"])
        await cache.close()
