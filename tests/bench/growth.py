"""A hundred times the data: what a claim, a request and every process's memory make of it."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta

from bench.filling import filling_engine, grant_ids, grow
from bench.program import memory_megabytes
from bench.row import Row
from bench.stage import JANITOR, REFRESHER, SCHEDULER, SERVE, Arguments, Stage
from bench.subject import Subject, costs
from services.server import wait_until
from sqlalchemy import update

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


async def growth(stage: Stage) -> AsyncIterator[Row]:
    """On both databases, a vault that has grown beside one that has not, in turns."""
    for database in ("sqlite", "postgresql"):
        with stage.another(database) as small, stage.another(database) as large:
            await _grown(small, stage.count(GRANTS) // SMALL)
            await _grown(large, stage.count(GRANTS))
            few, many = await _claim_seconds(small, large)
            every = (SERVE, large.gateway, REFRESHER, SCHEDULER, JANITOR)
            # After the claims: a scheduler would make some too.
            large.start(*every)
            asked = await costs(
                stage, [_subject("few", small), _subject("many", large)], CALLERS, connections=1
            )
            memory = {arguments: _megabytes(large, arguments) for arguments in every}
        times = f"{SMALL} times the data on {database}"
        yield Row(
            name=f"{times}: claim of {stage.count(DUE)} due",
            ours=many * 1000,
            theirs=few * 1000,
            unit="ms",
            goal=FACTOR,
            better="lower",
        )
        yield Row(
            name=f"{times}: CPU per request",
            ours=asked["many"].cpu_microseconds,
            theirs=asked["few"].cpu_microseconds,
            unit="µs",
            goal=FACTOR,
            better="lower",
        )
        for arguments, megabytes in memory.items():
            name = arguments[1] if arguments[0] == "work" else arguments[0]
            yield Row(
                name=f"{times}: memory of {name}", ours=megabytes, unit="MB", goal=MEGABYTES, better="lower"
            )


async def _grown(stage: Stage, count: int) -> None:
    """Holds so many grants, and its dispenser decides by all that is declared for them."""
    loads, engine = stage.log(SERVE).count(LOADED), filling_engine(stage.database_url)
    try:
        await asyncio.to_thread(grow, engine, count)
    finally:
        engine.dispose()
    assert wait_until(lambda: stage.log(SERVE).count(LOADED) > loads), "the dispenser saw no new catalogue"


def _subject(name: str, stage: Stage) -> Subject:
    return Subject(name=name, caller=stage.caller(), pids=stage.pids(SERVE))


async def _claim_seconds(*stages: Stage) -> list[float]:
    """The median of several claims of each, in turns."""
    async with AsyncExitStack() as closing:
        claims = [await closing.enter_async_context(_claim(stage)) for stage in stages]
        rounds = [[await claim() for claim in claims] for _ in range(CLAIMS)]
    return [statistics.median(seconds) for seconds in zip(*rounds, strict=True)]


@asynccontextmanager
async def _claim(stage: Stage) -> AsyncIterator[Callable[[], Awaitable[float]]]:
    """Makes as many grants due, claims them, and returns the seconds that the claim took."""
    engine, store = filling_engine(stage.database_url), SqlStore.open(stage.database_url)
    due = grant_ids(stage.count(DUE))

    async def claim() -> float:
        now = datetime.now(UTC)
        with engine.begin() as connection:
            made_due = update(grants).values(refresh_at=now, announced_until=None)
            connection.execute(made_due.where(grants.c.id.in_(due)))
        began = time.perf_counter()
        claimed = await store.grants.claim_due(now, now + timedelta(minutes=2), len(due))
        seconds = time.perf_counter() - began
        assert len(claimed) == len(due), "the figures would be those of fewer"
        return seconds

    try:
        yield claim
    finally:
        engine.dispose()
        await store.close()


def _megabytes(stage: Stage, arguments: Arguments) -> float:
    return max(map(memory_megabytes, stage.pids(arguments)))
