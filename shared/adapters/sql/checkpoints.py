from datetime import datetime

from sqlalchemy import delete, select

from shared.adapters.sql.engine import Database
from shared.adapters.sql.tables import audit_checkpoints

#: Less than any database takes parameters.
MOST_AT_ONCE = 1000


class SqlCheckpoints:
    """Signed checkpoints of the audit's tree, by its size."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, size: int, note: str, now: datetime) -> None:
        """Keep one. That of a size there is already stays as it is."""
        put = self._database.insert(audit_checkpoints).values(size=size, note=note, written_at=now)
        async with self._database.writing() as connection:
            await connection.execute(put.on_conflict_do_nothing())

    async def thin(self, before: datetime) -> int:
        """Of those written before a moment, keep the last of each day."""
        written_at, size = audit_checkpoints.c.written_at, audit_checkpoints.c.size
        async with self._database.writing() as connection:
            old = await connection.execute(select(written_at, size).where(written_at < before).order_by(size))
            rows = old.all()
            last_of_day = {row.written_at.date(): row.size for row in rows}
            spare = [row.size for row in rows if row.size != last_of_day[row.written_at.date()]]
            for at in range(0, len(spare), MOST_AT_ONCE):
                await connection.execute(
                    delete(audit_checkpoints).where(size.in_(spare[at : at + MOST_AT_ONCE]))
                )
        return len(spare)

    async def newest(self) -> str | None:
        """That of the largest tree."""
        query = select(audit_checkpoints.c.note).order_by(audit_checkpoints.c.size.desc()).limit(1)
        async with self._database.reading() as connection:
            return (await connection.execute(query)).scalar_one_or_none()

    async def after(self, size: int, limit: int) -> list[tuple[int, str]]:
        """Those of larger trees with their sizes, smallest first."""
        found = select(audit_checkpoints.c.size, audit_checkpoints.c.note)
        query = found.where(audit_checkpoints.c.size > size)
        ordered = query.order_by(audit_checkpoints.c.size).limit(limit)
        async with self._database.reading() as connection:
            return [(size, note) for size, note in (await connection.execute(ordered)).all()]
