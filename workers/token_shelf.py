import structlog

from shared.cache_keys import token_key
from shared.errors import CacheUnavailable
from shared.expiry import remaining_seconds
from shared.model import Grant
from shared.ports import Cache, Clock

log = structlog.get_logger()


class TokenShelf:
    """Puts a grant's stored token into the cache. SQL has it too, so a cache that is down costs reads."""

    def __init__(self, cache: Cache, clock: Clock) -> None:
        self._cache = cache
        self._clock = clock

    async def put(self, grant: Grant) -> None:
        """Put the token where dispensers look first, unless it has ended or a newer one is there."""
        life = remaining_seconds(grant.token_expires_at, self._clock())
        if grant.sealed_token is None or life <= 0:
            return
        ttl = None if grant.token_expires_at is None else life
        key = token_key(grant.service, grant.owner)
        try:
            await self._cache.put_if_newer(key, grant.generation, grant.sealed_token, ttl)
        except CacheUnavailable as error:
            log.warning(
                "A new token is not in the cache; SQL serves it", service=grant.service, why=str(error)
            )
