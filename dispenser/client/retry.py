"""Whether a call that failed is made again, and when."""

from typing import Final

from dispenser.client.errors import (
    DeadlineExceeded,
    Overloaded,
    RateLimited,
    VaultError,
    VaultUnreachable,
)

FIRST_SECONDS: Final = 0.1
CALL_CAP_SECONDS: Final = 2.0
CONNECTION_CAP_SECONDS: Final = 5.0
#: A provider's trouble is left to the caller; a vault that gave up before our deadline is asked once more.
_REPEATED: Final = (DeadlineExceeded, Overloaded, RateLimited, VaultUnreachable)


def backoff_seconds(attempt: int, *, cap_seconds: float, entropy: float) -> float:
    """Doubles with every attempt from 0, up to the cap. Entropy in [0, 1) spreads it over its upper half."""
    whole = min(cap_seconds, FIRST_SECONDS * 2.0 ** min(attempt, 16))
    return whole * (0.5 + entropy / 2)


def wait_seconds(error: VaultError, attempt: int, *, left_seconds: float, entropy: float) -> float | None:
    """Seconds until the call is worth making again; None: it is not, or no time is left for it."""
    if not (error.retryable and isinstance(error, _REPEATED)):
        return None
    wait = backoff_seconds(attempt, cap_seconds=CALL_CAP_SECONDS, entropy=entropy)
    if isinstance(error, Overloaded | RateLimited) and error.retry_after is not None:
        wait += error.retry_after
    return wait if wait < left_seconds else None
