from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, delete, or_, select, update

from shared.adapters.sql.columns import noun_of
from shared.adapters.sql.engine import Database
from shared.adapters.sql.tables import handbacks
from shared.model import Handback, HandbackId


class SqlHandbacks:
    """Credentials of revoked grants that their providers have not been told of yet."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(
        self, handback_id: HandbackId, *, holder: str, now: datetime, until: datetime
    ) -> Handback | None:
        """The handback, leased. None: ended, or another's."""
        lease = (
            update(handbacks)
            .where(handbacks.c.id == handback_id, _free(now))
            .values(lease_holder=holder, lease_until=until)
            .returning(handbacks)
        )
        async with self._database.writing() as connection:
            row = (await connection.execute(lease)).mappings().one_or_none()
        return None if row is None else noun_of(Handback, row)

    async def pending(self, now: datetime, limit: int) -> Sequence[HandbackId]:
        """Those that nobody holds, oldest first."""
        query = select(handbacks.c.id).where(_free(now))
        ordered = query.order_by(handbacks.c.created_at, handbacks.c.id).limit(limit)
        async with self._database.reading() as connection:
            return list((await connection.execute(ordered)).scalars())

    async def end(self, handback_id: HandbackId) -> None:
        """Forget it, and the credential in it."""
        async with self._database.writing() as connection:
            await connection.execute(delete(handbacks).where(handbacks.c.id == handback_id))


def _free(now: datetime) -> ColumnElement[bool]:
    return or_(handbacks.c.lease_until.is_(None), handbacks.c.lease_until <= now)
