"""A hundred times the data: what a claim, a request and every process's memory make of it."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bench.filling import filling_engine, grant_ids, grow
from bench.program import memory_megabytes
from bench.row import Row
from bench.stage import JANITOR, REFRESHER, SCHEDULER, SERVE, Arguments, Stage
from bench.subject import Subject, costs
from services.server import wait_until
from sqlalchemy import Engine, update

from shared.adapters.sql.store import SqlStore
from shared.adapters.sql.tables import grants

GRANTS, SMALL = 1_000_000, 100
DUE = 500
CLAIMS = 50
CALLERS = 64
MEGABYTES = 150.0
FACTOR = 1.3
#: What a dispenser logs once it decides by a new catalogue.
LOADED = "Catalogue loaded"


@dataclass(frozen=True, slots=True)
class Size:
    """What one amount of data costs."""

    claim_seconds: float
    request_microseconds: float


async def growth(stage: Stage) -> AsyncIterator[Row]:
    """On both databases."""
    for database in ("sqlite", "postgresql"):
        with stage.another(database) as grown:
            every = (SERVE, grown.gateway, REFRESHER, SCHEDULER, JANITOR)
            small, large = stage.count(GRANTS) // SMALL, stage.count(GRANTS)
            few = await _measured(grown, 0, small, [SERVE])
            many = await _measured(grown, small, large, every)
            memory = {arguments: _megabytes(grown, arguments) for arguments in every}
        times = f"{SMALL} times the data on {database}"
        yield Row(
            name=f"{times}: claim of {stage.count(DUE)} due",
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
        for arguments, megabytes in memory.items():
            name = arguments[1] if arguments[0] == "work" else arguments[0]
            yield Row(
                name=f"{times}: memory of {name}", ours=megabytes, unit="MB", goal=MEGABYTES, better="lower"
            )


async def _measured(stage: Stage, before: int, count: int, processes: Sequence[Arguments]) -> Size:
    """Once what is there has grown. Processes start after the claims: a scheduler would make some too."""
    engine, loads = filling_engine(stage.database_url), stage.log(SERVE).count(LOADED)
    await asyncio.to_thread(grow, engine, before, count)
    claim_seconds = await _claim_seconds(stage, engine)
    engine.dispose()
    stage.start(*processes)
    assert wait_until(lambda: stage.log(SERVE).count(LOADED) > loads), "the dispenser saw no new catalogue"
    subject = Subject(name="ours", caller=stage.caller(), pids=stage.pids(SERVE))
    found = await costs(stage, [subject], CALLERS, connections=1)
    return Size(claim_seconds, found[subject.name].cpu_microseconds)


async def _claim_seconds(stage: Stage, engine: Engine) -> float:
    """The median of several claims, of as many due grants each."""
    store = SqlStore.open(stage.database_url)
    due, seconds = grant_ids(stage.count(DUE)), []
    try:
        for _ in range(CLAIMS):
            now = datetime.now(UTC)
            with engine.begin() as connection:
                made_due = update(grants).values(refresh_at=now, announced_until=None)
                connection.execute(made_due.where(grants.c.id.in_(due)))
            began = time.perf_counter()
            claimed = await store.grants.claim_due(now, now + timedelta(minutes=2), len(due))
            seconds.append(time.perf_counter() - began)
            assert len(claimed) == len(due), "the figures would be those of fewer"
    finally:
        await store.close()
    return statistics.median(seconds)


def _megabytes(stage: Stage, arguments: Arguments) -> float:
    return max(map(memory_megabytes, stage.pids(arguments)))
