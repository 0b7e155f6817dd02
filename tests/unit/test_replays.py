"""A proof is used once, at whichever gateway, and what is remembered of it ends."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from builders import NOW

from dispenser.http import replays
from dispenser.http.replays import REMEMBERED_SECONDS, Replays
from shared.adapters.memory_cache import MemoryCache
from shared.errors import CacheUnavailable


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


class Down(MemoryCache):
    async def put_if_newer(self, key: str, version: int, value: bytes, ttl_seconds: float | None) -> bool:
        raise CacheUnavailable("It is down.")


async def uses(seen: Replays, digests: Sequence[bytes]) -> list[bool]:
    return [await seen.first(digest) for digest in digests]


async def test_a_proof_is_used_once_and_another_is_another() -> None:
    clock = Clock()
    assert await uses(Replays(MemoryCache(clock), clock), [b"1", b"2", b"1"]) == [True, True, False]


async def test_what_one_gateway_has_seen_the_other_knows() -> None:
    clock = Clock()
    cache = MemoryCache(clock)
    assert await Replays(cache, clock).first(b"1")
    assert not await Replays(cache, clock).first(b"1")


@pytest.mark.parametrize("kind", [MemoryCache, Down])
async def test_a_cache_that_is_down_or_flushed_does_not_make_a_gateway_forget(
    kind: type[MemoryCache],
) -> None:
    clock = Clock()
    cache = kind(clock)
    seen = Replays(cache, clock)
    assert await seen.first(b"1")
    cache.flush()
    assert not await seen.first(b"1")


async def test_nothing_is_remembered_for_longer_than_a_proof_is_taken() -> None:
    clock = Clock()
    seen = Replays(Down(clock), clock)
    await seen.first(b"1")
    clock.now += timedelta(seconds=REMEMBERED_SECONDS)
    await seen.first(b"2")
    assert list(seen._seen) == [b"2"]


async def test_no_more_are_remembered_than_memory_is_meant_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "REMEMBERED", 2)
    clock = Clock()
    seen = Replays(MemoryCache(clock), clock)
    assert await uses(seen, [b"1", b"2", b"3"]) == [True] * 3
    assert list(seen._seen) == [b"2", b"3"]
    assert not await seen.first(b"1")  # the cache knows


async def test_a_memory_cache_lets_go_of_what_has_ended() -> None:
    clock = Clock()
    cache = MemoryCache(clock)
    for number in range(5000):
        clock.now += timedelta(seconds=1)
        await cache.put_if_newer(f"proof:{number}", 1, b"", 90)
    assert len(cache._held) < 1200
    assert await cache.get_many(["proof:4999", "proof:0"]) == [b"", None]
