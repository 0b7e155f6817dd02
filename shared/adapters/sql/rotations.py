from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import RowMapping, Select, Update, bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.sql.columns import noun_of, values_of
from shared.adapters.sql.engine import Database
from shared.adapters.sql.outbox import put_events, put_rows, row_of
from shared.adapters.sql.tables import audit_log, grants, handbacks, intents, is_open
from shared.adapters.sql.together import Alone, Together
from shared.messages import LifecycleEvent
from shared.model import REFRESHABLE, Grant, GrantId, GrantState, Handback, Intent, IntentId
from shared.ports import Claim, Failure, Renewal, Unclaimed

DONE: Final = "done"
PARKED: Final = "parked"
HANDED_BACK: Final = "handed_back"
#: Where another refresher has claimed since, its open intent goes on keeping everybody off.
LEASE_ENDED: Final = {"lease_holder": None, "lease_until": None}

_AUDITED: Final = (
    select(func.max(audit_log.c.generation))
    .where(audit_log.c.service == grants.c.service, audit_log.c.owner == grants.c.owner)
    .correlate(grants)
    .scalar_subquery()
)
_WANTED: Final = grants.c.id.in_(bindparam("ids", expanding=True))
#: Ordered, so that two who want the same rows do not each hold what the other waits for.
_ROWS: Final = select(grants).where(_WANTED).order_by(grants.c.id)
_ROWS_TO_CLAIM: Final = select(grants, _AUDITED.label("audited")).where(_WANTED).order_by(grants.c.id)
_OPEN: Final = select(intents.c.grant_id).where(
    intents.c.grant_id.in_(bindparam("ids", expanding=True)), is_open
)
_OPENED: Final = insert(intents)
_WRITTEN: Final = update(grants).where(grants.c.id == bindparam("grant"))
_CLOSED: Final = update(intents).where(intents.c.id == bindparam("intent"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """A claim that is asked for."""

    grant_id: GrantId
    generation: int
    holder: str
    now: datetime
    lease_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Swap:
    """A commit that is asked for."""

    intent: Intent
    expected: tuple[int, bytes]
    expected_state: GrantState | None
    renewal: Renewal
    now: datetime
    events: Sequence[LifecycleEvent]

    def renewed(self, grant: Grant | None) -> Grant | None:
        """What becomes of the grant. None: it is not as expected."""
        if grant is None or (grant.generation, grant.credential_fingerprint) != self.expected:
            return None
        if self.expected_state not in (None, grant.state):
            return None
        return replace(grant, **_renewed(self.renewal, grant.generation + 1, self.now))


class SqlRotations:
    """The journal of rotations: lease and intent before a provider is asked, compare-and-swap after.

    No transaction is held while a provider answers: the open intent keeps others off (see `claim`), and
    generation and fingerprint tell whether an answer still fits (see `commit`). Whoever writes an intent
    holds its grant's row, so that nobody waits for two in another order.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._claims: Together[_Wish, Claim | Unclaimed] = Together(self._claim)
        self._commits: Together[_Swap, Grant | None] = Together(self._commit)

    async def claim(
        self, grant_id: GrantId, generation: int, *, holder: str, now: datetime, lease_until: datetime
    ) -> Claim | Unclaimed:
        """Take the lease and write the intent, or say why not."""
        wish = _Wish(
            grant_id=grant_id, generation=generation, holder=holder, now=now, lease_until=lease_until
        )
        return await self._claims.call(wish)

    async def commit(
        self,
        intent: Intent,
        *,
        expected_generation: int,
        expected_fingerprint: bytes,
        renewal: Renewal,
        now: datetime,
        events: Sequence[LifecycleEvent],
        expected_state: GrantState | None = None,
    ) -> Grant | None:
        """Write the new credential where the grant still has the one that was redeemed.

        Somebody may have given the intent up and closed it meanwhile: the lineage decides, not the clock.
        """
        swap = _Swap(
            intent=intent,
            expected=(expected_generation, expected_fingerprint),
            expected_state=expected_state,
            renewal=renewal,
            now=now,
            events=events,
        )
        return await self._commits.call(swap)

    async def fail(
        self, intent: Intent, failure: Failure, *, now: datetime, events: Sequence[LifecycleEvent]
    ) -> Grant | None:
        """Close the intent with the error, which counts only at the intent's generation.

        An intent that is closed already was taken over: others may have succeeded with the credential since.
        """
        async with self._database.writing() as connection:
            row = await _locked(connection, intent.grant_id)
            closed = await connection.execute(_outcome(intent, failure.error, now).where(is_open))
            if not closed.rowcount:
                return None
            failed = (await connection.execute(_failed(intent, failure, now))).mappings().one_or_none()
            if failed is not None:
                await put_events(self._database, connection, events, now)
                return noun_of(Grant, failed)
            await _end_lease(connection, intent)
        return None if row is None else noun_of(Grant, row)

    async def release(self, intent: Intent, why: str, now: datetime) -> None:
        """Close the intent and end the lease: nothing was sent."""
        async with self._database.writing() as connection:
            await _locked(connection, intent.grant_id)
            await connection.execute(_outcome(intent, why, now).where(is_open))
            await _end_lease(connection, intent)

    async def park(self, intent: Intent, sealed: bytes, now: datetime) -> bool:
        """Keep a sealed answer of another lineage for people to look at, unless it was committed before."""
        uncommitted = intents.c.outcome.is_distinct_from(DONE)
        parking = _outcome(intent, PARKED, now).where(uncommitted).values(parked=sealed)
        async with self._database.writing() as connection:
            await _locked(connection, intent.grant_id)
            parked = await connection.execute(parking)
            if parked.rowcount:
                await _end_lease(connection, intent)
        return bool(parked.rowcount)

    async def hand_back(self, intent: Intent, handback: Handback, now: datetime) -> None:
        """Keep a credential that came for a revoked grant for its provider, and close the intent."""
        put = self._database.insert(handbacks).values(values_of(handback)).on_conflict_do_nothing()
        async with self._database.writing() as connection:
            await _locked(connection, intent.grant_id)
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

    async def _claim(self, wishes: Sequence[_Wish], *, patient: bool) -> list[Claim | Unclaimed | Alone]:
        ids = {wish.grant_id for wish in wishes}
        async with self._database.writing() as connection:
            rows = await _rows(connection, _ROWS_TO_CLAIM, ids, patient=patient)
            taken = set((await connection.execute(_OPEN, {"ids": list(rows)})).scalars()) if rows else set()
            answers = [_answer(wish, rows.get(wish.grant_id), taken, patient=patient) for wish in wishes]
            won = [
                (wish, each) for wish, each in zip(wishes, answers, strict=True) if isinstance(each, Claim)
            ]
            if won:
                await connection.execute(_OPENED, [values_of(claim.intent) for _, claim in won])
                await connection.execute(_WRITTEN, [_lease(wish) for wish, _ in won])
        return answers

    async def _commit(self, swaps: Sequence[_Swap], *, patient: bool) -> list[Grant | Alone | None]:
        ids = {swap.intent.grant_id for swap in swaps}
        async with self._database.writing() as connection:
            rows = await _rows(connection, _ROWS, ids, patient=patient)
            stored = {grant_id: noun_of(Grant, row) for grant_id, row in rows.items()}
            answers = [_swapped(swap, stored, patient=patient) for swap in swaps]
            landed = [swap for swap, each in zip(swaps, answers, strict=True) if isinstance(each, Grant)]
            if landed:
                await self._land(connection, landed)
        return answers

    async def _land(self, connection: AsyncConnection, swaps: Sequence[_Swap]) -> None:
        await connection.execute(_WRITTEN, [_columns(swap) for swap in swaps])
        await connection.execute(
            _CLOSED,
            [{"intent": swap.intent.id, "outcome": DONE, "closed_at": swap.now} for swap in swaps],
        )
        events = [row_of(event, swap.now) for swap in swaps for event in swap.events]
        await put_rows(self._database, connection, events)


async def _rows(
    connection: AsyncConnection, query: Select[Any], ids: Collection[GrantId], *, patient: bool
) -> Mapping[GrantId, RowMapping]:
    """Rows of grants, locked; those that others have locked are left out by whoever is not patient."""
    locking = query.with_for_update(of=grants, skip_locked=not patient)
    return {row["id"]: row for row in (await connection.execute(locking, {"ids": list(ids)})).mappings()}


async def _locked(connection: AsyncConnection, grant_id: GrantId) -> RowMapping | None:
    query = select(grants).where(grants.c.id == grant_id).with_for_update()
    return (await connection.execute(query)).mappings().one_or_none()


def _answer(
    wish: _Wish, row: RowMapping | None, taken: set[GrantId], *, patient: bool
) -> Claim | Unclaimed | Alone:
    """`taken`: grants with an open intent; one that is claimed here becomes one of them."""
    if row is None:
        return Unclaimed(why="missing", grant=None) if patient else Alone.ALONE
    grant = noun_of(Grant, row)
    why = _refusal(wish, row) or ("busy" if grant.id in taken else None)
    if why is not None:
        return Unclaimed(why=why, grant=grant)
    taken.add(grant.id)
    return Claim(grant=grant, intent=_intent(grant, wish.holder, wish.now), audited=row["audited"] or 0)


def _refusal(wish: _Wish, row: RowMapping) -> str | None:
    if row["generation"] != wish.generation:
        return "stale"
    if row["state"] not in REFRESHABLE:
        return "state"
    leased = row["lease_until"] is not None and row["lease_until"] > wish.now
    return "busy" if leased and row["lease_holder"] != wish.holder else None


def _lease(wish: _Wish) -> dict[str, Any]:
    return {"grant": wish.grant_id, "lease_holder": wish.holder, "lease_until": wish.lease_until}


def _swapped(swap: _Swap, stored: dict[GrantId, Grant], *, patient: bool) -> Grant | Alone | None:
    """`stored`: grants by id; one that is renewed here takes its own place."""
    grant_id = swap.intent.grant_id
    if grant_id not in stored and not patient:
        return Alone.ALONE
    renewed = swap.renewed(stored.get(grant_id))
    if renewed is not None:
        stored[grant_id] = renewed
    return renewed


def _columns(swap: _Swap) -> dict[str, Any]:
    columns = _renewed(swap.renewal, swap.expected[0] + 1, swap.now)
    return {"grant": swap.intent.grant_id, "announced_until": None} | columns | LEASE_ENDED


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
