from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.sql.columns import noun_of, values_of
from shared.adapters.sql.engine import Database
from shared.adapters.sql.tables import outbox
from shared.messages import LifecycleEvent


class SqlOutbox:
    """Lifecycle events that were committed with their cause and wait for the bus."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, events: Sequence[LifecycleEvent], now: datetime) -> None:
        """Keep events whose cause is not in SQL until the bus has them."""
        async with self._database.writing() as connection:
            await put_events(self._database, connection, events, now)

    async def pending(self, limit: int, *, written_before: datetime) -> list[LifecycleEvent]:
        """Events not yet sent, in the order of writing."""
        query = select(outbox).where(outbox.c.written_at < written_before)
        ordered = query.order_by(outbox.c.position).limit(limit)
        async with self._database.reading() as connection:
            return [noun_of(LifecycleEvent, row) for row in (await connection.execute(ordered)).mappings()]

    async def sent(self, event_ids: Sequence[str]) -> None:
        """Forget events that the bus has confirmed."""
        async with self._database.writing() as connection:
            await connection.execute(delete(outbox).where(outbox.c.id.in_(event_ids)))


async def put_events(
    database: Database, connection: AsyncConnection, events: Sequence[LifecycleEvent], now: datetime
) -> None:
    """Write events in their cause's transaction. Again is harmless: a commit may be retried unanswered."""
    for event in events:
        row = values_of(event) | {"details": dict(event.details), "written_at": now}
        await connection.execute(database.insert(outbox).values(row).on_conflict_do_nothing())
