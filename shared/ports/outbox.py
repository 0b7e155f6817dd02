from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from shared.messages import LifecycleEvent


class OutboxStore(Protocol):
    """Lifecycle events that were committed with their cause and wait for the bus."""

    async def put(self, events: Sequence[LifecycleEvent], now: datetime) -> None:
        """Those without a cause in SQL, such as a provider's incident."""

    async def pending(self, limit: int, *, written_before: datetime) -> list[LifecycleEvent]: ...
    async def sent(self, event_ids: Sequence[str]) -> None: ...
