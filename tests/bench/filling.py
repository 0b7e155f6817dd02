"""Fills a vault's database with copies of the one grant in it, and with agents and policies beside them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Engine,
    Text,
    cast,
    create_engine,
    event,
    insert,
    literal,
    select,
    text,
    true,
    update,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from shared.adapters.sql.columns import UtcDateTime
from shared.adapters.sql.engine import driver_url
from shared.adapters.sql.tables import agents, catalogue, grants, policies

#: For each agent so many grants, for each policy so many.
GRANTS_PER_AGENT, GRANTS_PER_POLICY = 10, 100
#: Numbers of one width, so that names sort as they are numbered: an index is filled at its end.
_FIRST = 10_000_000
_GRANT, _AGENT = "grown-", "agent-"
#: What a database does by itself in a while, and here at once: the first claim is not to pay for it.
_SETTLE = {"postgresql": ["VACUUM ANALYZE", "CHECKPOINT"], "sqlite": ["PRAGMA wal_checkpoint(TRUNCATE)"]}


def grant_ids(count: int) -> list[str]:
    """Of the first ones."""
    return [f"{_GRANT}{_FIRST + number}" for number in range(count)]


def filling_engine(database_url: str) -> Engine:
    """Its connections need not outlive a power cut."""
    engine = create_engine(driver_url(database_url, "sync"))
    event.listen(engine, "connect", _hurry)
    return engine


def grow(engine: Engine, count: int) -> None:
    """To so many grants, none of them due for a day."""
    with engine.begin() as connection:
        _copy_grants(connection, _numbers(count))
        _add_agents(connection, _numbers(count // GRANTS_PER_AGENT))
        _add_policies(connection, range(count // GRANTS_PER_POLICY))
        connection.execute(update(catalogue).values(version=catalogue.c.version + 1))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in _SETTLE[engine.dialect.name]:
            connection.execute(text(statement))


def _hurry(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    if hasattr(connection, "pgconn"):
        cursor.execute("SET synchronous_commit = off")
        connection.commit()
    else:
        cursor.execute("PRAGMA synchronous = OFF")
        cursor.execute("PRAGMA cache_size = -262144")
    cursor.close()


def _numbers(count: int) -> CTE:
    numbers = select(literal(_FIRST).label("n")).cte("numbers", recursive=True)
    return numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < _FIRST + count - 1))


def _copy_grants(connection: Connection, numbers: CTE) -> None:
    """Nobody asks for the copies, so what is sealed in them may be another's."""
    later = datetime.now(UTC) + timedelta(days=1)
    number = cast(numbers.c.n, Text)
    own: dict[str, ColumnElement[Any]] = {
        "id": literal(_GRANT) + number,
        "owner": literal("owner-") + number,
        "refresh_at": literal(later, UtcDateTime()),
        "token_expires_at": literal(later, UtcDateTime()),
    }
    columns: list[ColumnElement[Any]] = [own.get(column.name, column) for column in grants.columns]
    original = select(grants.c.id).where(grants.c.id.not_like(f"{_GRANT}%")).limit(1)
    # Looked up by its key: a scan would be one for each copy.
    copied = grants.c.id == connection.execute(original).scalar_one()
    copies = select(*columns).join_from(grants, numbers, true()).where(copied)
    connection.execute(insert(grants).from_select(list(grants.columns), copies))


def _add_agents(connection: Connection, numbers: CTE) -> None:
    now = literal(datetime.now(UTC), UtcDateTime())
    row = select(literal(_AGENT) + cast(numbers.c.n, Text), literal("one of many"), now)
    connection.execute(insert(agents).from_select(["name", "description", "declared_at"], row))


def _add_policies(connection: Connection, numbers: range) -> None:
    """Each for one agent, with the rights that the declared one gives."""
    spec = connection.execute(select(policies.c.spec).limit(1)).scalar_one()
    now = datetime.now(UTC)
    connection.execute(
        insert(policies),
        [
            {
                "name": f"policy-{n}",
                "spec": spec | {"agents": [f"{_AGENT}{_FIRST + n}"]},
                "declared_at": now,
            }
            for n in numbers
        ],
    )
