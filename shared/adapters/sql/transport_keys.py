from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import select

from shared.adapters.sql.engine import Database
from shared.adapters.sql.tables import transport_keys


class SqlTransportKeys:
    """The dispensers' transport keys, sealed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> Mapping[int, bytes]:
        """All that have not been purged, by day."""
        query = select(transport_keys.c.day, transport_keys.c.sealed)
        async with self._database.reading() as connection:
            return {row.day: row.sealed for row in await connection.execute(query)}

    async def add(self, day: int, sealed: bytes, expires_at: datetime) -> None:
        """Keep it, unless another dispenser was faster."""
        put = self._database.insert(transport_keys).values(day=day, sealed=sealed, expires_at=expires_at)
        async with self._database.writing() as connection:
            await connection.execute(put.on_conflict_do_nothing())
