"""Tokens that are due at once: journal, fsync, commit, cache and events beside httpx alone."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
from bench.program import PEERS, cpu_seconds
from bench.row import Row
from bench.stage import Stage
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from shared.adapters.sql.engine import driver_url
from shared.adapters.sql.tables import grants
from shared.model import Provider

DUE = 10_000
SERVICE = "calendar-read"
SCOPE = "calendar:read"
#: Of the provider's profile, unless it says otherwise: the peer works as many at once.
AT_ONCE = Provider.__dataclass_fields__["max_concurrency"].default
_POLL_SECONDS = 0.1


async def refreshes(stage: Stage) -> AsyncIterator[Row]:
    """One refresher with everything on; the peer is handed its refresh tokens."""
    due = stage.count(DUE)
    theirs = await asyncio.to_thread(_posted, stage, due)
    await _connect(stage, due)
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


async def _connect(stage: Stage, due: int) -> None:
    """Every owner's grant comes in at the gateway."""
    gateway = stage.installation
    stage.running("gateway", "--port", str(gateway.gateway_port))
    admin = {"Authorization": f"Bearer {stage.admin_token}"}
    owners = iter(range(due))
    base = f"http://127.0.0.1:{gateway.gateway_port}/v1/credentials/{SERVICE}"
    async with httpx.AsyncClient(headers=admin, trust_env=False, timeout=60) as client:

        async def connect() -> None:
            for number in owners:
                credential = stage.provider.issue_refresh_token(f"owner-{number}", (SCOPE,))
                answer = await client.put(
                    base, params={"owner": f"owner-{number}"}, json={"refresh_token": credential}
                )
                answer.raise_for_status()

        await asyncio.gather(*(connect() for _ in range(AT_ONCE)))


async def _refreshed(stage: Stage, engine: AsyncEngine, due: int) -> tuple[float, float]:
    """Wall and CPU seconds of the refresher, from their announcement until all are committed."""
    refresher = stage.pids("work", "refresher")
    mine = grants.c.service == SERVICE
    async with engine.begin() as connection:
        await connection.execute(update(grants).where(mine).values(refresh_at=datetime.now(UTC)))
    clock = asyncio.get_running_loop().time
    began, used = clock(), cpu_seconds(refresher)
    stage.running("work", "scheduler")
    renewed = select(func.count()).select_from(grants).where(mine, grants.c.generation > 1)
    while True:
        async with engine.connect() as connection:
            if (await connection.execute(renewed)).scalar_one() >= due:
                break
        await asyncio.sleep(_POLL_SECONDS)
    taken = clock() - began, cpu_seconds(refresher) - used
    stage.ended("work", "scheduler")
    return taken
