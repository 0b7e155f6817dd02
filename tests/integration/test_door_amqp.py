"""The AMQP door on a real broker: honest agents are answered, and nobody else."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from builders import KEYS, OTHER_KEYS, VAULT, a_vault_token
from integration.desk import Desk
from integration.door_agent import Agent, connected, serving
from sealed_agent import PLACE, SealedAgent

from dispenser import Denied, Unauthenticated, Vault, keyset, sealed_frame
from dispenser.opening import Opened
from dispenser.protocol import MAX_CALLS, Code, Reply, TokenCall
from dispenser.sealed_frame import MAX_BODY_BYTES, Refused
from dispenser.vault_token import mint
from shared.model import AgentName
from shared.ports import Bus, Delivery
from shared.secret import Secret
from shared.topology import RPC_KEY

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


@pytest.fixture
async def desk(tmp_path: Path, vhost: str) -> AsyncIterator[Desk]:
    async with serving(tmp_path, vhost) as desk:
        yield desk


@pytest.fixture
async def agent(desk: Desk, vhost: str) -> AsyncIterator[Agent]:
    async with connected(desk, vhost) as agent:
        yield agent


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
    long = replace(desk.token(1), value=Secret("t" * 8000))
    await desk.grant(cached=False)
    await desk.put(long)
    await agent.send(await agent.body(*[TokenCall(service="time-tracker")] * MAX_CALLS))
    replies: dict[int, Reply] = {}
    while len(replies) < MAX_CALLS:
        replies |= dict(await agent.answered())
    assert {(reply.code, reply.access_token) for reply in replies.values()} == {(Code.OK, "t" * 8000)}


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
