from datetime import datetime

from sqlalchemy import select

from shared.adapters.sql.columns import noun_of, values_of
from shared.adapters.sql.engine import Database
from shared.adapters.sql.tables import revocations
from shared.model import Revocation


class SqlRevocations:
    """The truth behind the epochs in the cache."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, revocation: Revocation) -> None:
        """The later of two for one subject stays."""
        put = self._database.insert(revocations).values(values_of(revocation))
        later = put.on_conflict_do_update(
            index_elements=["kind", "subject"],
            set_={"revoked_at": put.excluded.revoked_at},
            where=revocations.c.revoked_at < put.excluded.revoked_at,
        )
        async with self._database.writing() as connection:
            await connection.execute(later)

    async def since(self, moment: datetime) -> list[Revocation]:
        """Those at the moment or later, oldest first."""
        query = select(revocations).where(revocations.c.revoked_at >= moment)
        ordered = query.order_by(revocations.c.revoked_at, revocations.c.kind, revocations.c.subject)
        async with self._database.reading() as connection:
            return [noun_of(Revocation, row) for row in (await connection.execute(ordered)).mappings()]
