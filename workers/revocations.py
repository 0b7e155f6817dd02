import asyncio
from collections.abc import Awaitable, Sequence
from datetime import datetime, timedelta
from typing import Final

from shared.cache_keys import REVOKED_SECONDS, TOMBSTONE, epoch_key, epoch_value, epoch_version, token_key
from shared.model import Grant, Revocation
from shared.ports import Cache, Clock, Store

#: A revocation is dated before it commits, by a clock that may differ: so far back each look goes.
OVERLAP: Final = timedelta(seconds=60)
AT_ONCE: Final = 200


class Revocations:
    """Brings to the cache what was revoked while whoever revoked it could not reach it."""

    def __init__(self, store: Store, cache: Cache, clock: Clock) -> None:
        self._store = store
        self._cache = cache
        self._clock = clock
        self._carried_until: datetime | None = None

    async def carry(self) -> None:
        """Carry what was revoked since the last time. Raises: StoreUnavailable, CacheUnavailable."""
        now = self._clock()
        first = now - timedelta(seconds=REVOKED_SECONDS)
        since = first if self._carried_until is None else self._carried_until - OVERLAP
        await _in_groups([self._epoch(one) for one in await self._store.revocations.since(since)])
        await _in_groups([self._tombstone(one) for one in await self._store.grants.revoked_since(since)])
        self._carried_until = now

    async def _epoch(self, revoked: Revocation) -> None:
        key, moment = epoch_key(revoked.kind, revoked.subject), revoked.revoked_at
        await self._cache.put_if_newer(key, epoch_version(moment), epoch_value(moment), REVOKED_SECONDS)

    async def _tombstone(self, revoked: Grant) -> None:
        key = token_key(revoked.service, revoked.owner)
        await self._cache.put_if_newer(key, revoked.generation, TOMBSTONE, REVOKED_SECONDS)


async def _in_groups(work: Sequence[Awaitable[None]]) -> None:
    for start in range(0, len(work), AT_ONCE):
        await asyncio.gather(*work[start : start + AT_ONCE])
