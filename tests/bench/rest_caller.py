"""Asks the REST service over a connection that is kept."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from bench.load import Ask
from bench.peers.rest_service import BEARER


@asynccontextmanager
async def rest_caller(port: int) -> AsyncIterator[Ask]:
    headers = {"Authorization": f"Bearer {BEARER}"}
    address = f"http://127.0.0.1:{port}"
    # There is no TLS to verify, and to read all the authorities for each of hundreds takes long.
    async with httpx.AsyncClient(base_url=address, headers=headers, trust_env=False, verify=False) as client:

        async def ask() -> None:
            answer = await client.get("/v1/agents/tracker/credentials/time-tracker")
            answer.raise_for_status()

        yield ask
