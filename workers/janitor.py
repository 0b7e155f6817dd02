import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import structlog

from shared.errors import MalformedMessage, VaultError
from shared.messages import EnrolmentEvent, ExpiryEvent, HandbackEvent, decode
from shared.ports import Ack, AuditJournal, Bus, Cache, Clock, Delivery, Settlement, Store
from shared.topology import DEAD_QUEUE
from workers.announcements import Announcements
from workers.audit_trail import AuditTrail
from workers.outage import Outage
from workers.revocations import Revocations
from workers.takeover import Takeover

REVOCATIONS_SECONDS: Final = 0.5
OUTBOX_SECONDS: Final = 5.0
TAKEOVER_SECONDS: Final = 2.0
PURGE_SECONDS: Final = 3600.0
LONGEST_PAUSE_SECONDS: Final = 60.0
#: Events younger than this are on their way by those who wrote them.
OUTBOX_AGE_SECONDS: Final = 10.0
OUTBOX_BATCH: Final = 200
DEAD_PREFETCH: Final = 10
log = structlog.get_logger()


class Janitor:
    """Finishes what others left: unsent events, orphaned intents, dead letters, revocations, old rows."""

    def __init__(  # noqa: PLR0917 - ports, by name in wiring
        self,
        store: Store,
        bus: Bus,
        cache: Cache,
        clock: Clock,
        name: str,
        journal: AuditJournal | None = None,
    ) -> None:
        """`journal`: see `AuditTrail`."""
        self._store = store
        self._bus = bus
        self._clock = clock
        self._announcements = Announcements(store.outbox, bus)
        self._audit = AuditTrail(store.audit, clock, name, journal)
        self._takeover = Takeover(
            store, self._announcements, self._audit, clock, elapsed=_loop_seconds, cache=cache
        )
        self._revocations = Revocations(store, cache, clock)

    async def run(self) -> None:
        """Work until cancelled; no chore waits for another."""
        await self._bus.consume(DEAD_QUEUE, self._bury, prefetch=DEAD_PREFETCH)
        async with asyncio.TaskGroup() as chores:
            chores.create_task(_every(REVOCATIONS_SECONDS, "carrying revocations", self._revocations.carry))
            chores.create_task(_every(OUTBOX_SECONDS, "publishing left events", self.empty_outbox))
            chores.create_task(_every(TAKEOVER_SECONDS, "taking intents over", self._takeover.run))
            chores.create_task(_every(PURGE_SECONDS, "purging", self.purge))

    async def empty_outbox(self) -> None:
        """Publish the events that their writers could not. Raises: VaultError."""
        while True:
            written_before = self._clock() - timedelta(seconds=OUTBOX_AGE_SECONDS)
            left = await self._store.outbox.pending(OUTBOX_BATCH, written_before=written_before)
            if not left:
                return
            await self._announcements.publish(left)
            log.info("Events left in the outbox are published", count=len(left))

    async def purge(self) -> None:
        """Remove what has outlived its use. Raises: VaultError."""
        removed = {table: rows for table, rows in (await self._store.purge(self._clock())).items() if rows}
        if removed:
            log.info("Purged", **removed)

    async def _bury(self, delivery: Delivery) -> Settlement:
        """A dead letter is told of and done with: the scheduler announces a grant again all the same."""
        about = _about(delivery.body)
        log.critical("A message for refreshers could not be handled", about=about)
        await self._audit.record("refresh.dead_lettered", "dead", reason=about)
        return Ack()


async def _every(seconds: float, what: str, chore: Callable[[], Awaitable[object]]) -> None:
    outage = Outage(what)
    while True:
        try:
            await chore()
        except VaultError as error:
            outage.noticed(error)
        else:
            outage.over()
        await asyncio.sleep(
            min(seconds * 2.0 ** min(outage.failures, 5), max(seconds, LONGEST_PAUSE_SECONDS))
        )


def _loop_seconds() -> float:
    return asyncio.get_running_loop().time()


def _about(body: bytes) -> str:
    try:
        message = decode(body)
    except MalformedMessage:
        return "not a message for refreshers"
    match message:
        case ExpiryEvent(grant_id=grant_id, generation=generation):
            return f"grant {grant_id} at generation {generation}"
        case EnrolmentEvent(enrolment_id=enrolment_id):
            return f"enrolment {enrolment_id}"
        case HandbackEvent(handback_id=handback_id):
            return f"handback {handback_id}"
