"""The lifecycle events of grants. An event's id comes from its cause, so that a repetition has the same."""

from datetime import datetime
from typing import Final

from shared.messages import EventType, LifecycleEvent
from shared.model import Grant, GrantState
from shared.ports import Failure

TROUBLED: Final = (GrantState.REFRESH_FAILING, GrantState.REAUTH_REQUIRED, GrantState.UNKNOWN)


def renewed(grant: Grant, generation: int, cause: str, at: datetime) -> list[LifecycleEvent]:
    """A token came; for a grant that was in trouble, also that it is over."""
    events = [_event(grant, EventType.REFRESHED, generation, cause, at)]
    if grant.state is not GrantState.ACTIVE:
        events.append(_event(grant, EventType.RECOVERED, generation, cause, at))
    return events


def failed(
    grant: Grant, failure: Failure, cause: str, at: datetime, connect_url: str = ""
) -> list[LifecycleEvent]:
    """The grant got into trouble, or deeper; nothing where it was there before."""
    if failure.state is grant.state:
        return []
    details = {"error": failure.error, "state": failure.state.value}
    if failure.state is not GrantState.REAUTH_REQUIRED:
        return [_event(grant, EventType.REFRESH_FAILED, grant.generation, cause, at, **details)]
    details |= {"connect_url": connect_url} if connect_url else {}
    return [_event(grant, EventType.REAUTH_REQUIRED, grant.generation, cause, at, **details)]


def ending(grant: Grant, ends_at: datetime, generation: int, cause: str, at: datetime) -> LifecycleEvent:
    """The owner will have to consent anew by then; until then all is well."""
    return _event(grant, EventType.EXPIRING_SOON, generation, cause, at, ends_at=ends_at.isoformat())


def connected(grant: Grant, before: Grant | None, cause: str, at: datetime) -> list[LifecycleEvent]:
    """An owner connected a service; where the grant was in trouble, it has recovered."""
    recovered = before is not None and before.state in TROUBLED
    kind = EventType.RECOVERED if recovered else EventType.CONNECTED
    return [_event(grant, kind, grant.generation, cause, at)]


def _event(
    grant: Grant, kind: EventType, generation: int, cause: str, at: datetime, **details: str
) -> LifecycleEvent:
    return LifecycleEvent(
        id=f"{cause}.{kind.value}",
        type=kind,
        at=at,
        service=grant.service,
        owner=grant.owner,
        generation=generation,
        details=details,
    )
