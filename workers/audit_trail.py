from datetime import datetime

import structlog

from shared.cache_keys import epoch_version
from shared.errors import VaultError
from shared.model import AuditRecord, Owner, ServiceName
from shared.ports import AuditStore, Clock

log = structlog.get_logger()


class AuditTrail:
    """A worker's decisions, into the audit's index: they are made with SQL at hand, so need no journal."""

    def __init__(self, audit: AuditStore, clock: Clock, writer: str) -> None:
        self._audit = audit
        self._clock = clock
        self._writer = writer
        self._last_sequence = 0

    async def record(
        self,
        action: str,
        outcome: str,
        *,
        service: ServiceName | str = "",
        owner: Owner | str = "",
        generation: int | None = None,
        scopes: tuple[str, ...] = (),
        reason: str = "",
    ) -> bool:
        """Write one record. What it tells of has happened, so a database that is down does not stop it.

        False: it is not written.
        """
        now = self._clock()
        record = AuditRecord(
            writer=self._writer,
            sequence=self._next_sequence(now),
            at=now,
            action=action,
            outcome=outcome,
            service=service,
            owner=owner,
            generation=generation,
            scopes=scopes,
            reason=reason,
            door=self._writer,
        )
        try:
            await self._audit.append([record])
        except VaultError as error:
            log.warning("An audit record is not written", action=action, outcome=outcome, code=error.code)
            return False
        return True

    def _next_sequence(self, now: datetime) -> int:
        # By the clock, so that it goes on where the process before this one ended.
        self._last_sequence = max(self._last_sequence + 1, epoch_version(now))
        return self._last_sequence
