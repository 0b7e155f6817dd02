"""What became of a message's work, and what that means for the message."""

from dataclasses import dataclass
from typing import Final

from shared.ports import Ack, DeadLetter, RetryLater, Settlement
from shared.topology import DELIVERY_LIMIT

BUSY_SECONDS: Final = 10.0
CRASHED_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Done:
    """A token was issued and is stored."""

    generation: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """Nothing had to be done, as `why` says."""

    why: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A refusal is recorded with the grant or the enrolment; SQL knows whether and when to try again."""

    error: str


@dataclass(frozen=True, slots=True)
class Spooled:
    """The provider has answered and the database does not: the spool has it, replay will end it."""


@dataclass(frozen=True, slots=True)
class Busy:
    """Another refresher is at it, or an intent is open."""


@dataclass(frozen=True, slots=True)
class Postponed:
    """Nothing was sent, and nothing about the grant is to blame."""

    seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class Crashed:
    """An error that nobody expected."""


#: The provider refused a client secret, and there is another.
NEXT_SECRET: Final = Postponed(0.0, "next_secret")

Result = Done | Skipped | Failed | Spooled | Busy | Postponed | Crashed


def settle(result: Result, attempt: int) -> Settlement:
    """How a message is settled, after so many attempts before this one.

    What SQL or the spool knows is done with: the scheduler announces a grant again when its time has come,
    and a second copy from a retry queue would only ask twice. What they do not know is retried, and given up
    quietly after the last attempt, for the scheduler finds it all the same. The dead letters are for what no
    repetition mends and nobody else would hear of: messages that do not parse, work that crashes.
    """
    exhausted = attempt + 1 >= DELIVERY_LIMIT
    match result:
        case Done() | Skipped() | Failed() | Spooled():
            return Ack()
        case Crashed():
            return DeadLetter() if exhausted else RetryLater(CRASHED_SECONDS)
        case Busy():
            return Ack() if exhausted else RetryLater(BUSY_SECONDS)
        case Postponed(seconds=seconds):
            return Ack() if exhausted else RetryLater(seconds)
