"""Many callers in one client process, whose calls of one tick travel together."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from functools import partial

from bench.due_grant import due_grant
from bench.echo_caller import echo_caller
from bench.load import Ask
from bench.peers import echo_aio_pika
from bench.program import peers
from bench.round_trips import ECHO
from bench.row import Row
from bench.stage import MANY_OWNERS, SERVE, Stage
from bench.subject import Subject, costs
from sqlalchemy import create_engine, insert

from shared.adapters.sql.columns import values_of
from shared.adapters.sql.engine import driver_url
from shared.adapters.sql.tables import grants
from shared.model import Grant, Owner, ServiceName

CALLERS = 64
SERVICE, SCOPE = ServiceName("slack-post"), "chat:write"


async def bursts(stage: Stage) -> AsyncIterator[Row]:
    """All on one connection, sixty-four callers on it, who ask for one token or for one each."""
    owners = [Owner(MANY_OWNERS.replace("*", str(number))) for number in range(CALLERS)]
    _connect(stage, owners)
    with peers(("echo_aio_pika", stage.broker_url)) as echo:
        bare = Subject(
            name=ECHO, caller=partial(echo_caller, stage.broker_url, echo_aio_pika.QUEUE), pids=echo
        )
        one, each = _ours(stage, stage.caller()), _ours(stage, stage.caller(SERVICE, owners))
        async for row in _compared(stage, f"{CALLERS} callers in one process", one, bare, goal=20.0):
            yield row
        async for row in _compared(stage, f"{CALLERS} callers, a token each", each, bare, goal=None):
            yield row


async def _compared(
    stage: Stage, name: str, ours: Subject, bare: Subject, goal: float | None
) -> AsyncIterator[Row]:
    found = await costs(stage, [ours, bare], CALLERS, connections=1)
    yield Row(
        name=f"{name}, {ECHO}: answers",
        ours=found[ours.name].load.per_second,
        theirs=found[ECHO].load.per_second,
        unit="1/s",
        goal=goal,
    )
    yield Row(
        name=f"{name}, {ECHO}: CPU per answer",
        ours=found[ours.name].cpu_microseconds,
        theirs=found[ECHO].cpu_microseconds,
        unit="µs",
        better="lower",
    )


def _ours(stage: Stage, caller: Callable[[], AbstractAsyncContextManager[Ask]]) -> Subject:
    return Subject(name="ours", caller=caller, pids=stage.pids(SERVE))


def _connect(stage: Stage, owners: list[Owner]) -> None:
    rows = [values_of(_grant(stage, owner)) for owner in owners]
    engine = create_engine(driver_url(stage.database_url, "sync"))
    with engine.begin() as connection:
        connection.execute(insert(grants), rows)
    engine.dispose()


def _grant(stage: Stage, owner: Owner) -> Grant:
    refresh_token = stage.provider.issue_refresh_token(owner, (SCOPE,))
    now = datetime.now(UTC)
    return due_grant(
        stage.keys,
        now,
        service=SERVICE,
        owner=owner,
        scope=SCOPE,
        refresh_token=refresh_token,
        provider=stage.provider,
    )
