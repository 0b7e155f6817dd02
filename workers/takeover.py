from collections.abc import Callable
from typing import Final

import structlog

from shared.model import Grant, Intent, IntentId, Provider, RefusalKind
from shared.ports import Clock, Store
from workers import decision, lifecycle
from workers.announcements import Announcements
from workers.audit_trail import AuditTrail
from workers.outcome import Refused

#: Seconds for which an intent must be seen open: its lease, within which its request is over, and the time in
#: which a holder that lives replays its spool after an outage of the database.
WATCHED_SECONDS: Final = decision.LEASE_SECONDS + 30.0
#: Seconds that the time between two looks counts for at most: an outage of the database is not watching.
LONGEST_STEP_SECONDS: Final = 15.0
HOLDER_GONE: Final = Refused(kind=RefusalKind.AMBIGUOUS, code="holder_gone")
log = structlog.get_logger()


class Takeover:
    """Ends open intents whose holder is gone, so that their grants do not wait for it for ever.

    Should the holder come back with an answer in its spool, the lineage rule still applies it.
    """

    def __init__(
        self,
        store: Store,
        announcements: Announcements,
        audit: AuditTrail,
        clock: Clock,
        elapsed: Callable[[], float],
    ) -> None:
        """`elapsed`: seconds that pass however the clock is set."""
        self._store = store
        self._announcements = announcements
        self._audit = audit
        self._clock = clock
        self._elapsed = elapsed
        self._looked_at = 0.0
        #: For how many seconds each has been seen open. Not from when it says that it was opened: of two
        #: machines one's clock may be wrong, and its holder would be given up with its request under way.
        self._watched: dict[IntentId, float] = {}

    async def run(self) -> int:
        """End what has been watched for long enough, and return how many. Raises: StoreUnavailable."""
        intents = await self._store.rotations.open_intents()
        step = self._step_seconds()
        before = self._watched
        self._watched = {i.id: before[i.id] + step if i.id in before else 0.0 for i in intents}
        ripe = [intent for intent in intents if self._watched[intent.id] >= WATCHED_SECONDS]
        for intent in ripe:
            await self._end(intent)
        return len(ripe)

    def _step_seconds(self) -> float:
        before, self._looked_at = self._looked_at, self._elapsed()
        return min(self._looked_at - before, LONGEST_STEP_SECONDS)

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
