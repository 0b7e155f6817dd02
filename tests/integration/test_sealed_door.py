"""Nobody but the agent itself can ask in its session, and nobody but a dispenser can answer in it."""

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import aio_pika
import msgpack
import pytest
from builders import an_agent
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from integration.desk import Desk
from integration.door_agent import Agent, connected, serving

from dispenser import agent_key, sealed_frame
from dispenser.door_amqp import ALTERED, STOLEN, UNTIMELY
from dispenser.protocol import Code, Reply, TokenCall
from dispenser.revoke import revoke_subject
from dispenser.sealed_frame import Kind, Refused
from shared.adapters.amqp_bus import AmqpBus
from shared.model import RevocationKind
from shared.topology import RPC_EXCHANGE, RPC_KEY

CALL = TokenCall(service="time-tracker")


@pytest.fixture
async def desk(tmp_path: Path, vhost: str) -> AsyncIterator[Desk]:
    async with serving(tmp_path, vhost) as desk:
        await desk.grant()
        yield desk


@pytest.fixture
async def agent(desk: Desk, vhost: str) -> AsyncIterator[Agent]:
    async with connected(desk, vhost) as agent:
        yield agent


def refusals(desk: Desk) -> list[str]:
    """Why requests were refused, as the audit has it."""
    return [record.reason for record in desk.journal.records if record.action == "request.refused"]


async def test_a_repeated_request_is_answered_again(desk: Desk, agent: Agent) -> None:
    """As when a dispenser dies before it acknowledges, or an agent has not heard the answer."""
    body = agent.request(await agent.opened(), CALL)
    for _ in range(3):
        await agent.send(body)
    answers = [await agent.answered() for _ in range(3)]
    assert {reply.access_token for [(_, reply)] in answers} == {"token-1"}
    assert {record.request_id for record in desk.journal.records} == {sealed_frame.identifier(body)}


async def test_a_repeated_opening_opens_the_same_session_for_the_same_agent(desk: Desk, agent: Agent) -> None:
    session, body = await agent.opening(agent.token())
    session.hear(await agent.exchanged(body))
    session.hear(await agent.exchanged(body))
    await agent.send(agent.request(session, CALL))
    [(_, reply)] = await agent.answered()
    assert reply.code is Code.OK


async def test_one_id_with_another_content_is_refused_and_in_the_audit(desk: Desk, agent: Agent) -> None:
    session = await agent.opened()
    one, other = agent.request(session, CALL), agent.request(session, replace(CALL, min_ttl=60.0))
    await agent.send(one)
    await agent.answered()
    assert await agent.refused(other, correlation_id=sealed_frame.identifier(one)) is Refused.WRONG_ID
    [reason] = refusals(desk)
    assert reason.startswith(ALTERED)
    assert "'guest'" in reason


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4, 12, 30, 60, -30, -17, -16, -1])
async def test_an_altered_request_gets_nothing(desk: Desk, agent: Agent, at: int) -> None:
    body = bytearray(agent.request(await agent.opened(), CALL))
    body[at] ^= 1
    assert await agent.refused(bytes(body)) in {
        Refused.MALFORMED,
        Refused.UNKNOWN_TICKET,
        Refused.UNOPENED,
        Refused.UNKNOWN_KEY,
    }
    assert [record for record in desk.journal.records if record.action == "token.dispensed"] == []


async def test_what_was_altered_under_its_seal_is_in_the_audit(desk: Desk, agent: Agent) -> None:
    body = agent.request(await agent.opened(), CALL)
    assert await agent.refused(body[:-1] + bytes((body[-1] ^ 1,))) is Refused.UNOPENED
    [reason] = refusals(desk)
    assert reason.startswith(ALTERED)


async def test_a_request_that_somebody_copied_opens_on_no_other_connection(
    desk: Desk, agent: Agent, vhost: str
) -> None:
    session, opening = await agent.opening(agent.token())
    session.hear(await agent.exchanged(opening))
    request = agent.request(session, CALL)
    async with connected(desk, vhost) as thief:
        assert await thief.refused(request) is Refused.UNOPENED
        assert await thief.refused(opening) is Refused.UNOPENED
    assert len(refusals(desk)) == 2


async def test_a_request_repeated_late_gets_nothing_and_is_in_the_audit(desk: Desk, agent: Agent) -> None:
    session = await agent.opened()
    await agent.send(agent.request(session, CALL, age_seconds=600))
    [(_, reply)] = await agent.answered()
    assert (reply.code, reply.access_token) == (Code.UNAUTHENTICATED, None)
    late, body = await agent.opening(agent.token(), age_seconds=600)
    refusal = late.hear(await agent.exchanged(body))
    assert isinstance(refusal, Reply)
    assert refusal.code is Code.UNAUTHENTICATED
    assert [reason.startswith(UNTIMELY) for reason in refusals(desk)] == [True, True]


async def test_an_agent_whose_clock_is_wrong_is_told_so(desk: Desk, agent: Agent) -> None:
    session, body = await agent.opening(agent.token(), age_seconds=-300)
    refusal = session.hear(await agent.exchanged(body))
    assert isinstance(refusal, Reply)
    assert "clock" in refusal.reason


async def test_a_session_that_is_over_is_told_so(desk: Desk, agent: Agent) -> None:
    session = await agent.opened()
    desk.time += timedelta(minutes=15)
    assert await agent.refused(agent.request(session, CALL)) is Refused.UNKNOWN_TICKET
    assert refusals(desk) == []


