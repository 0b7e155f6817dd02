from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from redis.asyncio.cluster import RedisCluster
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import RedisClusterException, RedisError

from shared.adapters.certificate import mistrust
from shared.adapters.gathering import Gathering
from shared.adapters.redis_client import TIMEOUT_SECONDS, Client, client, close
from shared.adapters.redis_line import Interrupted, RedisLine
from shared.errors import CacheUnavailable

_KEYS_PER_FETCH: Final = 512
_VERSION_BYTES: Final = 8

# A value is kept behind its version. Lua's numbers are doubles, so the two halves are compared one by one.
_PUT_IF_NEWER: Final = """
local held = redis.call('GET', KEYS[1])
if held and #held >= 8 then
    local held_high, held_low = struct.unpack('>I4I4', held)
    local high, low = struct.unpack('>I4I4', ARGV[1])
    if held_high > high or (held_high == high and held_low >= low) then return 0 end
end
if ARGV[2] == '' then
    redis.call('SET', KEYS[1], ARGV[1])
else
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 1
"""

_REPLACE: Final = """
local held = redis.call('GET', KEYS[1])
if not held or string.sub(held, 9) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], string.sub(held, 1, 8) .. ARGV[2], 'KEEPTTL')
return 1
"""


class RedisCache:
    """The cache on Redis, Sentinel or Cluster."""

    def __init__(self, redis: Client) -> None:
        self._redis = redis
        self._gathering = Gathering(self._fetch, limit=_KEYS_PER_FETCH)
        # Several servers are the driver's to choose from, at every command.
        self._line = (
            None
            if isinstance(redis, RedisCluster) or isinstance(redis.connection_pool, SentinelConnectionPool)
            else RedisLine(redis.connection_pool, TIMEOUT_SECONDS)
        )
        # Sent by digest; sent whole where a restart or SCRIPT FLUSH has made Redis forget it.
        self._put = redis.register_script(_PUT_IF_NEWER)
        self._replace = redis.register_script(_REPLACE)

    @classmethod
    def open(cls, url: str) -> "RedisCache":
        """A cache that connects when it is first used. Raises: ConfigurationError."""
        return cls(client(url))

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        found = await self._gathering.get_many(keys)
        return [stored[_VERSION_BYTES:] if stored is not None else None for stored in found]

    async def put_if_newer(self, key: str, version: int, value: bytes, ttl_seconds: float | None) -> bool:
        stored = version.to_bytes(_VERSION_BYTES, "big") + value
        milliseconds = "" if ttl_seconds is None else str(max(1, round(ttl_seconds * 1000)))
        async with _translated():
            return bool(await self._put(keys=[key], args=[stored, milliseconds]))

    async def replace(self, key: str, old: bytes, new: bytes) -> bool:
        async with _translated():
            return bool(await self._replace(keys=[key], args=[old, new]))

    async def ping(self) -> None:
        async with _translated():
            await self._redis.ping()

    async def close(self) -> None:
        if self._line is not None:
            await self._line.close()
        await close(self._redis)

    async def _fetch(self, keys: Sequence[str]) -> list[bytes | None]:
        if self._line is not None:
            try:
                return await self._line.mget(keys)
            except Interrupted:
                pass  # the driver says what is wrong, if anything still is
            except TimeoutError as error:
                raise _unavailable(error) from error
        return await self._driven(keys)

    async def _driven(self, keys: Sequence[str]) -> list[bytes | None]:
        async with _translated():
            # A cluster's keys lie in many slots: a round trip to each of its nodes, all at once.
            found: Any = (
                await self._redis.mget_nonatomic(keys)
                if isinstance(self._redis, RedisCluster)
                else await self._redis.mget(keys)
            )
            return list(found)


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except (RedisError, RedisClusterException, OSError) as error:
        raise _unavailable(error) from error


def _unavailable(error: Exception) -> CacheUnavailable:
    if (untrusted := mistrust(error)) is not None:
        return CacheUnavailable(f"The cache is not believed: {untrusted}.")
    return CacheUnavailable(
        f"The cache did not answer ({type(error).__name__}). Check DISPENSER_CACHE_URL and that Redis is up."
    )
