import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from shared.errors import VaultError
from shared.messages import EnrolmentEvent, ExpiryEvent, HandbackEvent, Reason, RefresherMessage, encode
from shared.ports import Bus, Clock, Outgoing, Store
from shared.topology import DUE_KEY, REFRESH_EXCHANGE
from workers.outage import Outage

BATCH: Final = 500
#: Seconds until a grant or an enrolment that was announced and not dealt with is announced again.
ANNOUNCED_SECONDS: Final = 120.0
#: The same for a grant whose credential may be spent: its grace may be short, and who was told may be gone.
UNSURE_SECONDS: Final = 10.0
LONGEST_PAUSE_SECONDS: Final = 30.0


class Scheduler:
    """Turns what is due in SQL into events for refreshers.

    Several may run: each grant is announced by one. An announcement that is lost is repeated once its mark
    has run out; one too many is harmless, for it names a generation.
    """

    def __init__(self, store: Store, bus: Bus, clock: Clock, interval_seconds: float) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._outage = Outage("announcing what is due")
        self._quiet_until: dict[str, datetime] = {}

    async def run(self) -> None:
        """Announce until cancelled."""
        while True:
            await self._attempt()
            await asyncio.sleep(self._pause_seconds())

    async def announce(self) -> int:
        """Announce all that is due now, and return how much that is. Raises: VaultError."""
        announced = await self._announce_grants() + await self._announce_enrolments()
        return announced + await self._announce_handbacks()

    async def _attempt(self) -> None:
        try:
            await self.announce()
        except VaultError as error:
            self._outage.noticed(error)
        else:
            self._outage.over()

    def _pause_seconds(self) -> float:
        doubled = self._interval_seconds * 2.0 ** min(self._outage.failures, 10)
        return max(self._interval_seconds, min(doubled, LONGEST_PAUSE_SECONDS))

    async def _announce_grants(self) -> int:
        announced = 0
        while True:
            now = self._clock()
            unsure_until = now + timedelta(seconds=UNSURE_SECONDS)
            due = await self._store.grants.claim_due(now, _repeat_at(now), BATCH, unsure_until=unsure_until)
            await self._publish(
                [ExpiryEvent(grant_id=g.id, generation=g.generation, reason=Reason.DUE) for g in due]
            )
            announced += len(due)
            if len(due) < BATCH:
                return announced

    async def _announce_enrolments(self) -> int:
        pending = await self._store.enrolments.pending(self._clock(), BATCH)
        return await self._announce_once({i: EnrolmentEvent(enrolment_id=i) for i in pending})

    async def _announce_handbacks(self) -> int:
        pending = await self._store.handbacks.pending(self._clock(), BATCH)
        return await self._announce_once({i: HandbackEvent(handback_id=i) for i in pending})

    async def _announce_once(self, events: Mapping[str, EnrolmentEvent | HandbackEvent]) -> int:
        """Nobody marks these in the database, so this scheduler remembers what it has announced."""
        now = self._clock()
        self._quiet_until = {i: until for i, until in self._quiet_until.items() if until > now}
        new = {i: event for i, event in events.items() if i not in self._quiet_until}
        await self._publish(list(new.values()))
        self._quiet_until |= dict.fromkeys(new, _repeat_at(now))
        return len(new)

    async def _publish(self, messages: Sequence[RefresherMessage]) -> None:
        # All at once, so that the broker confirms them together.
        await asyncio.gather(*(self._bus.publish(_outgoing(message)) for message in messages))


def _repeat_at(now: datetime) -> datetime:
    return now + timedelta(seconds=ANNOUNCED_SECONDS)


def _outgoing(message: RefresherMessage) -> Outgoing:
    return Outgoing(exchange=REFRESH_EXCHANGE, routing_key=DUE_KEY, body=encode(message))
