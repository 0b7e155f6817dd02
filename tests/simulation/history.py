"""What happened in a run, in the order in which it happened: all that the checker sees."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from shared.messages import EventType
from shared.model import GrantId, GrantState, Owner, ServiceName

E = TypeVar("E", bound="Event")
Place = tuple[ServiceName, Owner]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """At a moment of true time, in seconds since the run began."""

    at: float


# ---------------------------------------------------------------------------------------------- the world


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault(Event):
    """The world did not do as asked."""

    port: str
    process: str
    what: str
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened(Event):
    """Something became of a process or of the whole: `killed`, `started`, `paused`, `healing`, …"""

    what: str
    process: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said(Event):
    """A process logged something."""

    process: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unhandled(Event):
    """An exception that nobody caught."""

    process: str
    error: str


# ------------------------------------------------------------------------------------------- the provider


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent(Event):
    """A request to a provider left a process."""

    call: int
    process: str
    provider: str
    #: The refresh token that is redeemed; empty for the client's own credentials.
    token: str
    #: The spool entry that its answer is for.
    entry: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Processed(Event):
    """The provider carried a request out, or refused it."""

    call: int
    #: `issued`, or the error's code.
    result: str
    #: The new refresh token; empty where the answer names none.
    child: str = ""
    access_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Event):
    """The request is over for its process: `answered`, `unusable`, `not sent`, or `lost`."""

    call: int
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spooled(Event):
    """The answer to a request was written to disk: durable, or the disk failed."""

    call: int
    durable: bool


# ---------------------------------------------------------------------------------------------- the store


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What matters of a grant's row."""

    generation: int
    state: GrantState
    fingerprint: bytes
    failures: int
    last_error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Written(Event):
    """A transaction on a grant: `claim`, `commit`, `fail`, `release`, `park`, `hand back`, `connect`."""

    what: str
    process: str
    grant: GrantId
    #: The intent or enrolment that it ended or began.
    cause: str
    before: Row | None
    after: Row | None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced(Event):
    """A lifecycle event was on the bus."""

    type: EventType
    place: Place
    generation: int | None


# --------------------------------------------------------------------------------------------- the agents


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Event):
    """An agent got its reply."""

    asked_at: float
    process: str
    place: Place
    code: str
    #: The access token that was handed out.
    token: str
    generation: int | None
    #: Seconds that the token has by the dispenser's own clock; None: no token was handed out.
    remaining: float | None
    #: Seconds of life the agent wanted; None: it did not say.
    min_ttl: float | None
    #: Seconds of usable life of the token that the cache answered with; None: it answered with none.
    cached_life: float | None
    #: The journal has a record of it.
    audited: bool
    #: The journal failed meanwhile.
    journal_failed: bool


# ------------------------------------------------------------------------------------------------ the end


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalGrant:
    """A grant when all has settled, and what its provider thinks of it."""

    id: GrantId
    place: Place
    provider: str
    row: Row
    #: The refresh token it keeps; empty where it keeps none.
    token: str
    redeemable: bool
    audit: tuple[tuple[str, str, str], ...]  # (action, outcome, reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending(Event):
    """How a run ended."""

    settled: bool
    #: What it still waits for; empty once it has settled.
    unsettled: tuple[str, ...]
    grants: tuple[FinalGrant, ...]


@dataclass(slots=True)
class History:
    """The record of one run."""

    now: Callable[[], float]
    events: list[Event] = field(default_factory=list)

    def add(self, kind: type[E], **what: Any) -> E:
        """Write down that it happens now."""
        event = kind(at=self.now(), **what)
        self.events.append(event)
        return event

    def of(self, kind: type[E]) -> Iterator[E]:
        """All of one kind, in their order."""
        return (event for event in self.events if isinstance(event, kind))


def line(event: Event) -> str:
    """An event for people: one line."""
    values = [(f.name, getattr(event, f.name)) for f in fields(event) if f.name != "at"]
    shown = " ".join(f"{name}={_shown(value)}" for name, value in values if value not in ("", None))
    return f"{event.at:10.3f}  {type(event).__name__:<10} {shown}"


def _shown(value: object) -> str:
    if isinstance(value, Row):
        error = f" {value.last_error}" if value.last_error else ""
        return f"({value.generation} {value.state} {value.fingerprint.hex()[:6]}{error})"
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value!s}"
