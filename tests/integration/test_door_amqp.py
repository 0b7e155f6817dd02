"""The AMQP door on a real broker: honest agents are answered, and nobody else."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage
from builders import KEYS, OTHER_KEYS, VAULT, a_vault_token
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from integration.desk import Desk
from sealed_agent import PLACE, SealedAgent

from dispenser import Denied, Unauthenticated, Vault, keyset, sealed_frame
from dispenser.opening import Opened
from dispenser.place import Place, vhost_of
from dispenser.protocol import MAX_CALLS, RPC_QUEUE, Call, Code, Reply, TokenCall
from dispenser.sealed_frame import MAX_BODY_BYTES, Kind, Refused
from dispenser.vault_token import mint
from shared.adapters.amqp_bus import AmqpBus
from shared.model import AgentName
from shared.ports import Bus, Delivery
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

    def __init__(self, connection: aio_pika.abc.AbstractConnection, desk: Desk, vhost: str) -> None:
        self._connection = connection
        self._desk = desk
        self._answers: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        self._place = Place(
            vhost=vhost_of(vhost),
            queue=RPC_QUEUE,
            user="guest",
            reply_to=f"vault.reply.guest.{secrets.token_hex(16)}",
        )
        self._sessions: dict[str, SealedAgent] = {}

    async def open(self) -> None:
        self._channel = await self._connection.channel()
        queue = await self._channel.declare_queue(self._place.reply_to, exclusive=True, auto_delete=True)
        await queue.consume(self._answers.put, no_ack=True)

    def token(self, **changes: Any) -> str:
        return mint(KEYS, self._desk.identity(**changes), vault=VAULT)

    async def opened(self, token: str, key: Ed25519PrivateKey | None = None) -> SealedAgent:
        """A session, opened as the broker carries it."""
        session = SealedAgent(self._place, key)
        [to, *_] = self.keyset(token, await self.exchanged(sealed_frame.header(Kind.KEYSET_REQUEST)))
        session.hear(await self.exchanged(session.opening(token, to, sent_at=time.time())))
        return session

    def keyset(self, token: str, body: bytes) -> tuple[keyset.PublicKey, ...]:
        return keyset.verified(body, token, self._desk.time.timestamp())

    async def body(self, *calls: Call, token: str | None = None) -> bytes:
        session = await self.opened(token or self.token())
        body = session.request(*calls, sent_at=time.time())
        self._sessions[sealed_frame.identifier(body)] = session
        return body

    async def send(self, body: bytes, **changes: Any) -> None:
        properties = {
            "reply_to": self._place.reply_to,
            "correlation_id": sealed_frame.identifier(body),
            "user_id": "guest",
            "expiration": 5,
        }
        exchange = await self._channel.get_exchange(RPC_EXCHANGE, ensure=False)
        await exchange.publish(aio_pika.Message(body, **properties | changes), RPC_KEY)

    async def exchanged(self, body: bytes, **changes: Any) -> bytes:
        """What comes back for a message."""
        await self.send(body, **changes)
        return (await self._answer()).body

    async def refused(self, body: bytes, **changes: Any) -> Refused | None:
        """Why a message was not opened."""
        answer = await self.exchanged(body, **changes)
        assert sealed_frame.kind(answer) is Kind.REFUSAL
        return sealed_frame.read_refusal(answer)

    async def answered(self) -> list[tuple[int, Reply]]:
        answer = await self._answer()
        asked = str(answer.correlation_id)
        return self._sessions[asked].replies(asked, answer.body)

    async def _answer(self) -> AbstractIncomingMessage:
        return await asyncio.wait_for(self._answers.get(), PATIENCE_SECONDS)


@pytest.fixture
async def desk(tmp_path: Path, vhost: str) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    await desk.open()
    bus = AmqpBus(vhost, name="test")
    await bus.start()
    await bus.declare()
    await desk.door(bus, vhost).open()
    yield desk
    await bus.close()
    await desk.close()


@pytest.fixture
async def agent(desk: Desk, vhost: str) -> AsyncIterator[Agent]:
    connection = await aio_pika.connect(vhost)
    agent = Agent(connection, desk, vhost)
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
        await agent.body(
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
    assert await agent.refused(body) is Refused.MALFORMED
    await agent.send(await agent.body(TokenCall(service="time-tracker")))
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
    await agent.send(await agent.body(TokenCall(service="time-tracker")), **changes)
    await agent.send(await agent.body(TokenCall(service="nothing")))
    [(_, reply)] = await agent.answered()
    assert reply.code is Code.NOT_FOUND
    refused, answered = desk.journal.records[asked:]
    assert (refused.action, refused.outcome, refused.agent) == ("request.refused", "unauthenticated", "")
    assert repr(changes.get("user_id", "guest") or "nobody").strip("'") in refused.reason
    assert answered.service == "nothing"
    assert desk.urgent == []


class Replies:
    """Takes what the door answers."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []

    async def reply(self, reply_to: str, correlation_id: str, body: bytes, expiration_seconds: float) -> None:
        self.sent.append((reply_to, body))


