from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from shared.ports import Clock

#: Seconds that a look may take: its answer is off by half of them at most.
LONGEST_LOOK_SECONDS: Final = 1.0


class StoreClock:
    """The database's time, which is the same for all.

    Processes read in the database what others wrote: leases, grace windows, what is due, when a token ends.
    Of two machines one's clock may be an hour off, so their own clocks count for nothing once a look has
    succeeded: from one look to the next the seconds are counted that pass.
    """

    def __init__(
        self, read: Callable[[], Awaitable[datetime]], elapsed: Callable[[], float], own: Clock
    ) -> None:
        """`read`: the database's time. `elapsed`: seconds that pass however the clock is set. `own`: what
        counts until the first look."""
        self._read = read
        self._elapsed = elapsed
        self._own = own
        #: The database's time when `elapsed` was zero; None: nobody has looked yet.
        self._origin: datetime | None = None

    def __call__(self) -> datetime:
        """Now."""
        return self._own() if self._origin is None else self._origin + timedelta(seconds=self._elapsed())

    async def look(self) -> None:
        """Read the database's time; one that took long to come changes nothing. Raises: StoreUnavailable."""
        asked = self._elapsed()
        moment = await self._read()
        answered = self._elapsed()
        if self._origin is None or answered - asked <= LONGEST_LOOK_SECONDS:
            self._origin = moment - timedelta(seconds=(asked + answered) / 2)
