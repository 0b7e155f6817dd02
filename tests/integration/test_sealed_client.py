"""The client has a session when it needs one, and nobody on the way can answer in a dispenser's place."""

import asyncio
import time
from collections.abc import AsyncIterator

import aio_pika
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from integration.echo_dispenser import EchoDispenser, echo_dispenser, granted
from vault_jwt import vault_jwt

from dispenser import Unauthenticated, Vault, VaultError, VaultUnreachable, keyset, protocol, sealed_frame
from dispenser.client import amqp_session
from dispenser.client.errors import Misconfigured
from dispenser.keyset import PublicKey
from dispenser.protocol import Code, Reply, TokenCall
from dispenser.sealed_frame import Kind, Refused

TOKEN = vault_jwt()
FORGED = Reply(code=Code.OK, service="slack-post", access_token="forged", token_type="Bearer", generation=9)


@pytest.fixture
async def dispenser(vhost: str) -> AsyncIterator[EchoDispenser]:
    async with echo_dispenser(vhost) as listening:
        yield listening


@pytest.fixture
async def vault(vhost: str) -> AsyncIterator[Vault]:
    async with Vault(vhost, TOKEN) as opened:
        yield opened


async def test_all_that_is_asked_is_asked_in_one_session(dispenser: EchoDispenser, vault: Vault) -> None:
    await asyncio.gather(*(vault.token(f"service-{number}", purpose="p" * 4000) for number in range(6)))
    await vault.token("another")
    assert len(dispenser.messages) == 3
    assert len(dispenser.openings) == 1


async def test_no_header_tells_what_is_asked(dispenser: EchoDispenser, vault: Vault) -> None:
    await vault.token("slack-post", owner="ada")
    [message] = dispenser.messages
    assert message.correlation_id == sealed_frame.identifier(message.body)
    assert (message.headers, message.type, message.app_id) == ({}, None, None)
    assert b"slack-post" not in message.body


