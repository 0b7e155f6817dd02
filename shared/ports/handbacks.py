from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from shared.model import Handback, HandbackId


class HandbackStore(Protocol):
    """Credentials of revoked grants that their providers have not been told of yet."""

    async def take(
        self, handback_id: HandbackId, *, holder: str, now: datetime, until: datetime
    ) -> Handback | None:
        """The handback, leased to one refresher. None: ended, or another's."""

    async def pending(self, now: datetime, limit: int) -> Sequence[HandbackId]:
        """Those that nobody holds, oldest first."""

    async def end(self, handback_id: HandbackId) -> None:
        """Forget it, and the credential in it."""
