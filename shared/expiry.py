"""When a token is still good, and when to refresh it. Pure arithmetic: time and entropy come in."""

from datetime import datetime, timedelta

#: Refresh at this fraction of a token's life: early enough that an outage is not felt.
REFRESH_FRACTION = 0.7
#: Spread of the refresh around that fraction, so that tokens issued together do not return together.
JITTER_FRACTION = 0.05
#: Use a refresh token at this fraction of the time that it may lie unused.
KEEP_ALIVE_FRACTION = 0.6
#: Tell an owner that a credential ends so many seconds ahead, or at this last fraction of a short life.
WARNING_SECONDS = 7 * 86_400.0
WARNING_FRACTION = 0.2
#: A token is taken to end this many seconds early: clocks differ.
SKEW_SECONDS = 1.0


def expires_at(sent_at: datetime, expires_in_seconds: float) -> datetime:
    """When a token ends, counted from the moment its request was sent, never from the answer's arrival."""
    return sent_at + timedelta(seconds=max(0.0, expires_in_seconds))


def remaining_seconds(expires: datetime | None, now: datetime) -> float:
    """Seconds a token may still be used; infinite for one that does not expire."""
    if expires is None:
        return float("inf")
    return (expires - now).total_seconds() - SKEW_SECONDS


def refresh_at(issued: datetime, expires: datetime | None, entropy: float) -> datetime | None:
    """When to refresh. `entropy` is uniform in [0, 1). None: never."""
    if expires is None:
        return None
    life = (expires - issued).total_seconds()
    fraction = REFRESH_FRACTION + JITTER_FRACTION * (2.0 * entropy - 1.0)
    return issued + timedelta(seconds=life * fraction)


def keep_alive_at(used: datetime, idle_seconds: float, entropy: float) -> datetime:
    """When to use a refresh token again, so that it does not end of lying idle."""
    fraction = KEEP_ALIVE_FRACTION + JITTER_FRACTION * (2.0 * entropy - 1.0)
    return used + timedelta(seconds=idle_seconds * fraction)


def warning_at(given: datetime, ends: datetime) -> datetime:
    """When to tell an owner that a credential ends."""
    life = (ends - given).total_seconds()
    return ends - timedelta(seconds=min(WARNING_SECONDS, WARNING_FRACTION * life))


def backoff_seconds(failures: int, entropy: float, *, first: float = 1.0, cap: float = 300.0) -> float:
    """Seconds to wait after the n-th failure in a row: exponential with full jitter above a half."""
    ceiling = min(cap, first * 2.0 ** min(max(failures - 1, 0), 16))
    return ceiling * (0.5 + 0.5 * entropy)
