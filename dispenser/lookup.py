from collections.abc import Mapping, Sequence
from typing import NamedTuple

import structlog

from dispenser import revocation
from dispenser.joining import Joining
from dispenser.vault_token import Identity
from shared import envelope
from shared.cache_keys import TOMBSTONE, token_key
from shared.errors import CacheUnavailable, KeyMissing, SealBroken
from shared.expiry import remaining_seconds
from shared.keyring import Keyring
from shared.model import AccessToken, Grant, Owner, ServiceName
from shared.ports import Cache, Clock, GrantStore

log = structlog.get_logger()
Place = tuple[ServiceName, Owner]


class Cached(NamedTuple):
    """What one round trip to the cache brought."""

    #: The values at `revocation.cache_keys`.
    epochs: Sequence[bytes | None]
    #: The tokens of places that have one.
    tokens: Mapping[Place, AccessToken]


class Stored(NamedTuple):
    """What the database has."""

    grant: Grant | None
    token: AccessToken | None


class Lookup:
    """Finds the newest token of a service and owner: in the cache first, then in the database."""

    def __init__(self, cache: Cache, grants: GrantStore, keys: Keyring, clock: Clock) -> None:
        self._cache = cache
        self._grants = grants
        self._keys = keys
        self._clock = clock
        self._joined = Joining(self._read)

    async def cached(self, identity: Identity, places: Sequence[Place]) -> Cached:
        """Epochs and tokens together, in one round trip; an unreachable cache is an empty one."""
        epoch_keys = revocation.cache_keys(identity)
        try:
            found = await self._cache.get_many([*epoch_keys, *(token_key(*place) for place in places)])
        except CacheUnavailable:
            return Cached((), {})
        epochs, sealed = found[: len(epoch_keys)], found[len(epoch_keys) :]
        opened = ((place, self._opened(place, each)) for place, each in zip(places, sealed, strict=True))
        return Cached(epochs, {place: token for place, token in opened if token is not None})

    async def epochs(self, identity: Identity) -> Sequence[bytes | None]:
        """The epochs alone."""
        try:
            return await self._cache.get_many(revocation.cache_keys(identity))
        except CacheUnavailable:
            return ()

    async def stored(self, place: Place) -> Stored:
        """The grant and its current token, read once for all who ask at the moment.

        Raises: StoreUnavailable.
        """
        return await self._joined(place)

    async def _read(self, place: Place) -> Stored:
        grant = await self._grants.find(*place)
        if grant is None:
            return Stored(None, None)
        token = self._opened(place, grant.sealed_token)
        if token is not None and grant.sealed_token is not None:
            await self._refill(place, token, grant.sealed_token)
        return Stored(grant, token)

    async def _refill(self, place: Place, token: AccessToken, sealed: bytes) -> None:
        """Heal a cache that lost its content."""
        left = remaining_seconds(token.expires_at, self._clock())
        if left <= 0:
            return
        key, ttl = token_key(*place), None if token.expires_at is None else left
        try:
            if not await self._cache.put_if_newer(key, token.generation, sealed, ttl):
                await self._mend(key, sealed)
        except CacheUnavailable:
            return

    async def _mend(self, key: str, sealed: bytes) -> None:
        """A value under a key that has gone would be in the way until it ends."""
        [held] = await self._cache.get_many([key])
        if held is not None and self._key_is_gone(held):
            await self._cache.replace(key, held, sealed)

    def _key_is_gone(self, held: bytes) -> bool:
        try:
            return envelope.key_id(held) not in self._keys.cache
        except SealBroken:  # a tombstone, or garbage
            return False

    def _opened(self, place: Place, sealed: bytes | None) -> AccessToken | None:
        if sealed is None or sealed == TOMBSTONE:
            return None
        try:
            return envelope.open_token(self._keys, *place, sealed)
        except (SealBroken, KeyMissing) as error:
            log.warning("A sealed token does not open", service=place[0], owner=place[1], code=error.code)
            return None
