from datetime import datetime, timedelta
from typing import Final

import structlog

from shared.model import Grant, Intent, IntentId, Provider, RefusalKind
from shared.ports import Clock, Store
from workers import decision, lifecycle
from workers.announcements import Announcements
from workers.audit_trail import AuditTrail
from workers.outcome import Refused

#: Seconds an intent whose lease is over must be seen open: its holder may be alive and replaying its spool,
#: after an outage of the database that ended for us both just now.
WATCHED_SECONDS: Final = 30.0
HOLDER_GONE: Final = Refused(kind=RefusalKind.AMBIGUOUS, code="holder_gone")
log = structlog.get_logger()


class Takeover:
    """Ends open intents whose holder is gone, so that their grants do not wait for it for ever.

    Should the holder come back with an answer in its spool, the lineage rule still applies it.
    """

    def __init__(self, store: Store, announcements: Announcements, audit: AuditTrail, clock: Clock) -> None:
        self._store = store
        self._announcements = announcements
        self._audit = audit
        self._clock = clock
        self._seen: dict[IntentId, datetime] = {}

    async def run(self) -> int:
        """End what has been watched for long enough, and return how many. Raises: StoreUnavailable."""
        now = self._clock()
        opened_before = now - timedelta(seconds=decision.LEASE_SECONDS)
        overdue = await self._store.rotations.open_intents(opened_before=opened_before)
        self._seen = {intent.id: self._seen.get(intent.id, now) for intent in overdue}
        ripe = [intent for intent in overdue if self._watched_seconds(intent, now) >= WATCHED_SECONDS]
        for intent in ripe:
            await self._end(intent)
        return len(ripe)

    def _watched_seconds(self, intent: Intent, now: datetime) -> float:
        return (now - self._seen[intent.id]).total_seconds()

    async def _end(self, intent: Intent) -> None:
        grant = await self._store.grants.get(intent.grant_id)
        provider = await self._provider(grant) if grant else None
        if grant is None or provider is None or decision.resend_is_harmless(provider):
            await self._store.rotations.release(intent, HOLDER_GONE.code, self._clock())
            log.warning("A rotation whose refresher is gone is released", intent=intent.id)
            return
        await self._mark_unknown(intent, grant, provider)

    async def _mark_unknown(self, intent: Intent, grant: Grant, provider: Provider) -> None:
        """The token may be spent: nobody knows until it is tried, late."""
        now = self._clock()
        failure = decision.failure(
            HOLDER_GONE, grant, provider, now=now, entropy=0.0, asked_at=intent.opened_at
        )
        if failure is None:
            return
        events = lifecycle.failed(grant, failure, intent.id, now)
        stored = await self._store.rotations.fail(intent, failure, now=now, events=events)
        if stored is None or stored.generation != intent.generation:
            return
        log.critical("A rotation's outcome is unknown: its refresher is gone", grant=grant.id)
        await self._announcements.attempt(events)
        await self._audit.record(
            "grant.refresh_failed",
            failure.error,
            service=grant.service,
            owner=grant.owner,
            generation=grant.generation,
            reason=failure.state.value,
        )

    async def _provider(self, grant: Grant) -> Provider | None:
        catalogue = await self._store.catalogue.load()
        service = catalogue.services.get(grant.service)
        return catalogue.providers.get(service.provider) if service else None
