"""Tokens that are due at once: journal, fsync, commit, cache and events beside httpx alone."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from bench.due_grant import due_grant
from bench.program import PEERS, cpu_seconds
from bench.row import Row
from bench.stage import REFRESHER, SCHEDULER, Stage
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from shared.adapters.sql.columns import values_of
from shared.adapters.sql.engine import driver_url
from shared.adapters.sql.tables import grants
from shared.model import Grant, Owner, Provider, ServiceName

DUE = 10_000
SERVICE = ServiceName("calendar-read")
SCOPE = "calendar:read"
#: Of the provider's profile, unless it says otherwise: the peer works as many at once.
AT_ONCE = Provider.__dataclass_fields__["max_concurrency"].default
_POLL_SECONDS = 0.1


async def refreshes(stage: Stage) -> AsyncIterator[Row]:
    """One refresher with everything on; the peer is handed its refresh tokens."""
    due = stage.count(DUE)
    stage.start(REFRESHER, SCHEDULER)
    theirs = await asyncio.to_thread(_posted, stage, due)
    engine = create_async_engine(driver_url(stage.database_url, "async"))
    try:
        seconds, used = await _refreshed(stage, engine, due)
    finally:
        await engine.dispose()
    yield Row(
        name=f"{due} tokens due at once, httpx alone: refreshes",
        ours=due / seconds,
        theirs=due / theirs["seconds"],
        unit="1/s",
        goal=0.7,
    )
    yield Row(
        name=f"{due} tokens due at once, httpx alone: CPU per refresh",
        ours=used / due * 1e6,
        theirs=theirs["cpu_seconds"] / due * 1e6,
        unit="µs",
        better="lower",
    )


def _posted(stage: Stage, due: int) -> dict[str, float]:
    given = {
        "token_url": stage.provider.token_url,
        "client_id": stage.provider.client_id,
        "client_secret": stage.provider.client_secret,
        "refresh_tokens": [stage.provider.issue_refresh_token(f"peer-{n}", (SCOPE,)) for n in range(due)],
        "at_once": AT_ONCE,
    }
    ended = subprocess.run(
        [sys.executable, str(PEERS / "post_loop.py")],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(ended.stdout))


def _rows(stage: Stage, due: int) -> list[dict[str, Any]]:
    """Grants, each an owner's of its own."""
    now = datetime.now(UTC)
    return [values_of(_grant(stage, Owner(f"owner-{number}"), now)) for number in range(due)]


def _grant(stage: Stage, owner: Owner, now: datetime) -> Grant:
    refresh_token = stage.provider.issue_refresh_token(owner, (SCOPE,))
    return due_grant(
        stage.keys,
        now,
        service=SERVICE,
        owner=owner,
        scope=SCOPE,
        refresh_token=refresh_token,
        provider=stage.provider,
    )


async def _refreshed(stage: Stage, engine: AsyncEngine, due: int) -> tuple[float, float]:
    """Wall and CPU seconds of the refresher, from when they are due until all are committed."""
    refresher, rows = stage.pids(REFRESHER), _rows(stage, due)
    async with engine.begin() as connection:
        await connection.execute(insert(grants), rows)
    clock = asyncio.get_running_loop().time
    began, used = clock(), cpu_seconds(refresher)
    left = select(grants.c.id).where(grants.c.service == SERVICE, grants.c.generation == 1).limit(1)
    async with engine.connect() as connection:
        reading = await connection.execution_options(isolation_level="AUTOCOMMIT")
        while (await reading.execute(left)).first() is not None:  # noqa: ASYNC110 - other processes bring it about
            await asyncio.sleep(_POLL_SECONDS)
    return clock() - began, cpu_seconds(refresher) - used