async def test_an_opening_to_a_key_that_was_withdrawn_is_told_so(desk: Desk, agent: Agent) -> None:
    _, body = await agent.opening(agent.token())
    await desk.withdraw_transport_keys()
    await desk.transport.look()
    assert await agent.refused(body) is Refused.UNKNOWN_KEY


async def test_a_vault_token_that_is_not_sealed_is_not_taken(desk: Desk, agent: Agent) -> None:
    """There is no way to ask without a session, so nothing can be talked down to one."""
    plain = {"v": 1, "id": "r", "token": agent.token(), "deadline": 5.0}
    plain["calls"] = [{"op": "token", "service": "time-tracker"}]
    for body in (msgpack.packb(plain), b"\1\5" + msgpack.packb(plain), b"\1\3" + msgpack.packb(plain)):
        assert await agent.refused(body) in {Refused.MALFORMED, Refused.UNKNOWN_KEY, Refused.UNKNOWN_TICKET}
    assert desk.journal.records == []


async def test_a_request_that_makes_no_sense_is_told_so_under_seal(desk: Desk, agent: Agent) -> None:
    session = await agent.opened()
    body = session.request_of(msgpack.packb({"v": 1, "sent_at": time.time(), "deadline": 1.0, "calls": 7}))
    answer = await agent.exchanged(body)
    replies = dict(session.replies(sealed_frame.identifier(body), answer))
    assert {reply.code for reply in replies.values()} == {Code.INVALID_REQUEST}


@pytest.mark.parametrize("proves", ["its own key", "another key", "none"])
async def test_a_bound_vault_token_opens_a_session_for_the_holder_of_its_key_alone(
    desk: Desk, agent: Agent, proves: str
) -> None:
    own = Ed25519PrivateKey.generate()
    token = agent.token(key=agent_key.thumbprint(own.public_key()))
    key = {"its own key": own, "another key": Ed25519PrivateKey.generate(), "none": None}[proves]
    session, body = await agent.opening(token, key)
    answer = session.hear(await agent.exchanged(body))
    if proves != "its own key":
        assert isinstance(answer, Reply)
        assert answer.code is Code.UNAUTHENTICATED
        assert len(refusals(desk)) == 1
        return
    await agent.send(agent.request(session, CALL))
    [(_, reply)] = await agent.answered()
    assert reply.code is Code.OK


async def test_a_session_serves_its_own_agents_connection_alone(desk: Desk, agent: Agent) -> None:
    """A plain user of the broker becomes an agent's namesake: whom it may speak for is asked each time."""
    session = await agent.opened()
    await desk.declare(agents=[an_agent("tracker"), an_agent("guest")])
    await desk.look()
    await agent.send(agent.request(session, CALL))
    [(_, reply)] = await agent.answered()
    assert reply.code is Code.UNAUTHENTICATED
    [reason] = refusals(desk)
    assert reason.startswith(STOLEN)


@pytest.mark.parametrize("kind", [RevocationKind.SESSION, RevocationKind.AGENT, RevocationKind.ALL])
async def test_a_revocation_ends_an_open_session_at_its_next_request(
    desk: Desk, agent: Agent, kind: RevocationKind
) -> None:
    """Its ticket is good for a while yet: what it says of the agent is asked about each time."""
    session = await agent.opened()
    subject = {RevocationKind.SESSION: "session-1", RevocationKind.AGENT: "tracker", RevocationKind.ALL: ""}
    await revoke_subject(desk.store, desk.cache, kind, subject[kind], desk.time + timedelta(seconds=1))
    await agent.send(agent.request(session, CALL))
    [(_, reply)] = await agent.answered()
    assert (reply.code, reply.access_token) == (Code.UNAUTHENTICATED, None)


async def test_a_dispenser_that_goes_leaves_its_sessions_to_the_others(tmp_path: Path, vhost: str) -> None:
    """The other knows nothing but the database: no session sticks to a process."""
    async with serving(tmp_path, vhost) as desk, connected(desk, vhost) as agent:
        await desk.grant()
        session = await agent.opened()
        await desk.agents_bus.close()
        other = AmqpBus(vhost, name="other")
        await other.start()
        _, sessions = await desk.process()
        await desk.door(other, vhost, sessions).open()
        await agent.send(agent.request(session, CALL))
        [(_, reply)] = await agent.answered()
        assert reply.code is Code.OK
        await other.close()


async def test_messages_that_only_dispensers_send_are_not_taken_from_agents(desk: Desk, agent: Agent) -> None:
    for kind in (Kind.KEYSET, Kind.OPENED, Kind.REPLIES, Kind.REFUSAL):
        assert await agent.refused(sealed_frame.header(kind) + bytes(64)) is Refused.MALFORMED


async def test_a_flood_of_garbage_does_not_stop_the_door(desk: Desk, agent: Agent, vhost: str) -> None:
    body = agent.request(await agent.opened(), CALL)
    async with await aio_pika.connect(vhost) as rogue:
        channel = await rogue.channel(publisher_confirms=False)
        exchange = await channel.get_exchange(RPC_EXCHANGE, ensure=False)
        for number in range(2000):
            garbage = bytes((1, number % 9)) + body[2 : 2 + number % 400]
            message = aio_pika.Message(
                garbage,
                user_id="guest",
                reply_to=f"vault.reply.guest.{'0' * 32}",
                correlation_id=sealed_frame.identifier(garbage),
            )
            await exchange.publish(message, RPC_KEY)
    await agent.send(body)
    [(_, reply)] = await agent.answered()
    assert reply.code is Code.OK
