import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Final

from shared.cache_keys import epoch_version, heartbeat_key
from shared.errors import CacheUnavailable
from shared.ports import Cache, Clock

BEAT_SECONDS: Final = 2.0
#: Seconds that a beat is heard.
HEARD_SECONDS: Final = 6.0


class Heartbeat:
    """A refresher's sign of life in the cache.

    Its absence proves nothing, for a cache may lose it: what hangs on it must be harmless when wrong.
    """

    def __init__(self, cache: Cache, clock: Clock, name: str) -> None:
        self._cache = cache
        self._clock = clock
        self._key = heartbeat_key(name)

    async def keep(self) -> None:
        """Beat until cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(BEAT_SECONDS)

    async def beat(self) -> None:
        """Once."""
        with suppress(CacheUnavailable):
            await self._cache.put_if_newer(self._key, epoch_version(self._clock()), b"", HEARD_SECONDS)


async def silent(cache: Cache, refreshers: Collection[str]) -> frozenset[str]:
    """Those of the refreshers that are not heard; none where the cache itself does not answer."""
    names = sorted(set(refreshers))
    if not names:
        return frozenset()
    try:
        beats = await cache.get_many([heartbeat_key(name) for name in names])
    except CacheUnavailable:
        return frozenset()
    return frozenset(name for name, beat in zip(names, beats, strict=True) if beat is None)
