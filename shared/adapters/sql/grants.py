from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, bindparam, case, func, insert, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.sql.columns import UtcDateTime, noun_of
from shared.adapters.sql.engine import Database
from shared.adapters.sql.outbox import put_events
from shared.adapters.sql.tables import grants, handbacks, refreshable
from shared.adapters.sql.together import Together
from shared.messages import LifecycleEvent
from shared.model import Grant, GrantId, GrantState, Owner, ServiceName

_REVOKED: Final = {
    "state": GrantState.REVOKED,
    "sealed_credential": None,
    "credential_fingerprint": b"",
    "sealed_token": None,
    "token_expires_at": None,
    "refresh_at": None,
    "announced_until": None,
    "credential_expires_at": None,
    "warn_at": None,
}
_OF_IDS: Final = select(grants).where(grants.c.id.in_(bindparam("ids", expanding=True)))


class SqlGrants:
    """Grants, as everybody may see them: credentials and tokens are sealed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._gets: Together[GrantId, Grant | None] = Together(self._get)

    async def find(self, service: ServiceName, owner: Owner) -> Grant | None:
        """The grant of an owner for a service."""
        return await self._one(grants.c.service == service, grants.c.owner == owner)

    async def get(self, grant_id: GrantId) -> Grant | None:
        """The grant of an id."""
        return await self._gets.call(grant_id)

    async def select(self, *, service: ServiceName | None = None, owner: Owner | None = None) -> list[Grant]:
        """Grants of a service, an owner, both or all, by service and owner."""
        query = select(grants).order_by(grants.c.service, grants.c.owner)
        if service is not None:
            query = query.where(grants.c.service == service)
        if owner is not None:
            query = query.where(grants.c.owner == owner)
        async with self._database.reading() as connection:
            return [noun_of(Grant, row) for row in (await connection.execute(query)).mappings()]

    async def count(self) -> Mapping[GrantState, int]:
        """How many there are, by state."""
        query = select(grants.c.state, func.count()).group_by(grants.c.state)
        async with self._database.reading() as connection:
            return {GrantState(state): number for state, number in await connection.execute(query)}

    async def claim_due(
        self, now: datetime, announced_until: datetime, limit: int, *, unsure_until: datetime | None = None
    ) -> list[Grant]:
        """Grants to refresh now that no other scheduler has announced, oldest first; marks them announced."""
        quiet = or_(grants.c.announced_until.is_(None), grants.c.announced_until <= now)
        due = (
            select(grants)
            .where(refreshable, grants.c.refresh_at <= now, quiet)
            .order_by(grants.c.refresh_at, grants.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)  # SQLite has no row locks: there BEGIN IMMEDIATE excludes
        )
        async with self._database.writing() as connection:
            found = [noun_of(Grant, row) for row in (await connection.execute(due)).mappings()]
            announced = update(grants).where(grants.c.id.in_([grant.id for grant in found]))
            sure, unsure = (
                literal(until, UtcDateTime) for until in (announced_until, unsure_until or announced_until)
            )
            until = case((grants.c.unsure_since.is_(None), sure), else_=unsure)
            await connection.execute(announced.values(announced_until=until))
        return found

    async def revoke(
        self, grant_id: GrantId, now: datetime, events: Sequence[LifecycleEvent]
    ) -> Grant | None:
        """Wipe credential and token, and move the generation on, so that no rotation under way can land."""
        wanted = select(grants).where(grants.c.id == grant_id, grants.c.state != GrantState.REVOKED)
        async with self._database.writing() as connection:
            row = (await connection.execute(wanted.with_for_update())).mappings().one_or_none()
            if row is None:
                return None
            revoked = await _revoked(connection, noun_of(Grant, row), now)
            await put_events(self._database, connection, events, now)
        return revoked

    async def revoke_all(
        self,
        now: datetime,
        event: Callable[[Grant], LifecycleEvent],
        *,
        services: Collection[ServiceName] | None = None,
        owner: Owner | None = None,
    ) -> list[Grant]:
        """Every grant of these services, of this owner, or at all, in one transaction."""
        wanted = select(grants).where(grants.c.state != GrantState.REVOKED).order_by(grants.c.id)
        if services is not None:
            wanted = wanted.where(grants.c.service.in_(services))
        if owner is not None:
            wanted = wanted.where(grants.c.owner == owner)
        async with self._database.writing() as connection:
            rows = (await connection.execute(wanted.with_for_update())).mappings()
            before = [noun_of(Grant, row) for row in rows]
            revoked = [await _revoked(connection, grant, now) for grant in before]
            await put_events(self._database, connection, [event(grant) for grant in revoked], now)
        return revoked

    async def revoked_since(self, moment: datetime) -> list[Grant]:
        """Grants that were revoked at the moment or later, and still are."""
        query = select(grants).where(grants.c.state == GrantState.REVOKED, grants.c.updated_at >= moment)
        async with self._database.reading() as connection:
            return [noun_of(Grant, row) for row in (await connection.execute(query)).mappings()]

    async def _get(self, ids: Sequence[GrantId], *, patient: bool) -> list[Grant | None]:  # noqa: ARG002
        async with self._database.reading() as connection:
            rows = (await connection.execute(_OF_IDS, {"ids": list(dict.fromkeys(ids))})).mappings()
            found = {row["id"]: noun_of(Grant, row) for row in rows}
        return [found.get(grant_id) for grant_id in ids]

    async def _one(self, *conditions: ColumnElement[bool]) -> Grant | None:
        async with self._database.reading() as connection:
            row = (await connection.execute(select(grants).where(*conditions))).mappings().one_or_none()
        return None if row is None else noun_of(Grant, row)


async def _revoked(connection: AsyncConnection, grant: Grant, now: datetime) -> Grant:
    if grant.sealed_credential is not None:
        row = {
            "id": f"{grant.id}.{grant.generation}",
            "grant_id": grant.id,
            "service": grant.service,
            "owner": grant.owner,
            "generation": grant.generation,
            "sealed_credential": grant.sealed_credential,
            "created_at": now,
        }
        await connection.execute(insert(handbacks).values(row))
    change = update(grants).where(grants.c.id == grant.id).values(_REVOKED | {"updated_at": now})
    moved = change.values(generation=grants.c.generation + 1).returning(grants)
    return noun_of(Grant, (await connection.execute(moved)).mappings().one())
