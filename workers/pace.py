from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

#: Seconds to leave a provider alone that has too much to do and does not say for how long.
PAUSE_SECONDS: Final = 5.0
#: Seconds that one account's limit keeps all others off, at most: then one is tried.
LONGEST_PAUSE_SECONDS: Final = 300.0


@dataclass(slots=True)
class Pace:
    """When the next request to a provider may begin, by what it wishes and by what is declared for it."""

    #: The provider wants to be left alone until then.
    paused_until: datetime | None = None
    #: The next free place in the line.
    next_at: datetime | None = None

    def pause(self, wished_seconds: float | None, now: datetime) -> None:
        """Leave the provider alone for as long as it wishes. A shorter wish ends no longer pause."""
        seconds = PAUSE_SECONDS if wished_seconds is None else min(wished_seconds, LONGEST_PAUSE_SECONDS)
        until = now + timedelta(seconds=seconds)
        self.paused_until = max(until, self.paused_until or until)

    def pause_seconds(self, now: datetime) -> float:
        """How long the provider is still to be left alone."""
        return 0.0 if self.paused_until is None else max(0.0, (self.paused_until - now).total_seconds())

    def take_place(self, per_second: int | None, now: datetime) -> float:
        """Take the next place in the line, and return the seconds until then."""
        if per_second is None:
            return 0.0
        begins = max(now, self.next_at or now)
        self.next_at = begins + timedelta(seconds=1 / per_second)
        return (begins - now).total_seconds()
