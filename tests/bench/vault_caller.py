"""Asks the vault as the client library does, without the memory in front: every call goes to a dispenser."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.load import ANSWER_SECONDS, Ask

from dispenser.client import door
from dispenser.client.transport import transport_for
from dispenser.protocol import Code, TokenCall


@asynccontextmanager
async def vault_caller(url: str, vault_token: str, service: str) -> AsyncIterator[Ask]:
    """On a connection of its own. Calls made in one tick travel together, as they do for agents."""
    transport = transport_for(door.configured(url, vault_token, os.environ))
    clock = asyncio.get_running_loop().time

    async def ask() -> None:
        reply = await transport.ask(TokenCall(service=service), deadline=clock() + ANSWER_SECONDS)
        assert reply.code is Code.OK, f"{reply.code}: the figures would be those of refusals"

    await transport.open()
    try:
        yield ask
    finally:
        await transport.close()
