from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.sql.columns import noun_of, values_of
from shared.adapters.sql.engine import Database
from shared.adapters.sql.tables import outbox
from shared.adapters.sql.together import Together
from shared.messages import LifecycleEvent

_FORGOTTEN: Final = delete(outbox).where(outbox.c.id.in_(bindparam("ids", expanding=True)))


class SqlOutbox:
    """Lifecycle events that were committed with their cause and wait for the bus."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sent: Together[Sequence[str], None] = Together(self._forget)

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
        await self._sent.call(event_ids)

    async def _forget(self, sent: Sequence[Sequence[str]], *, patient: bool) -> list[None]:  # noqa: ARG002
        ids = [event_id for event_ids in sent for event_id in event_ids]
        if ids:
            async with self._database.writing() as connection:
                await connection.execute(_FORGOTTEN, {"ids": ids})
        return [None] * len(sent)


async def put_events(
    database: Database, connection: AsyncConnection, events: Sequence[LifecycleEvent], now: datetime
) -> None:
    """Write events in their cause's transaction. Again is harmless: a commit may be retried unanswered."""
    await put_rows(database, connection, [row_of(event, now) for event in events])


def row_of(event: LifecycleEvent, now: datetime) -> dict[str, Any]:
    """An event as its row."""
    return values_of(event) | {"details": dict(event.details), "written_at": now}


async def put_rows(database: Database, connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
    """As `put_events`, for events of several causes."""
    if rows:
        await connection.execute(database.insert(outbox).on_conflict_do_nothing(), rows)
