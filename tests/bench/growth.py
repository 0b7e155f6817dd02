"""A hundred times the data: what a claim, a request and every process's memory make of it."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bench.program import family, memory_megabytes
from bench.row import Row
from bench.stage import Stage
from bench.subject import Subject, costs
from sqlalchemy import Connection, Engine, create_engine, insert, select, text, update

from shared.adapters.sql.engine import driver_url
from shared.adapters.sql.store import SqlStore
from shared.adapters.sql.tables import agents, catalogue, grants, policies

GRANTS, AGENTS, POLICIES = 1_000_000, 100_000, 10_000
SMALL = 100
DUE = 500
CLAIMS = 20
CALLERS = 64
PROCESSES = (
    ("serve",),
    ("gateway", "--port"),
    ("work", "refresher"),
    ("work", "scheduler"),
    ("work", "janitor"),
)
MEGABYTES = 150.0
FACTOR = 1.3


@dataclass(frozen=True, slots=True)
class Size:
    """What one amount of data costs."""

    claim_seconds: float
    request_microseconds: float
    megabytes: dict[str, float]


async def growth(stage: Stage) -> AsyncIterator[Row]:
    """On both databases."""
    for database in ("sqlite", "postgresql"):
        with stage.another(database) as grown:
            few = await _measured(grown, 0, stage.count(GRANTS) // SMALL)
            many = await _measured(grown, stage.count(GRANTS) // SMALL, stage.count(GRANTS))
        times = f"{SMALL} times the data on {database}"
        yield Row(
            name=f"{times}: claim of {DUE} due",
            ours=many.claim_seconds * 1000,
            theirs=few.claim_seconds * 1000,
            unit="ms",
            goal=FACTOR,
            better="lower",
        )
        yield Row(
            name=f"{times}: CPU per request",
            ours=many.request_microseconds,
            theirs=few.request_microseconds,
            unit="µs",
            goal=FACTOR,
            better="lower",
        )
        for name, megabytes in many.megabytes.items():
            yield Row(
                name=f"{times}: memory of {name}", ours=megabytes, unit="MB", goal=MEGABYTES, better="lower"
            )


async def _measured(stage: Stage, before: int, count: int) -> Size:
    """Once what is there has grown."""
    engine = create_engine(driver_url(stage.database_url, "sync"))
    with engine.begin() as connection:
        _grow(connection, before, count)
    if stage.database_url.startswith("postgresql"):
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))  # as its own autovacuum does in a while
    claim_seconds = await _claim_seconds(stage, engine)
    engine.dispose()
    subject = Subject(name="ours", caller=stage.caller(), pids=stage.pids("serve"))
    found = await costs([subject], CALLERS, stage.seconds, connections=1)
    return Size(claim_seconds, found["ours"].cpu_microseconds, _memory(stage))


def _grow(connection: Connection, before: int, count: int) -> None:
    """Copies of what is there: nobody asks for them, so what is sealed in them may be another's."""
    now = datetime.now(UTC)
    columns = ", ".join(column.name for column in grants.columns if column.name not in {"id", "owner"})
    connection.execute(
        text(
            "WITH RECURSIVE numbers(n) AS "
            "(SELECT :before + 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count) "
            f"INSERT INTO grants (id, owner, {columns}) "
            f"SELECT 'grown-' || n, 'owner-' || n, {columns} FROM numbers, grants "
            "WHERE id NOT LIKE 'grown-%'"
        ),
        {"before": before, "count": count},
    )
    later = now + timedelta(days=1)
    connection.execute(update(grants).values(refresh_at=later, token_expires_at=later))
    spec = connection.execute(select(policies.c.spec).limit(1)).scalar_one()
    connection.execute(
        insert(agents),
        [
            {"name": f"agent-{n}", "description": "one of many", "declared_at": now}
            for n in range(before // 10, count // 10)
        ],
    )
    connection.execute(
        insert(policies),
        [
            {"name": f"policy-{n}", "spec": spec | {"agents": [f"agent-{n}"]}, "declared_at": now}
            for n in range(before // 100, count // 100)
        ],
    )
    connection.execute(update(catalogue).values(version=catalogue.c.version + 1))


async def _claim_seconds(stage: Stage, engine: Engine) -> float:
    """The median of several claims, of as many due grants each."""
    store = SqlStore.open(stage.database_url)
    seconds = []
    try:
        for _ in range(CLAIMS):
            now = datetime.now(UTC)
            await asyncio.to_thread(_make_due, engine, now)
            began = time.perf_counter()
            await store.grants.claim_due(now, now + timedelta(minutes=2), DUE)
            seconds.append(time.perf_counter() - began)
    finally:
        await store.close()
    return statistics.median(seconds)


def _make_due(engine: Engine, now: datetime) -> None:
    with engine.begin() as connection:
        due = grants.c.id.in_([f"grown-{n}" for n in range(1, DUE + 1)])
        connection.execute(update(grants).where(due).values(refresh_at=now, announced_until=None))


def _memory(stage: Stage) -> dict[str, float]:
    """Megabytes of each kind of process: of the largest, where one has several."""
    ports = {("gateway", "--port"): (str(stage.installation.gateway_port),)}
    found = {}
    for arguments in PROCESSES:
        process = stage.running(*arguments, *ports.get(arguments, ()))
        found[" ".join(arguments).removesuffix(" --port")] = max(map(memory_megabytes, family(process.pid)))
    return found
