import asyncio
import contextvars
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Final

#: Which simulated process a callback belongs to. Tasks and timers inherit it from whoever made them.
CURRENT: Final[contextvars.ContextVar["Process"]] = contextvars.ContextVar("process")
#: Far from every real date, so that a clock that is read by mistake is seen.
BEGINNING: Final = datetime(2031, 5, 1, 12, tzinfo=UTC)


class Killed(BaseException):
    """Ends a blocking call whose process has just been killed inside it."""


class Process:
    """A process of the vault, with an event loop of its own as far as it can tell.

    Killed, none of its callbacks ever runs again: no `finally`, no answer to anybody. Paused, they wait.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: deque[asyncio.Handle] = deque()
        self.alive = True
        self.paused = False
        #: Seconds that its wall clock is off.
        self.clock_off = 0.0
        self.context = contextvars.copy_context()
        self.context.run(CURRENT.set, self)

    def __repr__(self) -> str:
        return self.name

    @property
    def running(self) -> bool:
        """It takes its turns."""
        return self.alive and not self.paused

    def clock(self) -> datetime:
        """What this process takes for the time."""
        return self.time_at(asyncio.get_running_loop().time())

    def time_at(self, seconds: float) -> datetime:
        """What it takes for the time, so many seconds into the run."""
        return BEGINNING + timedelta(seconds=seconds + self.clock_off)
