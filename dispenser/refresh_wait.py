import asyncio
from datetime import datetime
from typing import Final, NamedTuple

from dispenser.joining import Joining
from shared import envelope, topology
from shared.cache_keys import TOMBSTONE, epoch_moment, provider_key, token_key
from shared.errors import CacheUnavailable, SealBroken, VaultError
from shared.messages import ExpiryEvent, Reason, encode
from shared.model import Grant, GrantId, Owner, ProviderName, ServiceName
from shared.ports import Bus, Cache, Clock, GrantStore, Outgoing

#: Longest wait for one refresh, in seconds: beyond every agent's deadline.
LONGEST_SECONDS: Final = 30.0
FIRST_LOOK_SECONDS: Final = 0.02
LAST_LOOK_SECONDS: Final = 0.25
#: The database is asked once in so many looks: it alone tells of a refresh that brought no token.
LOOKS_PER_STORE_READ: Final = 4


class Awaited(NamedTuple):
    """A refresh that somebody waits for."""

    grant_id: GrantId
    service: ServiceName
    owner: Owner
    provider: ProviderName
    generation: int
    failures: int
    reason: Reason


class RefreshWait:
    """Asks for a refresh once, whoever wants it in this process, and waits for what becomes of it."""

    def __init__(self, bus: Bus, cache: Cache, grants: GrantStore, clock: Clock) -> None:
        self._bus = bus
        self._cache = cache
        self._grants = grants
        self._clock = clock
        self._joined = Joining(self._ask_and_watch)

    async def __call__(
        self, grant: Grant, provider: ProviderName, reason: Reason, deadline_seconds: float
    ) -> datetime | None:
        """Returns when the grant has moved on, or at the deadline; or at once, with the moment until which
        refreshers leave the provider alone.

        Raises: BusUnavailable, QueueFull, Unroutable where it could not be asked for.
        """
        awaited = Awaited(
            grant.id, grant.service, grant.owner, provider, grant.generation, grant.failures, reason
        )
        try:
            return await asyncio.wait_for(self._joined(awaited), deadline_seconds)
        except TimeoutError:
            return None

    async def _ask_and_watch(self, awaited: Awaited) -> datetime | None:
        await self._ask(awaited)
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                return await self._watch(awaited)
        except TimeoutError:
            return None

    async def _ask(self, awaited: Awaited) -> None:
        event = ExpiryEvent(grant_id=awaited.grant_id, generation=awaited.generation, reason=awaited.reason)
        await self._bus.publish(
            Outgoing(
                exchange=topology.REFRESH_EXCHANGE,
                routing_key=topology.URGENT_KEY,
                body=encode(event),
                # Nobody waits longer, and the scheduler asks anew by itself.
                expiration_seconds=LONGEST_SECONDS,
            )
        )

    async def _watch(self, awaited: Awaited) -> datetime | None:
        pause, looks = FIRST_LOOK_SECONDS, 0
        while True:
            sealed, mark = await self._looked_up(awaited)
            if sealed is not None and _is_newer(sealed, awaited.generation):
                return None
            if mark is not None and (left_alone_until := epoch_moment(mark)) > self._clock():
                return left_alone_until
            if looks and looks % LOOKS_PER_STORE_READ == 0 and await self._moved_in_store(awaited):
                return None
            await asyncio.sleep(pause)
            pause, looks = min(pause * 1.3, LAST_LOOK_SECONDS), looks + 1

    async def _looked_up(self, awaited: Awaited) -> tuple[bytes | None, bytes | None]:
        """The token's place in the cache, and the provider's mark."""
        keys = [token_key(awaited.service, awaited.owner), provider_key(awaited.provider)]
        try:
            sealed, mark = await self._cache.get_many(keys)
        except CacheUnavailable:
            return None, None
        return sealed, mark

    async def _moved_in_store(self, awaited: Awaited) -> bool:
        try:
            grant = await self._grants.get(awaited.grant_id)
        except VaultError:
            return False
        return grant is None or (grant.generation, grant.failures) != (awaited.generation, awaited.failures)


def _is_newer(sealed: bytes, generation: int) -> bool:
    try:
        return sealed == TOMBSTONE or envelope.generation(sealed) > generation
    except SealBroken:
        return False
