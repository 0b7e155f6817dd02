from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import RowMapping, Update, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.sql.columns import noun_of, values_of
from shared.adapters.sql.engine import Database
from shared.adapters.sql.outbox import put_events
from shared.adapters.sql.tables import grants, handbacks, intents, is_open
from shared.messages import LifecycleEvent
from shared.model import REFRESHABLE, Grant, GrantId, GrantState, Handback, Intent, IntentId
from shared.ports import Claim, Failure, Renewal, Unclaimed

DONE: Final = "done"
PARKED: Final = "parked"
HANDED_BACK: Final = "handed_back"
#: Where another refresher has claimed since, its open intent goes on keeping everybody off.
LEASE_ENDED: Final = {"lease_holder": None, "lease_until": None}


class SqlRotations:
    """The journal of rotations: lease and intent before a provider is asked, compare-and-swap after.

    No transaction is held while a provider answers: the open intent keeps others off (see `claim`), and
    generation and fingerprint tell whether an answer still fits (see `commit`).
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(
        self, grant_id: GrantId, generation: int, *, holder: str, now: datetime, lease_until: datetime
    ) -> Claim | Unclaimed:
        """Take the lease and write the intent, or say why not."""
        async with self._database.writing() as connection:
            row = await _locked(connection, grant_id)
            if row is None:
                return Unclaimed(why="missing", grant=None)
            grant = noun_of(Grant, row)
            why = _refusal(row, generation, holder, now) or await _hindrance(connection, grant_id)
            if why is not None:
                return Unclaimed(why=why, grant=grant)
            intent = _intent(grant, holder, now)
            await connection.execute(insert(intents).values(values_of(intent)))
            lease = {"lease_holder": holder, "lease_until": lease_until}
            await connection.execute(update(grants).where(grants.c.id == grant_id).values(lease))
        return Claim(grant=grant, intent=intent)

    async def commit(
        self,
        intent: Intent,
        *,
        expected_generation: int,
        expected_fingerprint: bytes,
        renewal: Renewal,
        now: datetime,
        events: Sequence[LifecycleEvent],
    ) -> Grant | None:
        """Write the new credential where the grant still has the one that was redeemed.

        Somebody may have given the intent up and closed it meanwhile: the lineage decides, not the clock.
        """
        swap = (
            update(grants)
            .where(grants.c.id == intent.grant_id)
            .where(grants.c.generation == expected_generation)
            .where(grants.c.credential_fingerprint == expected_fingerprint)
            .values(_renewed(renewal, expected_generation + 1, now))
            .values(LEASE_ENDED)
            .returning(grants)
        )
        async with self._database.writing() as connection:
            row = (await connection.execute(swap)).mappings().one_or_none()
            if row is None:
                return None
            await connection.execute(_outcome(intent, DONE, now))
            await put_events(self._database, connection, events, now)
        return noun_of(Grant, row)

    async def fail(
        self, intent: Intent, failure: Failure, *, now: datetime, events: Sequence[LifecycleEvent]
    ) -> Grant | None:
        """Close the intent with the error, which counts only at the intent's generation.

        An intent that is closed already was taken over: others may have succeeded with the credential since.
        """
        async with self._database.writing() as connection:
            closed = await connection.execute(_outcome(intent, failure.error, now).where(is_open))
            if not closed.rowcount:
                return None
            failed = (await connection.execute(_failed(intent, failure, now))).mappings().one_or_none()
            if failed is not None:
                await put_events(self._database, connection, events, now)
                return noun_of(Grant, failed)
            await _end_lease(connection, intent)
            row = await _locked(connection, intent.grant_id)
        return None if row is None else noun_of(Grant, row)

    async def release(self, intent: Intent, why: str, now: datetime) -> None:
        """Close the intent and end the lease: nothing was sent."""
        async with self._database.writing() as connection:
            await connection.execute(_outcome(intent, why, now).where(is_open))
            await _end_lease(connection, intent)

    async def park(self, intent: Intent, sealed: bytes, now: datetime) -> bool:
        """Keep a sealed answer of another lineage for people to look at, unless it was committed before."""
        uncommitted = intents.c.outcome.is_distinct_from(DONE)
        parking = _outcome(intent, PARKED, now).where(uncommitted).values(parked=sealed)
        async with self._database.writing() as connection:
            parked = await connection.execute(parking)
            if parked.rowcount:
                await _end_lease(connection, intent)
        return bool(parked.rowcount)

    async def hand_back(self, intent: Intent, handback: Handback, now: datetime) -> None:
        """Keep a credential that came for a revoked grant for its provider, and close the intent."""
        put = self._database.insert(handbacks).values(values_of(handback)).on_conflict_do_nothing()
        async with self._database.writing() as connection:
            await connection.execute(put)
            await connection.execute(_outcome(intent, HANDED_BACK, now))
            await _end_lease(connection, intent)

    async def open_intents(self, *, holder: str | None = None) -> list[Intent]:
        """Intents without an outcome, oldest first."""
        query = select(intents).where(is_open).order_by(intents.c.opened_at, intents.c.id)
        if holder is not None:
            query = query.where(intents.c.holder == holder)
        async with self._database.reading() as connection:
            return [noun_of(Intent, row) for row in (await connection.execute(query)).mappings()]

    async def intent(self, intent_id: IntentId) -> tuple[Intent, str | None] | None:
        """An intent and its outcome. None for that: it is still open."""
        query = select(intents).where(intents.c.id == intent_id)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else (noun_of(Intent, row), row["outcome"])


async def _locked(connection: AsyncConnection, grant_id: GrantId) -> RowMapping | None:
    query = select(grants).where(grants.c.id == grant_id).with_for_update()
    return (await connection.execute(query)).mappings().one_or_none()


def _refusal(row: RowMapping, generation: int, holder: str, now: datetime) -> str | None:
    if row["generation"] != generation:
        return "stale"
    if row["state"] not in REFRESHABLE:
        return "state"
    leased = row["lease_until"] is not None and row["lease_until"] > now
    return "busy" if leased and row["lease_holder"] != holder else None


async def _hindrance(connection: AsyncConnection, grant_id: GrantId) -> str | None:
    query = select(intents.c.id).where(intents.c.grant_id == grant_id, is_open)
    return "busy" if (await connection.execute(query)).first() is not None else None


def _intent(grant: Grant, holder: str, now: datetime) -> Intent:
    return Intent(
        id=IntentId(uuid4().hex),
        grant_id=grant.id,
        generation=grant.generation,
        fingerprint=grant.credential_fingerprint,
        holder=holder,
        opened_at=now,
    )


def _renewed(renewal: Renewal, generation: int, now: datetime) -> dict[str, Any]:
    return values_of(renewal) | {
        "generation": generation,
        "state": GrantState.ACTIVE,
        "failures": 0,
        "last_error": None,
        "unsure_since": None,
        "announced_until": None,
        "updated_at": now,
    }


def _failed(intent: Intent, failure: Failure, now: datetime) -> Update:
    return (
        update(grants)
        .where(grants.c.id == intent.grant_id, grants.c.generation == intent.generation)
        .values(state=failure.state, last_error=failure.error, refresh_at=failure.refresh_at, updated_at=now)
        .values(unsure_since=failure.unsure_since, failures=grants.c.failures + 1, announced_until=None)
        .values(LEASE_ENDED)
        .returning(grants)
    )


def _outcome(intent: Intent, outcome: str, now: datetime) -> Update:
    return update(intents).where(intents.c.id == intent.id).values(outcome=outcome, closed_at=now)


async def _end_lease(connection: AsyncConnection, intent: Intent) -> None:
    held = update(grants).where(grants.c.id == intent.grant_id, grants.c.lease_holder == intent.holder)
    await connection.execute(held.values(LEASE_ENDED))
