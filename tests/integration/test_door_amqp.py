"""The AMQP door on a real broker: honest agents are answered, and nobody else."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from builders import KEYS, OTHER_KEYS, VAULT, a_vault_token
from integration.desk import Desk

from dispenser import Denied, Unauthenticated, Vault
from dispenser.door_amqp import AmqpDoor
from dispenser.protocol import (
    MAX_BODY_BYTES,
    MAX_CALLS,
    Call,
    Code,
    Reply,
    Request,
    TokenCall,
    decode_replies,
    encode_request,
)
from dispenser.vault_token import mint
from shared.adapters.amqp_bus import AmqpBus
from shared.model import AgentName
from shared.topology import RPC_EXCHANGE, RPC_KEY

#: Far more than any answer takes: a reply that never comes is a failure, not a wait for ever.
PATIENCE_SECONDS = 30.0
#: Empty, no msgpack, no frame, a length that lies, a nest, and too much.
GARBAGE = [
    b"",
    b"\xc1",
    b"\x80",
    b"garbage",
    b"\xdf\xff\xff\xff\xff",
    b"\x91" * 200,
    bytes(MAX_BODY_BYTES + 1),
]


class Agent:
    """Speaks the protocol by hand, as no honest client would."""

    def __init__(self, connection: aio_pika.abc.AbstractConnection, desk: Desk) -> None:
        self._connection = connection
        self._desk = desk
        self._replies: asyncio.Queue[bytes] = asyncio.Queue()

    async def open(self) -> None:
        self._channel = await self._connection.channel()
        self.queue = await self._channel.declare_queue(
            f"vault.reply.guest.{secrets.token_hex(16)}", exclusive=True, auto_delete=True
        )
        await self.queue.consume(self._receive, no_ack=True)

    async def _receive(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        await self._replies.put(message.body)

    def token(self, **changes: Any) -> str:
        return mint(KEYS, self._desk.identity(**changes), vault=VAULT)

    def body(self, *calls: Call, token: str | None = None) -> bytes:
        request = Request(vault_token=token or self.token(), calls=calls, id="r", deadline_seconds=5)
        return encode_request(request)

    async def send(self, body: bytes, **changes: Any) -> None:
        properties = {
            "reply_to": self.queue.name,
            "correlation_id": "c",
            "user_id": "guest",
            "expiration": 5,
        }
        exchange = await self._channel.get_exchange(RPC_EXCHANGE, ensure=False)
        await exchange.publish(aio_pika.Message(body, **properties | changes), RPC_KEY)

    async def answered(self) -> list[tuple[int, Reply]]:
        return decode_replies(await asyncio.wait_for(self._replies.get(), PATIENCE_SECONDS))


@pytest.fixture
async def desk(tmp_path: Path, vhost: str) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    await desk.open()
    bus = AmqpBus(vhost, name="test")
    await bus.start()
    await bus.declare()
    await AmqpDoor(bus, desk.dispenser).open()
    yield desk
    await bus.close()
    await desk.close()


@pytest.fixture
async def agent(desk: Desk, vhost: str) -> AsyncIterator[Agent]:
    connection = await aio_pika.connect(vhost)
    agent = Agent(connection, desk)
    await agent.open()
    yield agent
    await connection.close()


async def test_the_client_library_gets_tokens_and_refusals(desk: Desk, vhost: str) -> None:
    await desk.grant()
    identity = desk.identity()
    async with Vault(vhost, mint(KEYS, identity, vault=VAULT)) as vault:
        first, second = await asyncio.gather(
            vault.token("time-tracker"), vault.token("time-tracker", min_ttl=9)
        )
        assert first.value == second.value == "token-1"
        with pytest.raises(Denied):
            await vault.token("time-tracker", owner="grace")
    async with Vault(vhost, a_vault_token(OTHER_KEYS)) as vault:
        with pytest.raises(Unauthenticated):
            await vault.token("time-tracker")


async def test_calls_of_one_message_are_answered_as_they_come_to_an_end(desk: Desk, agent: Agent) -> None:
    await desk.grant(left=30)
    gate = asyncio.Event()

    async def slowly(event: Any) -> None:
        await gate.wait()
        await desk.rotate(event)

    desk.refresher = slowly
    await agent.send(
        agent.body(
            TokenCall(service="nothing"),
            TokenCall(service="time-tracker", min_ttl=60),
            TokenCall(service="time-tracker", min_ttl=10),
        )
    )
    at_once = dict(await agent.answered())
    while len(at_once) < 2:
        at_once |= dict(await agent.answered())
    assert {index: reply.code for index, reply in at_once.items()} == {0: Code.NOT_FOUND, 2: Code.OK}
    gate.set()
    [(index, reply)] = await agent.answered()
    assert (index, reply.code, reply.access_token) == (1, Code.OK, "token-2")


@pytest.mark.parametrize("body", GARBAGE)
async def test_garbage_is_answered_and_the_next_request_too(desk: Desk, agent: Agent, body: bytes) -> None:
    await desk.grant()
    await agent.send(body)
    assert {reply.code for _, reply in await agent.answered()} == {Code.INVALID_REQUEST}
    await agent.send(agent.body(TokenCall(service="time-tracker")))
    [(_, reply)] = await agent.answered()
    assert reply.code is Code.OK


@pytest.mark.parametrize(
    "changes",
    [
        {"reply_to": "amq.rabbitmq.reply-to.abc.def"},
        {"reply_to": "vault.refresh.urgent"},
        {"reply_to": f"vault.reply.summarizer.{'0' * 32}"},
        {"reply_to": None},
        {"user_id": None},
        {"correlation_id": None},
    ],
)
async def test_a_crafted_address_gets_no_reply_and_does_no_harm(
    desk: Desk, agent: Agent, changes: dict[str, str | None]
) -> None:
    await desk.grant()
    asked = len(desk.journal.records)
    await agent.send(agent.body(TokenCall(service="time-tracker")), **changes)
    await agent.send(agent.body(TokenCall(service="nothing")))
    [(_, reply)] = await agent.answered()
    assert reply.code is Code.NOT_FOUND
    assert [record.service for record in desk.journal.records[asked:]] == ["nothing"]
    assert desk.urgent == []


async def test_replies_that_outgrow_a_frame_come_in_several(desk: Desk, agent: Agent) -> None:
    long = replace(desk.token(1), value="t" * 8000)
    await desk.grant(cached=False)
    await desk.put(long)
    await agent.send(agent.body(*[TokenCall(service="time-tracker")] * MAX_CALLS))
    replies: dict[int, Reply] = {}
    while len(replies) < MAX_CALLS:
        replies |= dict(await agent.answered())
    assert {(reply.code, reply.access_token) for reply in replies.values()} == {(Code.OK, long.value)}


async def test_a_defect_in_answering_ends_one_request_and_not_the_door(
    desk: Desk, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.grant()
    with monkeypatch.context() as broken:
        broken.setattr(desk.dispenser, "_lookup", None)
        await agent.send(agent.body(TokenCall(service="time-tracker")))
        [(_, reply)] = await agent.answered()
    assert reply.code is Code.OVERLOADED
    await agent.send(agent.body(TokenCall(service="time-tracker")))
    [(_, reply)] = await agent.answered()
    assert reply.code is Code.OK


async def test_an_agent_without_rights_is_denied_whatever_it_asks(desk: Desk, agent: Agent) -> None:
    await desk.grant()
    token = agent.token(agent=AgentName("intern"))
    await agent.send(agent.body(TokenCall(service="time-tracker"), TokenCall(service="nothing"), token=token))
    replies: dict[int, Reply] = {}
    while len(replies) < 2:
        replies |= dict(await agent.answered())
    assert {reply.code for reply in replies.values()} == {Code.DENIED}
