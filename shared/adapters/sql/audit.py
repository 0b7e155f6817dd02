import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from shared import audit_line
from shared.adapters.sql.audit_tree import grow, held
from shared.adapters.sql.columns import storable
from shared.adapters.sql.engine import Database
from shared.adapters.sql.tables import audit_checkpoints, audit_log, has_fingerprint
from shared.audit_filter import EVERYTHING, AuditFilter
from shared.merkle import leaf_hash
from shared.model import AuditRecord, Owner, ServiceName

#: The columns that hold a record's field, for asking.
ASKED: Final = tuple(column.name for column in audit_log.columns if column.name not in ("position", "line"))
#: As columns have what a line leaves out.
LEFT_OUT: Final = tuple(None if name == "generation" else "" for name in ASKED)


class SqlAudit:
    """The audit: its lines in the order of shipping, each with columns to find it by."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, lines: Sequence[bytes]) -> None:
        """Add lines, and to the tree as its next leaves; one at a time does, so positions have no gaps.

        Idempotent by writer and sequence: a journal may be shipped again from any place.
        """
        rows: dict[tuple[str, int], dict[str, Any]] = {}
        for row in map(_row, lines):
            rows.setdefault((row["writer"], row["sequence"]), row)
        if not rows:
            return
        async with self._database.writing() as connection:
            size = await held(connection)
            known = await _known(connection, rows)
            await self._add(connection, size, [row for key, row in rows.items() if key not in known])

    async def query(self, wanted: AuditFilter = EVERYTHING, *, limit: int = 1000) -> list[AuditRecord]:
        """Newest first."""
        newest = (audit_log.c.at.desc(), audit_log.c.position.desc())
        query = select(audit_log.c.line).where(*_conditions(wanted)).order_by(*newest).limit(limit)
        async with self._database.reading() as connection:
            lines = (await connection.execute(query)).scalars().all()
        return [audit_line.decode(line.encode()) for line in lines]

    async def read(self, start: int, limit: int) -> list[tuple[int, bytes]]:
        """Positions and lines, from a position on, in order."""
        query = select(audit_log.c.position, audit_log.c.line).where(audit_log.c.position >= start)
        ordered = query.order_by(audit_log.c.position).limit(limit)
        async with self._database.reading() as connection:
            return [(position, line.encode()) for position, line in (await connection.execute(ordered)).all()]

    async def position(self, writer: str, sequence: int) -> int | None:
        """Where a record is."""
        query = select(audit_log.c.position).where(
            audit_log.c.writer == writer, audit_log.c.sequence == sequence
        )
        async with self._database.reading() as connection:
            return (await connection.execute(query)).scalar_one_or_none()

    async def misindexed(self, start: int, end: int) -> int | None:
        """The first position in a range at which a column is not what the line says."""
        columns = (audit_log.c.position, audit_log.c.line, *(audit_log.c[name] for name in ASKED))
        query = select(*columns).where(audit_log.c.position >= start, audit_log.c.position < end)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query.order_by(audit_log.c.position))).all()
        return next((position for position, line, *row in rows if not _agrees(line, row)), None)

    async def naming(self, since: datetime, until: datetime) -> int:
        """How many records of a time name a token, by its fingerprint."""
        query = select(func.count()).where(has_fingerprint, audit_log.c.at >= since, audit_log.c.at < until)
        async with self._database.reading() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def generation(self, service: ServiceName, owner: Owner) -> int:
        """The highest generation that the audit knows of a grant; 0: it knows none."""
        query = select(func.max(audit_log.c.generation)).where(
            audit_log.c.service == service, audit_log.c.owner == owner
        )
        async with self._database.reading() as connection:
            return (await connection.execute(query)).scalar_one() or 0

    async def generations(self) -> Mapping[tuple[ServiceName, Owner], int]:
        """The highest generation of every grant that the audit knows."""
        place = (audit_log.c.service, audit_log.c.owner)
        highest = func.max(audit_log.c.generation)
        query = select(*place, highest).where(audit_log.c.generation.is_not(None)).group_by(*place)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        return {(service, owner): generation for service, owner, generation in rows}

    async def purge(self, before: datetime, limit: int, purged: Callable[[int], bytes]) -> int:
        """Remove the first records that are older and under a checkpoint, and record how far that went."""
        async with self._database.writing() as connection:
            size = await held(connection)
            start, end = await _purgeable(connection, before, limit)
            if end <= start:
                return 0
            await self._add(connection, size, [_row(purged(end))])
            await connection.execute(delete(audit_log).where(audit_log.c.position < end))
        return end - start

    async def _add(self, connection: AsyncConnection, size: int, rows: Sequence[dict[str, Any]]) -> None:
        if not rows:
            return
        placed = [row | {"position": size + n} for n, row in enumerate(rows)]
        await connection.execute(insert(audit_log), placed)
        await grow(self._database, connection, size, [leaf_hash(row["line"].encode()) for row in rows])


async def _known(connection: AsyncConnection, keys: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
    numbers: dict[str, list[int]] = {}
    for writer, sequence in keys:
        numbers.setdefault(writer, []).append(sequence)
    found = set()
    for writer, sequences in numbers.items():
        query = select(audit_log.c.sequence).where(
            audit_log.c.writer == writer, audit_log.c.sequence.in_(sequences)
        )
        found |= {(writer, sequence) for sequence in (await connection.execute(query)).scalars()}
    return found


async def _purgeable(connection: AsyncConnection, before: datetime, limit: int) -> tuple[int, int]:
    first = select(func.min(audit_log.c.position))
    start = (await connection.execute(first)).scalar_one()
    kept = (await connection.execute(first.where(audit_log.c.at >= before))).scalar_one()
    signed = (await connection.execute(select(func.max(audit_checkpoints.c.size)))).scalar_one()
    if start is None or signed is None:
        return 0, 0
    ends = [end for end in (kept, signed, start + limit) if end is not None]
    return start, min(ends)


def _row(line: bytes) -> dict[str, Any]:
    record = audit_line.decode(line)
    return {name: getattr(record, name) for name in ASKED} | {"line": line.decode()}


def _agrees(line: str, row: Sequence[object]) -> bool:
    try:
        said = json.loads(line)
        said["at"] = datetime.fromisoformat(said["at"])
        columns = [said.get(name, default) for name, default in zip(ASKED, LEFT_OUT, strict=True)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
    return columns == row or [storable(v) if isinstance(v, str) else v for v in columns] == row


def _conditions(wanted: AuditFilter) -> list[ColumnElement[bool]]:
    conditions = [audit_log.c[name] == value for name, value in wanted.equals().items()]
    if wanted.since is not None:
        conditions.append(audit_log.c.at >= wanted.since)
    if wanted.until is not None:
        conditions.append(audit_log.c.at < wanted.until)
    return conditions
