import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import structlog

from shared.errors import StoreUnavailable, VaultError
from shared.messages import LifecycleEvent
from shared.ports import Bus, OutboxStore, Outgoing
from shared.topology import EVENTS_EXCHANGE
from workers.pulse import Pulse

log = structlog.get_logger()
CONTENT_TYPE: Final = "application/json"


class Announcements:
    """Takes lifecycle events from the outbox to the bus: at least once, with an id that stays the same."""

    def __init__(self, outbox: OutboxStore, bus: Bus) -> None:
        self._outbox = outbox
        self._bus = bus
        self._forgetting = Pulse()

    async def publish(self, events: Sequence[LifecycleEvent]) -> None:
        """Publish events that are in the outbox. Raises: BusUnavailable, QueueFull, Unroutable,
        StoreUnavailable; they stay in the outbox then."""
        await asyncio.gather(*(self._bus.publish(outgoing(event)) for event in events))
        await self._forgetting.wait()
        await self._outbox.sent([event.id for event in events])

    async def tell(self, events: Sequence[LifecycleEvent], now: datetime) -> None:
        """Publish events that are in no transaction: through the outbox, or at once where it fails."""
        try:
            await self._outbox.put(events, now)
        except StoreUnavailable as error:
            log.warning("Lifecycle events do not get into the outbox", count=len(events), code=error.code)
        await self.attempt(events)

    async def attempt(self, events: Sequence[LifecycleEvent]) -> None:
        """Publish them, or leave them to the janitor."""
        try:
            await self.publish(events)
        except VaultError as error:
            log.warning("Lifecycle events wait in the outbox", count=len(events), code=error.code)


def outgoing(event: LifecycleEvent) -> Outgoing:
    """A lifecycle event as a CloudEvent on the bus."""
    return Outgoing(
        exchange=EVENTS_EXCHANGE,
        routing_key=event.type.value,
        body=event.body(),
        headers=event.headers(),
        message_id=event.id,
        content_type=CONTENT_TYPE,
    )
