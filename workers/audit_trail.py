import structlog

from shared import audit_line
from shared.cache_keys import epoch_version
from shared.errors import AuditUnavailable, VaultError
from shared.model import AuditRecord, Owner, ServiceName
from shared.ports import AuditJournal, AuditStore, Clock

log = structlog.get_logger()


class AuditTrail:
    """A worker's decisions: into the journal of its process, and where that fails into the audit's index.

    What is told of was committed a moment ago, and the database may have failed since: the disk has not.
    """

    def __init__(
        self, audit: AuditStore, clock: Clock, writer: str, journal: AuditJournal | None = None
    ) -> None:
        """`journal`: None where the process has none, and the index gets every record."""
        self._audit = audit
        self._clock = clock
        self._writer = writer
        self._journal = journal
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
        fingerprint: str = "",
        reason: str = "",
    ) -> bool:
        """Write one record. What it tells of has happened, so nothing that fails here stops it.

        False: it is not written.
        """
        record = AuditRecord(
            writer=self._writer,
            sequence=self._next_sequence(),
            at=self._clock(),
            action=action,
            outcome=outcome,
            service=service,
            owner=owner,
            generation=generation,
            scopes=scopes,
            fingerprint=fingerprint,
            reason=reason,
            door=self._writer,
        )
        return await self._journalled(record) or await self._indexed(record)

    async def _journalled(self, record: AuditRecord) -> bool:
        if self._journal is None:
            return False
        try:
            await self._journal.append(record)
        except AuditUnavailable as error:
            log.warning("The audit journal fails; the index is asked", code=error.code, why=str(error))
            return False
        return True

    async def _indexed(self, record: AuditRecord) -> bool:
        try:
            await self._audit.append([audit_line.encode(record)])
        except VaultError as error:
            log.critical(
                "An audit record is not written",
                action=record.action,
                outcome=record.outcome,
                code=error.code,
            )
            return False
        return True

    def _next_sequence(self) -> int:
        # By the clock, so that it goes on where the process before this one ended.
        self._last_sequence = max(self._last_sequence + 1, epoch_version(self._clock()))
        return self._last_sequence