async def test_a_session_is_replaced_at_a_share_of_its_life(
    dispenser: EchoDispenser, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 0 < amqp_session.RENEWED_AFTER < 1
    monkeypatch.setattr(amqp_session, "RENEWED_AFTER", 0.0)
    await vault.token("one")
    await vault.token("two")
    assert len(dispenser.openings) == 2
    # The dispensers still knew the first: no message went to a session that was over.
    assert len(dispenser.messages) == len(dispenser.calls) == 2


async def test_keys_that_were_withdrawn_cost_a_call_nothing_but_time(
    dispenser: EchoDispenser, vault: Vault
) -> None:
    await vault.token("before")
    dispenser.transport.replace()
    tokens = await asyncio.gather(*(vault.token(f"service-{number}") for number in range(5)))
    assert [token.service for token in tokens] == [f"service-{number}" for number in range(5)]
    assert len(dispenser.openings) == 2
    assert len(dispenser.messages) == 2


async def test_dispensers_that_forget_every_session_at_once_are_not_asked_for_ever(
    dispenser: EchoDispenser, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispenser.forget_tickets = True
    with pytest.raises(VaultUnreachable, match="session that one of them has just opened"):
        await vault.token("slack-post", deadline=0.9)
    assert 2 <= len(dispenser.openings) < 20


async def test_dispensers_of_another_virtual_host_are_named_as_the_mistake(
    dispenser: EchoDispenser, vault: Vault
) -> None:
    dispenser.url += "-another"
    with pytest.raises(Misconfigured, match="VAULT_URL and the dispensers' DISPENSER_BROKER_URL"):
        await vault.token("slack-post", deadline=30)


async def test_dispensers_of_another_vault_are_not_trusted(vhost: str, vault: Vault) -> None:
    """As when somebody takes requests from the queue, with keys of his own."""
    async with echo_dispenser(vhost, signer=Ed25519PrivateKey.generate()) as impostor:
        with pytest.raises(Unauthenticated, match="not signed by the vault"):
            await vault.token("slack-post", deadline=30)
        assert impostor.openings == []


async def test_a_key_that_was_stolen_and_has_ended_is_not_sealed_to(vhost: str, vault: Vault) -> None:
    async with echo_dispenser(vhost) as impostor:
        ended = PublicKey(id=b"stolen!!", public=b"k" * 32, begins_at=1e9, ends_at=time.time() - 3600)
        old = keyset.encode([ended], [impostor.signer])
        impostor.sessions.keyset = lambda: old  # type: ignore[method-assign]
        with pytest.raises(Unauthenticated, match="another day"):
            await vault.token("slack-post", deadline=30)
        assert impostor.openings == []


async def test_a_dispenser_that_cannot_be_understood_says_which_side_is_older(
    dispenser: EchoDispenser, vault: Vault
) -> None:
    dispenser.refuses = Refused.MALFORMED
    with pytest.raises(VaultError, match="upgrade the older"):
        await vault.token("slack-post", deadline=30)


async def forge(dispenser: EchoDispenser, bodies: list[bytes], times: int) -> None:
    """As whoever sees all that passes at the broker, and may publish to any queue."""
    [message] = dispenser.messages
    assert message.reply_to is not None
    forged = [aio_pika.Message(body, correlation_id=message.correlation_id) for body in bodies]
    channel = await dispenser.channel.get_underlay_channel()
    for number in range(times):
        one = forged[number % len(forged)]
        await channel.basic_publish(
            one.body, routing_key=message.reply_to, properties=one.properties, mandatory=False
        )


async def test_twenty_thousand_forged_replies_are_passed_over(dispenser: EchoDispenser, vault: Vault) -> None:
    dispenser.open.clear()
    waiting = asyncio.create_task(vault.token("slack-post", deadline=120))
    await dispenser.until(lambda seen: len(seen.messages) == 1)
    [message] = dispenser.messages
    plain = protocol.encode_replies([(0, FORGED)])
    genuine = dispenser.sealed(message, [(0, granted(TokenCall(service="slack-post")))])
    session = dispenser.sessions.of(sealed_frame.read_request(message.body).ticket)
    other_request = session.sealed.seal_answer(Kind.REPLIES, "0" * 32, plain, b"n" * 12)
    other_kind = session.sealed.seal_answer(Kind.OPENED, str(message.correlation_id), plain, b"n" * 12)
    forged = [
        plain,
        b"",
        b"\1\6" + plain,
        b"\1\4" + plain,
        message.body,
        other_request,
        other_kind,
        genuine[:-1],
        genuine[:-1] + bytes((genuine[-1] ^ 1,)),
        dispenser.sessions.keyset(),
    ]
    await forge(dispenser, forged, 20_000)
    dispenser.open.set()
    token = await waiting
    assert token.value == "token-for-slack-post"


async def test_a_forged_refusal_costs_one_session_and_no_token(
    dispenser: EchoDispenser, vault: Vault
) -> None:
    dispenser.open.clear()
    waiting = asyncio.create_task(vault.token("slack-post", deadline=60))
    await dispenser.until(lambda seen: len(seen.messages) == 1)
    await forge(dispenser, [sealed_frame.refusal(Refused.UNKNOWN_TICKET)], 100)
    await dispenser.until(lambda seen: len(seen.messages) == 2)
    dispenser.open.set()
    assert (await waiting).value == "token-for-slack-post"
    assert len(dispenser.openings) == 2


async def test_a_reply_repeated_by_somebody_changes_nothing(dispenser: EchoDispenser, vault: Vault) -> None:
    dispenser.open.clear()
    waiting = asyncio.gather(vault.token("one"), vault.token("two"))
    await dispenser.until(lambda seen: len(seen.calls) == 2)
    [message] = dispenser.messages
    first = dispenser.sealed(message, [(0, granted(TokenCall(service="one")))])
    for _ in range(3):
        await dispenser.send(message, first)
    dispenser.open.set()
    assert [token.value for token in await waiting] == ["token-for-one", "token-for-two"]
