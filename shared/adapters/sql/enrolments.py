from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, and_, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.sql.columns import noun_of, values_of
from shared.adapters.sql.engine import Database
from shared.adapters.sql.outbox import put_events
from shared.adapters.sql.tables import enrolments, grants
from shared.messages import LifecycleEvent
from shared.model import Enrolment, EnrolmentId, EnrolmentState, Grant

#: What of a grant's row is the store's own, and starts anew with a new grant.
FRESH: Final = {"lease_holder": None, "lease_until": None, "announced_until": None}


class SqlEnrolments:
    """Credentials on their way in."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, enrolment: Enrolment) -> None:
        """Keep what an owner presented until a refresher takes it."""
        async with self._database.writing() as connection:
            await connection.execute(insert(enrolments).values(values_of(enrolment)))

    async def get(self, enrolment_id: EnrolmentId) -> Enrolment | None:
        """The enrolment, ended or not, until it is purged."""
        query = select(enrolments).where(enrolments.c.id == enrolment_id)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else noun_of(Enrolment, row)

    async def take(
        self,
        enrolment_id: EnrolmentId,
        *,
        holder: str,
        now: datetime,
        until: datetime,
        over: datetime | None = None,
    ) -> Enrolment | None:
        """The enrolment, leased. None while any lease runs: a code is redeemed once (RFC 6749 §4.1.2)."""
        left = or_(
            enrolments.c.lease_until.is_(None),
            enrolments.c.lease_holder == holder,
            enrolments.c.lease_until == over,
        )
        lease = (
            update(enrolments)
            .where(enrolments.c.id == enrolment_id, _free(now), left)
            .values(lease_holder=holder, lease_until=until)
            .returning(enrolments)
        )
        async with self._database.writing() as connection:
            row = (await connection.execute(lease)).mappings().one_or_none()
        return None if row is None else noun_of(Enrolment, row)

    async def pending(self, now: datetime, limit: int) -> list[EnrolmentId]:
        """Those without a lease, or whose lease has run out, oldest first."""
        query = select(enrolments.c.id).where(_free(now))
        ordered = query.order_by(enrolments.c.created_at, enrolments.c.id).limit(limit)
        async with self._database.reading() as connection:
            return list((await connection.execute(ordered)).scalars())

    async def lapsed(self, now: datetime) -> Mapping[EnrolmentId, datetime]:
        """Those whose lease has run out, and until when it ran."""
        query = select(enrolments.c.id, enrolments.c.lease_until).where(
            _free(now), enrolments.c.lease_until.is_not(None)
        )
        async with self._database.reading() as connection:
            return {row.id: row.lease_until for row in await connection.execute(query)}

    async def succeed(
        self, enrolment_id: EnrolmentId, grant: Grant, now: datetime, events: Sequence[LifecycleEvent]
    ) -> bool:
        """Insert or replace the grant row whole, wipe what was presented, state `done`.

        It does not ask whether the enrolment is still pending: what a provider has issued is kept.
        """
        async with self._database.writing() as connection:
            if not await self._put_grant(connection, grant):
                return False
            await _end(connection, enrolment_id, EnrolmentState.DONE, None, now)
            await put_events(self._database, connection, events, now)
        return True

    async def fail(self, enrolment_id: EnrolmentId, error: str, now: datetime) -> None:
        """Wipe what was presented, state `failed`; one that has succeeded stays so."""
        async with self._database.writing() as connection:
            await _end(connection, enrolment_id, EnrolmentState.FAILED, error, now)

    async def _put_grant(self, connection: AsyncConnection, grant: Grant) -> bool:
        row = values_of(grant) | FRESH
        put = self._database.insert(grants).values(row)
        replaced = put.on_conflict_do_update(
            index_elements=["service", "owner"],
            set_={column: put.excluded[column] for column in row if column != "id"},
            # What is sealed is bound to its id: under another it would not open.
            where=and_(grants.c.id == put.excluded.id, grants.c.generation < put.excluded.generation),
        )
        return (await connection.execute(replaced.returning(grants.c.id))).first() is not None


def _free(now: datetime) -> ColumnElement[bool]:
    unleased = or_(enrolments.c.lease_until.is_(None), enrolments.c.lease_until <= now)
    return and_(enrolments.c.state == EnrolmentState.PENDING, enrolments.c.expires_at > now, unleased)


async def _end(
    connection: AsyncConnection,
    enrolment_id: EnrolmentId,
    state: EnrolmentState,
    error: str | None,
    now: datetime,
) -> None:
    wiped = {"sealed": None, "lease_holder": None, "lease_until": None}
    still = and_(enrolments.c.id == enrolment_id, enrolments.c.state != EnrolmentState.DONE)
    ended = update(enrolments).where(still).values(state=state, error=error, ended_at=now)
    await connection.execute(ended.values(wiped))
