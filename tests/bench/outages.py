"""Cached tokens while others are down, beside the same load in health: "at the usual speed"."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import psycopg
from bench.row import Row
from bench.stage import AGENT, OWNER, REFRESHER, SERVE, SERVICE, Stage
from bench.subject import ROUNDS, Cost, Subject, cost, together
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from dispenser import Vault, VaultError
from dispenser.testing.faults import Hang

CALLERS = 64
#: Of the answers in health: what two rounds of one and the same load differ by on a busy machine.
USUAL = 0.8
Outage = Callable[[Stage], AbstractAsyncContextManager[None]]


async def outages(stage: Stage) -> AsyncIterator[Row]:
    """Each outage in turn with health, so that a machine's slow minute is shared by both."""
    callers = stage.callers(CALLERS)
    for what, outage in OUTAGES.items():
        healthy, down = await _in_turns(stage, outage, callers)
        name = f"{callers} at once while {what}, in health"
        yield Row(
            name=f"{name}: answers",
            ours=down.load.per_second,
            theirs=healthy.load.per_second,
            unit="1/s",
            goal=USUAL,
        )
        yield Row(
            name=f"{name}: CPU per answer",
            ours=down.cpu_microseconds,
            theirs=healthy.cpu_microseconds,
            unit="µs",
            better="lower",
        )
        yield Row(
            name=f"{name}: p50",
            ours=down.load.percentile(0.5) * 1000,
            theirs=healthy.load.percentile(0.5) * 1000,
            unit="ms",
            better="lower",
        )


async def _in_turns(stage: Stage, outage: Outage, callers: int) -> tuple[Cost, Cost]:
    subject = Subject(name="ours", caller=stage.caller(), pids=stage.pids(SERVE))
    stage.start(REFRESHER)
    healthy: list[Cost] = []
    down: list[Cost] = []
    rounds = stage.count(ROUNDS)
    for _ in range(rounds):
        healthy.append(await cost(subject, callers, stage.seconds / rounds))
        async with outage(stage):
            down.append(await cost(subject, callers, stage.seconds / rounds))
    return together(healthy), together(down)


@asynccontextmanager
async def _provider_hangs(stage: Stage) -> AsyncIterator[None]:
    """A refresher waits for an answer that does not come, and an agent for the refresher."""
    hang = Hang()
    async with Vault(stage.broker_url, stage.vault.agent_token(AGENT, OWNER)) as asking:
        token = await asking.token(SERVICE)
        stage.provider.faults.next(hang)
        reporting = asyncio.create_task(asking.rejected(token, deadline=60))
        await hang.reached()
        yield
        hang.release()
        # The provider hangs up without an answer, or has answered after all.
        [outcome] = await asyncio.gather(reporting, return_exceptions=True)
        assert outcome is None or isinstance(outcome, VaultError)


@asynccontextmanager
async def _refreshers_are_dead(stage: Stage) -> AsyncIterator[None]:
    with stage.killed(REFRESHER):
        yield


@asynccontextmanager
async def _database_is_down(stage: Stage) -> AsyncIterator[None]:
    """It hangs up on everybody, and takes no new connection."""
    name = conninfo_to_dict(stage.database_url)["dbname"]
    with psycopg.connect(stage.database_url, dbname="postgres", autocommit=True) as server:
        admitting = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        server.execute(admitting.format(sql.Identifier(str(name)), sql.SQL("false")))
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        try:
            yield
        finally:
            server.execute(admitting.format(sql.Identifier(str(name)), sql.SQL("true")))


OUTAGES: Mapping[str, Outage] = {
    "the provider hangs": _provider_hangs,
    "every refresher is dead": _refreshers_are_dead,
    "the database is down": _database_is_down,
}
