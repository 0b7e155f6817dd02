from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, case, func, literal, or_, select, update

from shared.adapters.sql.columns import UtcDateTime, noun_of
from shared.adapters.sql.engine import Database
from shared.adapters.sql.outbox import put_events
from shared.adapters.sql.tables import grants, refreshable
from shared.messages import LifecycleEvent
from shared.model import Grant, GrantId, GrantState, Owner, ServiceName


class SqlGrants:
    """Grants, as everybody may see them: credentials and tokens are sealed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, service: ServiceName, owner: Owner) -> Grant | None:
        """The grant of an owner for a service."""
        return await self._one(grants.c.service == service, grants.c.owner == owner)

    async def get(self, grant_id: GrantId) -> Grant | None:
        """The grant of an id."""
        return await self._one(grants.c.id == grant_id)

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
        wiped = {"sealed_credential": None, "credential_fingerprint": b"", "sealed_token": None}
        idle = dict.fromkeys(
            ("token_expires_at", "refresh_at", "announced_until", "credential_expires_at", "warn_at")
        )
        change = (
            update(grants)
            .where(grants.c.id == grant_id, grants.c.state != GrantState.REVOKED)
            .values(state=GrantState.REVOKED, generation=grants.c.generation + 1, updated_at=now)
            .values(wiped | idle)
            .returning(grants)
        )
        async with self._database.writing() as connection:
            row = (await connection.execute(change)).mappings().one_or_none()
            if row is None:
                return None
            await put_events(self._database, connection, events, now)
        return noun_of(Grant, row)

    async def revoked_since(self, moment: datetime) -> list[Grant]:
        """Grants that were revoked at the moment or later, and still are."""
        query = select(grants).where(grants.c.state == GrantState.REVOKED, grants.c.updated_at >= moment)
        async with self._database.reading() as connection:
            return [noun_of(Grant, row) for row in (await connection.execute(query)).mappings()]

    async def _one(self, *conditions: ColumnElement[bool]) -> Grant | None:
        async with self._database.reading() as connection:
            row = (await connection.execute(select(grants).where(*conditions))).mappings().one_or_none()
        return None if row is None else noun_of(Grant, row)
