"""Asks the vault as the client library does, without the memory in front: every call goes to a dispenser."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import cycle

from bench.load import ANSWER_SECONDS, Ask

from dispenser.client import door
from dispenser.client.transport import transport_for
from dispenser.protocol import Code, TokenCall


@asynccontextmanager
async def vault_caller(url: str, vault_token: str, service: str, owners: Sequence[str]) -> AsyncIterator[Ask]:
    """On a connection of its own. Calls made in one tick travel together, as they do for agents.

    They are for each of the owners in turn.
    """
    transport = transport_for(door.configured(url, vault_token, os.environ))
    clock = asyncio.get_running_loop().time

    turns = cycle(owners)

    async def ask() -> None:
        call = TokenCall(service=service, owner=next(turns))
        reply = await transport.ask(call, deadline=clock() + ANSWER_SECONDS)
        assert reply.code is Code.OK, f"{reply.code}: the figures would be those of refusals"

    await transport.open()
    try:
        yield ask
    finally:
        await transport.close()
