import asyncio
from collections.abc import Sequence

from shared import audit_line
from shared.messages import EventType, LifecycleEvent
from shared.model import AuditRecord, Owner, ServiceName
from shared.ports import AuditStore, Bus
from workers.announcements import outgoing


class AuditDelivery:
    """Takes shipped lines to the audit, and tells the world of hand-outs and denials.

    Both may be repeated: the audit knows a record by writer and sequence, an event keeps its id.
    """

    def __init__(self, audit: AuditStore, bus: Bus) -> None:
        self._audit = audit
        self._bus = bus

    async def __call__(self, lines: Sequence[bytes]) -> None:
        """Raises: StoreUnavailable, BusUnavailable, QueueFull."""
        await self._audit.append(lines)
        events = [event for line in lines if (event := told_of(audit_line.decode(line))) is not None]
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
