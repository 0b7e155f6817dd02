"""How long a client wants to wait (RFC 7240 §4.3)."""

import re
from collections.abc import Iterable
from typing import Final

from dispenser.protocol import DEFAULT_DEADLINE_SECONDS

MAX_WAIT_SECONDS: Final = 30.0
_WAIT = re.compile(r'(?:^|[,;])\s*wait\s*=\s*"?(\d{1,9})"?\s*(?=$|[,;])', re.IGNORECASE)


def wait_seconds(prefer: Iterable[str], *, default: float = DEFAULT_DEADLINE_SECONDS) -> float:
    """Seconds from `Prefer: wait=N`, at most 30. What is not understood is passed over (RFC 7240 §2)."""
    found = _WAIT.search(",".join(prefer))
    return min(float(found[1]), MAX_WAIT_SECONDS) if found else default
