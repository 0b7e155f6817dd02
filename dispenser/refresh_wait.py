import asyncio
from typing import Final, NamedTuple

from dispenser.joining import Joining
from shared import envelope, topology
from shared.cache_keys import TOMBSTONE, token_key
from shared.errors import CacheUnavailable, SealBroken, VaultError
from shared.messages import ExpiryEvent, Reason, encode
from shared.model import Grant, GrantId, Owner, ServiceName
from shared.ports import Bus, Cache, GrantStore, Outgoing

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
    generation: int
    failures: int
    reason: Reason


class RefreshWait:
    """Asks for a refresh once, whoever wants it in this process, and waits for what becomes of it."""

    def __init__(self, bus: Bus, cache: Cache, grants: GrantStore) -> None:
        self._bus = bus
        self._cache = cache
        self._grants = grants
        self._joined = Joining(self._ask_and_watch)

    async def __call__(self, grant: Grant, reason: Reason, deadline_seconds: float) -> None:
        """Returns when the grant has moved on, or at the deadline.

        Raises: BusUnavailable, QueueFull, Unroutable where it could not be asked for.
        """
        awaited = Awaited(grant.id, grant.service, grant.owner, grant.generation, grant.failures, reason)
        try:
            await asyncio.wait_for(self._joined(awaited), deadline_seconds)
        except TimeoutError:
            return

    async def _ask_and_watch(self, awaited: Awaited) -> None:
        await self._ask(awaited)
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                await self._watch(awaited)
        except TimeoutError:
            return

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

    async def _watch(self, awaited: Awaited) -> None:
        pause, looks = FIRST_LOOK_SECONDS, 0
        while not await self._moved(awaited, with_store=looks % LOOKS_PER_STORE_READ == 0 and looks > 0):
            await asyncio.sleep(pause)
            pause, looks = min(pause * 1.3, LAST_LOOK_SECONDS), looks + 1

    async def _moved(self, awaited: Awaited, *, with_store: bool) -> bool:
        if await self._newer_in_cache(awaited):
            return True
        return with_store and await self._moved_in_store(awaited)

    async def _newer_in_cache(self, awaited: Awaited) -> bool:
        try:
            [sealed] = await self._cache.get_many([token_key(awaited.service, awaited.owner)])
        except CacheUnavailable:
            return False
        return sealed is not None and _is_newer(sealed, awaited.generation)

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
