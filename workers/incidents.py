from datetime import datetime, timedelta
from typing import Final

import structlog

from shared.cache_keys import client_key, epoch_value, epoch_version, provider_key
from shared.errors import CacheUnavailable, OtherClient
from shared.messages import EventType, LifecycleEvent
from shared.model import Client, Owner, ProviderName
from shared.ports import Cache, Clock
from workers.announcements import Announcements
from workers.audit_trail import AuditTrail
from workers.providers import Registration

log = structlog.get_logger()
NOBODYS = Owner("")
#: People are told once in so long, as long as it goes on.
REMINDER: Final = timedelta(days=1)


class Incidents:
    """Tells that a provider is not asked for a while: agents that wait, at once; people, once per incident.

    A mark in the cache is for dispensers, and for other refreshers that come to find the same.
    """

    def __init__(self, cache: Cache, announcements: Announcements, audit: AuditTrail, clock: Clock) -> None:
        self._cache = cache
        self._announcements = announcements
        self._audit = audit
        self._clock = clock
        #: When people were told of grants of other clients, by whose declaration it was.
        self._told: dict[tuple[ProviderName, Client], datetime] = {}

    async def client_refused(
        self, registration: Registration, secrets: int, code: str, sent_at: datetime
    ) -> bool:
        """The provider refused one of so many secrets. True: there is another to try now."""
        circuit, now = registration.standing.circuit, self._clock()
        known = circuit.open_until is not None
        if circuit.client_refused(secrets, now, sent_at):
            return True
        known = known or await self._marked(registration.provider.name)
        await self.closed_off(registration)
        if not known:
            await self._tell(registration, code, now)
        return False

    async def other_client(self, registration: Registration, error: OtherClient) -> None:
        """Grants of the provider were given to another client than is declared: mistyped, altered, or new.

        The circuit stays closed, for grants that this client was given since are none the worse for it.
        """
        provider, now = registration.provider, self._clock()
        told = self._told.get((provider.name, provider.client))
        if told is not None and now - told < REMINDER:
            return
        self._told[provider.name, provider.client] = now
        if not await self._first(provider.name, provider.client):
            return
        log.critical("A provider's grants are not refreshed: they are another client's", why=str(error))
        await self._announcements.tell([_event(registration, now, state="open", error=error.code)], now)
        await self._audit.record(
            "provider.other_client", error.code, service=registration.service.name, reason=provider.name
        )

    async def client_accepted(self, registration: Registration) -> None:
        """The provider knows our client; where it did not, that is over."""
        if not registration.standing.circuit.client_accepted():
            return
        name, now = registration.provider.name, self._clock()
        log.info("A provider accepts our client again", provider=name)
        await self._mark(name, now)
        await self._announcements.tell([_event(registration, now, state="over")], now)

    async def rate_limited(self, registration: Registration, retry_after_seconds: float | None) -> None:
        """Leave the provider alone, whoever's token it is about."""
        pace = registration.standing.pace
        pace.pause(retry_after_seconds, self._clock())
        log.warning(
            "A provider wants to be left alone",
            provider=registration.provider.name,
            seconds=pace.pause_seconds(self._clock()),
        )
        await self.closed_off(registration)

    async def closed_off(self, registration: Registration) -> None:
        """Tell agents that wait that the provider is not asked."""
        standing = registration.standing
        ends = [end for end in (standing.circuit.open_until, standing.pace.paused_until) if end]
        if ends:
            await self._mark(registration.provider.name, max(ends))

    async def _tell(self, registration: Registration, code: str, now: datetime) -> None:
        provider = registration.provider.name
        log.critical("A provider refuses our client: check its id and secret", provider=provider, code=code)
        await self._announcements.tell([_event(registration, now, state="open", error=code)], now)
        await self._audit.record(
            "provider.client_refused", code, service=registration.service.name, reason=provider
        )

    async def _marked(self, provider: ProviderName) -> bool:
        try:
            [mark] = await self._cache.get_many([provider_key(provider)])
        except CacheUnavailable:
            return False
        return mark is not None and mark > epoch_value(self._clock())

    async def _first(self, provider: ProviderName, client: Client) -> bool:
        """No other refresher has come to find the same."""
        key, until = client_key(provider, client), REMINDER.total_seconds()
        try:
            return await self._cache.put_if_newer(key, 1, b"told", until)
        except CacheUnavailable:
            return True

    async def _mark(self, provider: ProviderName, until: datetime) -> None:
        now = self._clock()
        life = max(1.0, (until - now).total_seconds())
        try:
            await self._cache.put_if_newer(
                provider_key(provider), epoch_version(now), epoch_value(until), life
            )
        except CacheUnavailable as error:
            log.warning("Agents wait for a provider that is not asked", provider=provider, why=str(error))


def _event(registration: Registration, at: datetime, **details: str) -> LifecycleEvent:
    provider = registration.provider.name
    return LifecycleEvent(
        id=f"{provider}.{epoch_version(at)}.{EventType.INCIDENT.value}",
        type=EventType.INCIDENT,
        at=at,
        service=registration.service.name,
        owner=NOBODYS,
        details={"provider": provider, **details},
    )
