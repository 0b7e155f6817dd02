from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final

from dispenser.http.dpop import AHEAD_SECONDS, OLD_SECONDS
from shared.cache_keys import proof_key
from shared.errors import CacheUnavailable
from shared.ports import Cache, Clock

#: From the moment it comes until it is too old, a proof is remembered.
REMEMBERED_SECONDS: Final = float(OLD_SECONDS + AHEAD_SECONDS)
#: In each gateway, some tens of megabytes; the cache remembers for all of them.
REMEMBERED: Final = 200_000


class Replays:
    """Tells a proof that was used before (RFC 9449 §11.1), at whichever gateway.

    Where the cache is down each gateway knows what it has seen itself: tokens at hand stay served.
    """

    def __init__(self, cache: Cache, clock: Clock) -> None:
        self._cache = cache
        self._clock = clock
        self._seen: OrderedDict[bytes, datetime] = OrderedDict()

    async def first(self, digest: bytes) -> bool:
        """Use a proof up, whatever becomes of its request. False: it was used before."""
        self._forget()
        if digest in self._seen:
            return False
        self._seen[digest] = self._clock() + timedelta(seconds=REMEMBERED_SECONDS)
        try:
            return await self._cache.put_if_newer(proof_key(digest), 1, b"", REMEMBERED_SECONDS)
        except CacheUnavailable:
            return True

    def _forget(self) -> None:
        """What is too old to be taken, and the oldest where there is no room."""
        now = self._clock()
        while self._seen and (len(self._seen) >= REMEMBERED or next(iter(self._seen.values())) <= now):
            self._seen.popitem(last=False)
