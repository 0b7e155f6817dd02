from typing import Final

_FIRST_SECONDS: Final = 0.1
_LONGEST_SECONDS: Final = 5.0


def backoff_seconds(failures: int, entropy: float) -> float:
    """Seconds to wait after so many failures in a row: doubling to 5 s, each taken at half to full length, so
    that a fleet does not come back in one instant. `entropy` in [0, 1)."""
    longest = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2.0 ** min(failures, 10))
    return longest * (0.5 + entropy / 2)
