from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog

from shared.envelope import open_provider_secrets
from shared.errors import ConfigurationError, KeyMissing, SealBroken, StoreUnavailable
from shared.keyring import Keyring
from shared.model import Offer, Provider, ProviderName, ProviderSecrets, Service, ServiceName
from shared.ports import CatalogueStore, Clock
from shared.rounds import Rounds
from workers.standing import Standing

#: Seconds for which the catalogue's version and providers' secrets are taken to be what they were.
FRESH_SECONDS: Final = 1.0
#: Who share one reading of it, at most: more than are in hand.
_MOST_AT_ONCE: Final = 10_000
log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A service with its provider, as declared, and how the provider stands."""

    service: Service
    provider: Provider
    standing: Standing = field(repr=False)


class Providers:
    """What the catalogue has of services: read again when its version moves or a service is unknown."""

    def __init__(self, catalogue: CatalogueStore, keys: Keyring, clock: Clock) -> None:
        self._store = catalogue
        self._keys = keys
        self._clock = clock
        self._offer: Offer | None = None
        self._checked_at: datetime | None = None
        self._standings: dict[ProviderName, Standing] = {}
        #: When they were read, and what they are.
        self._secrets: dict[ProviderName, tuple[datetime, ProviderSecrets]] = {}
        self._loads: Rounds[None, Offer] = Rounds(self._loaded, limit=_MOST_AT_ONCE)

    async def registration(self, name: ServiceName) -> Registration | None:
        """The service of a name. None: it is not declared. Raises: StoreUnavailable."""
        offer = await self._current()
        if name not in offer.services:
            offer = await self._loads.join(None)
        service = offer.services.get(name)
        provider = offer.providers.get(service.provider) if service else None
        if service is None or provider is None:
            return None
        return Registration(service=service, provider=provider, standing=self._standing(provider))

    async def secrets(self, registration: Registration) -> ProviderSecrets:
        """The provider's secrets, the one to use first. Raises: StoreUnavailable, ConfigurationError."""
        provider, now, known = registration.provider, self._clock(), self._secrets
        if provider.name not in known or not _is_fresh(known[provider.name][0], now):
            known[provider.name] = now, await self._opened(provider)
        return registration.standing.circuit.ordered(known[provider.name][1])

    async def _opened(self, provider: Provider) -> ProviderSecrets:
        sealed = await self._store.provider_secrets(provider.name)
        try:
            return open_provider_secrets(self._keys, provider, sealed)
        except (SealBroken, KeyMissing) as error:
            raise ConfigurationError(
                [f"Provider {provider.name}: its secrets do not open. Apply its declaration with them again."]
            ) from error

    async def _current(self) -> Offer:
        now = self._clock()
        if self._offer is None:
            return await self._loads.join(None)
        if self._checked_at is not None and _is_fresh(self._checked_at, now):
            return self._offer
        # One looks, and the others go by what is known meanwhile.
        self._checked_at = now
        try:
            moved = await self._store.version() != self._offer.version
        except StoreUnavailable:
            self._checked_at = None
            raise
        return await self._loads.join(None) if moved else self._offer

    async def _loaded(self, waiting: Sequence[None]) -> Sequence[Offer]:
        """Read once for all who wait: after a start, or for a service that is new, many do at once."""
        now = self._clock()
        self._offer = offer = await self._store.offer()
        self._checked_at, self._secrets = now, {}
        self._standings = {name: s for name, s in self._standings.items() if name in offer.providers}
        return [offer] * len(waiting)

    def _standing(self, provider: Provider) -> Standing:
        standing = self._standings.get(provider.name)
        if standing is None:
            standing = self._standings[provider.name] = Standing.towards(provider, self._clock)
        return standing


def _is_fresh(read_at: datetime, now: datetime) -> bool:
    return timedelta() <= now - read_at < timedelta(seconds=FRESH_SECONDS)
