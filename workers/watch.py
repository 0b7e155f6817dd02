from collections.abc import Callable, Collection
from typing import Final, Generic, TypeVar

#: Seconds that the time between two looks counts for at most: an outage of the database is not watching.
LONGEST_STEP_SECONDS: Final = 15.0
Watched = TypeVar("Watched")


class Watch(Generic[Watched]):
    """For how many seconds each of several things has been seen.

    Not from when it says that it began: of two machines one's clock may be wrong, and while the database does
    not answer whoever is waited for can do nothing.
    """

    def __init__(self, elapsed: Callable[[], float]) -> None:
        """`elapsed`: seconds that pass however the clock is set."""
        self._elapsed = elapsed
        self._looked_at = 0.0
        self._seconds: dict[Watched, float] = {}

    def look(self, there: Collection[Watched]) -> None:
        """These are there now. The first look at one counts for nothing."""
        before, self._looked_at = self._looked_at, self._elapsed()
        step = min(self._looked_at - before, LONGEST_STEP_SECONDS)
        self._seconds = {one: self._seconds[one] + step if one in self._seconds else 0.0 for one in there}

    def seconds(self, one: Watched) -> float:
        """For how long."""
        return self._seconds.get(one, 0.0)
