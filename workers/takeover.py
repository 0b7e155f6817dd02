from collections.abc import Callable
from typing import Final

import structlog

from shared.model import Grant, Intent, IntentId, Provider, RefusalKind
from shared.ports import Cache, Clock, Store
from workers import decision, lifecycle
from workers.announcements import Announcements
from workers.audit_trail import AuditTrail
from workers.heartbeat import heard
from workers.outcome import Refused
from workers.watch import Watch

#: Seconds for which an intent must be seen open: its lease, within which its request is over, and the time in
#: which a holder that lives replays its spool after an outage of the database.
WATCHED_SECONDS: Final = decision.LEASE_SECONDS + 30.0
#: Seconds for which an intent must be seen open whose holder lives and says that it has the answer, where the
#: credential that others would send is spent: the database keeps failing the holder, or it lacks a key.
ANSWERED_SECONDS: Final = 900.0
#: Seconds for which a holder must give no sign of life, where a short grace does not allow to watch longer.
SILENT_SECONDS: Final = 5.0
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
        *,
        elapsed: Callable[[], float],
        cache: Cache,
    ) -> None:
        """`elapsed`: seconds that pass however the clock is set."""
        self._store = store
        self._announcements = announcements
        self._audit = audit
        self._clock = clock
        #: Those that are open: one's holder must not be given up with its request under way.
        self._open: Watch[IntentId] = Watch(elapsed)
        #: Those whose holders are silent.
        self._silent: Watch[IntentId] = Watch(elapsed)
        #: Those whose holders say that they have the answer.
        self._answered: frozenset[str] = frozenset()
        self._cache = cache

    async def run(self) -> int:
        """End what has been watched for long enough, and return how many. Raises: StoreUnavailable."""
        intents = await self._store.rotations.open_intents()
        holders = {intent.holder for intent in intents}
        living = await heard(self._cache, holders)
        silent = frozenset() if living is None else holders - living.keys()
        self._answered = frozenset().union(*(living or {}).values())
        self._open.look([intent.id for intent in intents])
        self._silent.look([intent.id for intent in intents if intent.holder in silent])
        ended = [await self._end(intent) for intent in intents if self._may_be_gone(intent)]
        return sum(ended)

    def _may_be_gone(self, intent: Intent) -> bool:
        return self._open.seconds(intent.id) >= WATCHED_SECONDS or self._is_silent(intent)

    def _is_silent(self, intent: Intent) -> bool:
        return self._silent.seconds(intent.id) >= SILENT_SECONDS

    def _is_gone(self, intent: Intent, provider: Provider | None) -> bool:
        """Open for longer than its holder is waited for. `provider`: whom to ask anew may cost the grant."""
        answered = intent.id in self._answered and provider is not None and decision.spends(provider)
        return self._open.seconds(intent.id) >= (ANSWERED_SECONDS if answered else WATCHED_SECONDS)

    async def _end(self, intent: Intent) -> bool:
        grant = await self._store.grants.get(intent.grant_id)
        provider = await self._provider(grant) if grant else None
        short = provider is not None and decision.grace_is_shorter(provider, WATCHED_SECONDS)
        if not self._is_gone(intent, provider) and not (short and self._is_silent(intent)):
            return False
        if grant is None or provider is None or not decision.spends(provider):
            await self._store.rotations.release(intent, HOLDER_GONE.code, self._clock())
            log.warning("A rotation whose refresher is gone is released", intent=intent.id)
        else:
            await self._mark_doubtful(intent, grant, provider)
        return True

    async def _mark_doubtful(self, intent: Intent, grant: Grant, provider: Provider) -> None:
        """The credential may be spent: nobody knows until it is tried, inside its grace or late."""
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
        log.critical(
            "A rotation's outcome is unknown: its refresher is gone", grant=grant.id, state=stored.state
        )
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
        offer = await self._store.catalogue.offer()
        service = offer.services.get(grant.service)
        return offer.providers.get(service.provider) if service else None
