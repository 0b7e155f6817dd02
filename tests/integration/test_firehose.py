"""RabbitMQ's firehose sees every message, and neither a vault token nor an access token in any."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import aio_pika
import httpx
import pytest
from aio_pika.abc import AbstractIncomingMessage
from builders import KEYS, VAULT
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from integration.door_agent import serving
from services.pool import Pool

from dispenser import InsufficientScope, Vault, agent_key, sealed_frame
from dispenser.protocol import RenewCall
from dispenser.sealed_frame import Kind
from dispenser.vault_token import mint
from shared.secret import Secret

ACCESS_TOKEN = "canary-access-token-5f1c"
OWNER = "canary-owner"


class Firehose:
    """All that the broker told of the messages in a virtual host."""

    def __init__(self) -> None:
        self.messages: list[AbstractIncomingMessage] = []
        self._came = asyncio.Condition()

    async def keep(self, message: AbstractIncomingMessage) -> None:
        async with self._came:
            self.messages.append(message)
            self._came.notify_all()

    async def until_delivered(self, kinds: set[Kind]) -> None:
        async with asyncio.timeout(30), self._came:
            await self._came.wait_for(lambda: kinds <= self.delivered())

    @property
    def text(self) -> bytes:
        return b"\n".join(repr(message.headers).encode() + message.body for message in self.messages)

    def delivered(self) -> set[Kind]:
        """The kinds of messages that were not only published, but also delivered."""
        bodies = [m.body for m in self.messages if (m.routing_key or "").startswith("deliver.")]
        return {sealed_frame.kind(body, 300_000) for body in bodies if body[:1] == b"\1"}


@asynccontextmanager
async def firehose(pool: Pool, vhost: str) -> AsyncIterator[Firehose]:
    """https://www.rabbitmq.com/docs/firehose"""
    management = pool.shared("rabbitmq").management_url
    if not management:
        pytest.skip("the firehose is turned on over RabbitMQ's HTTP API, which this server does not have")
    name = quote(urlsplit(vhost).path[1:], safe="")
    async with httpx.AsyncClient() as http, await aio_pika.connect(vhost) as connection:
        (await http.put(f"{management}/api/vhosts/{name}", json={"tracing": True})).raise_for_status()
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind("amq.rabbitmq.trace", "#")
        seen = Firehose()
        await queue.consume(seen.keep, no_ack=True)
        yield seen


async def test_the_firehose_sees_no_token(tmp_path: Path, server_pool: Pool, vhost: str) -> None:
    own = Ed25519PrivateKey.generate()
    file = tmp_path / "agent.pem"
    file.write_bytes(own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    async with firehose(server_pool, vhost) as seen, serving(tmp_path, vhost) as desk:
        await desk.grant(cached=False)
        desk.refresher = desk.rotate
        await desk.put(replace(desk.token(1), value=Secret(ACCESS_TOKEN)))
        identity = desk.identity(key=agent_key.thumbprint(own.public_key()))
        vault_token = mint(KEYS, identity, vault=VAULT)
        async with Vault(vhost, vault_token, key=file) as vault:
            token = await vault.token("time-tracker", purpose="canary-purpose")
            with pytest.raises(InsufficientScope):
                await vault.token("time-tracker", scopes=["canary-scope"])
            await vault.rejected(token)
            renewed = await _renewed(vault)
            assert (await vault.token("time-tracker", min_ttl=9)).value == "token-2"
        await seen.until_delivered({Kind.OPENING, Kind.REQUEST, Kind.KEYSET, Kind.OPENED, Kind.REPLIES})
        assert token.value == ACCESS_TOKEN
        canaries = [ACCESS_TOKEN, "canary-scope", "canary-purpose", "time-tracker", "token-2"]
        for jwt in (vault_token, renewed):
            # In whole, and each part of it: none is of use to a thief, and none is there.
            canaries += [jwt, *jwt.split(".")]
        found = [canary for canary in canaries if canary.encode() in seen.text]
        assert found == []
        assert not re.search(rb"eyJ[A-Za-z0-9_-]{10}", seen.text)
        published = [m for m in seen.messages if (m.routing_key or "").startswith("publish.")]
        assert len(published) > 8


async def _renewed(vault: Vault) -> str:
    holder: Any = vault._holder
    answer = await holder._asking.ask(RenewCall(), deadline=asyncio.get_running_loop().time() + 30)
    assert answer.reply.access_token
    return str(answer.reply.access_token)
