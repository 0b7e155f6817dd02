from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select

from shared.adapters.sql.columns import noun_of, values_of
from shared.adapters.sql.engine import Database
from shared.adapters.sql.tables import audit
from shared.model import AuditRecord


class SqlAudit:
    """The audit's index: for asking. The journals are what is proved."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, records: Sequence[AuditRecord]) -> None:
        """Idempotent by writer and sequence: a journal may be shipped again from any place."""
        if not records:
            return
        put = self._database.insert(audit).on_conflict_do_nothing()
        async with self._database.writing() as connection:
            await connection.execute(put, [values_of(record) for record in records])

    async def query(
        self,
        *,
        agent: str | None = None,
        service: str | None = None,
        owner: str | None = None,
        since: datetime | None = None,
        limit: int = 1000,
    ) -> list[AuditRecord]:
        """Newest first."""
        wanted = {audit.c.agent: agent, audit.c.service: service, audit.c.owner: owner}
        conditions = [column == value for column, value in wanted.items() if value is not None]
        if since is not None:
            conditions.append(audit.c.at >= since)
        newest = (audit.c.at.desc(), audit.c.writer, audit.c.sequence.desc())
        query = select(audit).where(*conditions).order_by(*newest).limit(limit)
        async with self._database.reading() as connection:
            return [noun_of(AuditRecord, row) for row in (await connection.execute(query)).mappings()]
