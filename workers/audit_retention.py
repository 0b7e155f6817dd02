import asyncio
from datetime import timedelta
from typing import Final

import structlog

from shared import audit_line
from shared.errors import VaultError
from shared.model import AuditRecord
from shared.ports import Clock, Store
from workers.outage import Outage

PAUSE_SECONDS: Final = 3600.0
#: After a failure.
SHORT_PAUSE_SECONDS: Final = 60.0
#: Records removed in one transaction.
BATCH: Final = 5000
#: For so long every checkpoint stays in the database; after that, the last of each day.
CHECKPOINTS_KEPT: Final = timedelta(days=7)
log = structlog.get_logger()


class AuditRetention:
    """Removes records that have been kept for long enough, once they are signed, and spare checkpoints."""

    def __init__(self, store: Store, clock: Clock, *, name: str, days: int) -> None:
        """`name`: of this process. `days`: how long records are kept; 0: for ever."""
        self._store = store
        self._clock = clock
        self._name = name
        self._days = days

    async def run(self) -> None:
        """Remove until cancelled."""
        outage = Outage("purging the audit")
        while True:
            try:
                await self.purge()
            except VaultError as error:
                outage.noticed(error)
                await asyncio.sleep(SHORT_PAUSE_SECONDS)
            else:
                outage.over()
                await asyncio.sleep(PAUSE_SECONDS)

    async def purge(self) -> int:
        """Returns how many records were removed. Raises: VaultError."""
        now, removed = self._clock(), 0
        await self._store.checkpoints.thin(now - CHECKPOINTS_KEPT)
        if not self._days:
            return 0
        before = now - timedelta(days=self._days)
        while purged := await self._store.audit.purge(before, BATCH, self._record):
            removed += purged
        if removed:
            log.info("Audit records are purged", count=removed)
        return removed

    def _record(self, upto: int) -> bytes:
        return audit_line.encode(
            AuditRecord(
                writer=f"{self._name}.retention",
                sequence=upto,
                at=self._clock(),
                action="audit.purged",
                outcome="ok",
                door=self._name,
                reason=f"Records before {upto} are {self._days} days old. Their hashes are kept.",
                count=upto,
            )
        )
