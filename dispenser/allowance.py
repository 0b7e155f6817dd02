"""Who may go on asking: a token bucket for each name. Times are seconds of any clock that goes forward."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

#: Names remembered at once. One that is forgotten begins with a full bucket.
REMEMBERED: Final = 10_000


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class Allowances:
    """So much a second for each name, and what was left unused for a while at once."""

    def __init__(self) -> None:
        #: The one that was asked for least lately first.
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def spend(self, name: str, amount: int, now: float, *, per_second: float, at_once: float) -> float:
        """Take an amount. Returns 0 where it was there, or else the seconds until it is, and takes nothing.

        More than a full bucket can ever hold is taken from a full one, and paid back before the next.
        """
        bucket = self._bucket(name, now, at_once)
        bucket.left = min(at_once, bucket.left + max(0.0, now - bucket.at) * per_second)
        bucket.at = now
        lacking = min(amount, at_once) - bucket.left
        if lacking > 0:
            return lacking / per_second
        bucket.left -= amount
        return 0.0

    def _bucket(self, name: str, now: float, at_once: float) -> _Bucket:
        bucket = self._buckets.setdefault(name, _Bucket(left=at_once, at=now))
        self._buckets.move_to_end(name)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        return bucket
