import asyncio
from datetime import timedelta
from typing import Final

from shared.cache_keys import EPOCHS_READY_KEY, epoch_key, epoch_value, epoch_version
from shared.model import Revocation
from shared.ports import Cache, Clock, RevocationStore

#: Seconds for which a revocation matters: longer than any vault token lives.
HORIZON_SECONDS: Final = 86_400.0
#: The marker ends soon after nobody renews it: then dispensers ask SQL, and a dead janitor revives nobody.
READY_SECONDS: Final = 5.0
AT_ONCE: Final = 200


class Epochs:
    """Keeps the cache's revocation epochs what SQL says, whatever the cache may have lost."""

    def __init__(self, revocations: RevocationStore, cache: Cache, clock: Clock) -> None:
        self._revocations = revocations
        self._cache = cache
        self._clock = clock

    async def write(self) -> None:
        """Write every epoch that matters, and only then say that they are there.

        Raises: StoreUnavailable, CacheUnavailable.
        """
        now = self._clock()
        revocations = await self._revocations.since(now - timedelta(seconds=HORIZON_SECONDS))
        for start in range(0, len(revocations), AT_ONCE):
            await asyncio.gather(*(self._put(one) for one in revocations[start : start + AT_ONCE]))
        await self._cache.put_if_newer(EPOCHS_READY_KEY, epoch_version(now), epoch_value(now), READY_SECONDS)

    async def _put(self, revocation: Revocation) -> None:
        moment = revocation.revoked_at
        key = epoch_key(revocation.kind, revocation.subject)
        await self._cache.put_if_newer(key, epoch_version(moment), epoch_value(moment), HORIZON_SECONDS)
