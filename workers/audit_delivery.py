import asyncio
from collections.abc import Sequence

from shared.messages import EventType, LifecycleEvent
from shared.model import AuditRecord, Owner, ServiceName
from shared.ports import AuditStore, Bus
from workers.announcements import outgoing


class AuditDelivery:
    """Takes shipped records to the audit's index, and tells the world of hand-outs and denials.

    Both may be repeated: the index knows a record by writer and sequence, an event keeps its id.
    """

    def __init__(self, index: AuditStore, bus: Bus) -> None:
        self._index = index
        self._bus = bus

    async def __call__(self, records: Sequence[AuditRecord]) -> None:
        """Raises: StoreUnavailable, BusUnavailable, QueueFull."""
        await self._index.append(records)
        events = [event for record in records if (event := told_of(record)) is not None]
        await asyncio.gather(*(self._bus.publish(outgoing(event)) for event in events))


def told_of(record: AuditRecord) -> LifecycleEvent | None:
    """The event that a record makes. None: it is no decision on a token."""
    if record.action not in (EventType.DISPENSED, EventType.DENIED):
        return None
    return LifecycleEvent(
        id=f"{record.writer}.{record.sequence}",
        type=EventType(record.action),
        at=record.at,
        service=ServiceName(record.service),
        owner=Owner(record.owner),
        generation=record.generation,
        details={"agent": record.agent, "session": record.session, "outcome": record.outcome},
    )
