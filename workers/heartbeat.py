import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Final

from shared.cache_keys import epoch_version, heartbeat_key
from shared.errors import CacheUnavailable
from shared.ports import Cache, Clock

BEAT_SECONDS: Final = 2.0
#: Seconds that a beat is heard.
HEARD_SECONDS: Final = 6.0
#: Of the answers that it has, a refresher tells of so many at most: 64 KiB.
MOST_TOLD: Final = 2000
_BETWEEN: Final = b" "


class Heartbeat:
    """A refresher's sign of life in the cache, and word of the answers that it has and the database has not.

    Its absence proves nothing, for a cache may lose it: what hangs on it must be harmless when wrong.
    """

    def __init__(self, cache: Cache, clock: Clock, name: str, answers: Callable[[], Collection[str]]) -> None:
        """`answers`: the ids of the intents whose answers wait in its spool."""
        self._cache = cache
        self._clock = clock
        self._key = heartbeat_key(name)
        self._answers = answers

    async def keep(self) -> None:
        """Beat until cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(BEAT_SECONDS)

    async def beat(self) -> None:
        """Once."""
        told = _BETWEEN.join(each.encode() for each in sorted(self._answers())[:MOST_TOLD])
        with suppress(CacheUnavailable):
            await self._cache.put_if_newer(self._key, epoch_version(self._clock()), told, HEARD_SECONDS)


async def heard(cache: Cache, refreshers: Collection[str]) -> Mapping[str, frozenset[str]] | None:
    """Those of the refreshers that are heard, with what they have answers to. None: the cache is silent."""
    names = sorted(set(refreshers))
    try:
        beats = await cache.get_many([heartbeat_key(name) for name in names]) if names else []
    except CacheUnavailable:
        return None
    return {name: _told(beat) for name, beat in zip(names, beats, strict=True) if beat is not None}


def _told(beat: bytes) -> frozenset[str]:
    return frozenset(each.decode("ascii", "replace") for each in beat.split(_BETWEEN) if each)
