from datetime import datetime

from sqlalchemy import delete, insert

from shared.adapters.sql.columns import noun_of, values_of
from shared.adapters.sql.engine import Database
from shared.adapters.sql.tables import consents
from shared.ports import Consent


class SqlConsents:
    """Consents under way at gateways."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, consent: Consent) -> None:
        """Keep it until its callback, whichever gateway gets that."""
        async with self._database.writing() as connection:
            await connection.execute(insert(consents).values(values_of(consent)))

    async def take(self, state_hash: bytes, now: datetime) -> Consent | None:
        """Remove and return it: a `state` works once, even for two callbacks at once."""
        removed = delete(consents).where(consents.c.state_hash == state_hash).returning(consents)
        async with self._database.writing() as connection:
            row = (await connection.execute(removed)).mappings().one_or_none()
        return None if row is None or row["expires_at"] <= now else noun_of(Consent, row)