async def heard(desk: Desk, sender: str, token: str) -> Opened | Reply:
    """What a RabbitMQ user is answered who presents a vault token."""
    replies = Replies()
    place = replace(PLACE, user=sender, reply_to=f"vault.reply.{sender}.{'0' * 32}")
    agent = SealedAgent(place)
    door = desk.door(cast(Bus, replies), "amqp://broker/")
    [to, *_] = keyset.verified(desk.sessions.keyset(), token, desk.time.timestamp())
    body = agent.opening(token, to, sent_at=time.time())
    delivery = Delivery(
        body=body,
        headers={},
        routing_key=RPC_KEY,
        correlation_id=sealed_frame.identifier(body),
        reply_to=place.reply_to,
        user_id=sender,
        expiration_seconds=5,
        redelivered=False,
    )
    await door.handle(delivery)
    [(reply_to, answer)] = replies.sent
    assert reply_to == delivery.reply_to
    return agent.hear(answer)


@pytest.mark.parametrize("sender", ["tracker", "a-plain-user"])
async def test_an_agent_and_a_plain_user_of_the_broker_are_heard(tmp_path: Path, sender: str) -> None:
    desk = Desk(tmp_path)
    await desk.open()
    await desk.grant()
    assert isinstance(await heard(desk, sender, mint(KEYS, desk.identity(), vault=VAULT)), Opened)
    await desk.close()


async def test_a_vault_token_on_another_agents_connection_gets_nothing_and_is_in_the_audit(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path)
    await desk.open()
    await desk.grant()
    reply = await heard(desk, "intern", mint(KEYS, desk.identity(), vault=VAULT))
    assert isinstance(reply, Reply)
    assert (reply.code, reply.access_token) == (Code.UNAUTHENTICATED, None)
    assert "another agent's" in reply.reason
    [record] = desk.journal.records
    assert (record.action, record.agent, record.owner) == ("request.refused", "tracker", "ada")
    assert "'intern'" in record.reason
    desk.journal.broken = True
    reply = await heard(desk, "intern", mint(KEYS, desk.identity(), vault=VAULT))
    assert isinstance(reply, Reply)
    assert reply.code is Code.UNAUTHENTICATED
    await desk.close()


async def test_replies_that_outgrow_a_frame_come_in_several(desk: Desk, agent: Agent) -> None:
    long = replace(desk.token(1), value="t" * 8000)
    await desk.grant(cached=False)
    await desk.put(long)
    await agent.send(await agent.body(*[TokenCall(service="time-tracker")] * MAX_CALLS))
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
        await agent.send(await agent.body(TokenCall(service="time-tracker")))
        [(_, reply)] = await agent.answered()
    assert reply.code is Code.OVERLOADED
    await agent.send(await agent.body(TokenCall(service="time-tracker")))
    [(_, reply)] = await agent.answered()
    assert reply.code is Code.OK


async def test_an_agent_without_rights_is_denied_whatever_it_asks(desk: Desk, agent: Agent) -> None:
    await desk.grant()
    token = agent.token(agent=AgentName("intern"))
    calls = (TokenCall(service="time-tracker"), TokenCall(service="nothing"))
    await agent.send(await agent.body(*calls, token=token))
    replies: dict[int, Reply] = {}
    while len(replies) < 2:
        replies |= dict(await agent.answered())
    assert {reply.code for reply in replies.values()} == {Code.DENIED}
