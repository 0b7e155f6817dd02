"""The vault token is the agent's password at a RabbitMQ that checks it, on this connection and the next."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import aio_pika
import pytest
from aio_pika.exceptions import ProbableAuthenticationError
from aiormq.exceptions import ChannelAccessRefused, ChannelPreconditionFailed
from integration.echo_dispenser import echo_dispenser, granted
from integration.line import Line
from services.server import Server

from dispenser import Unauthenticated, Vault
from dispenser.broker_configuration import CONFIGURATION_FILE, FOLDER
from dispenser.protocol import Call, Code, RenewCall, Reply
from dispenser.vault_token import Identity, mint
from dispenser.wiring import broker_files
from shared import keyring
from shared.adapters.amqp_bus import AmqpBus
from shared.keyring import Keyring
from shared.model import AgentName, Owner, SessionId
from shared.topology import EVENTS_EXCHANGE, RPC_EXCHANGE, RPC_KEY, RPC_QUEUE, URGENT_QUEUE

Attempt = Callable[[aio_pika.abc.AbstractChannel], Awaitable[None]]


@dataclass(frozen=True)
class Broker:
    """A RabbitMQ that takes vault tokens signed with `keys`, and has the user `guest` too."""

    server: Server
    keys: Keyring

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def url_without_user(self) -> str:
        return urlsplit(self.url)._replace(netloc=self.url.rpartition("@")[2].rstrip("/")).geturl()


def vault_token(keys: Keyring, *, expires_at: float, issued_at: float = 0.0) -> str:
    identity = Identity(
        agent=AgentName("tracker"),
        session=SessionId("s"),
        owner=Owner("ada"),
        token_id="1",
        issued_at=datetime.fromtimestamp(issued_at or time.time(), UTC),
        expires_at=datetime.fromtimestamp(expires_at, UTC),
    )
    return mint(keys, identity, vault="vault")


@pytest.fixture
def token_broker(private_broker: Callable[..., Server], tmp_path: Path) -> Broker:
    """With the files that `dispenser init` writes."""
    keys = keyring.parse(json.dumps(keyring.generate()))
    conf, files = broker_files_of(tmp_path, keys)
    server = private_broker(plugins=["rabbitmq_auth_backend_oauth2"], conf=conf, files=files)
    return Broker(server, keys)


def broker_files_of(home: Path, keys: Keyring) -> tuple[str, dict[str, str]]:
    """The configuration, and the files that it names by their paths on the broker's machine."""
    written = {path.name: path.read_text() for path in broker_files.write(home, keys).iterdir()}
    conf = written.pop(CONFIGURATION_FILE)
    return conf, {f"{FOLDER}/{name}": text for name, text in written.items()}


async def test_a_renewed_vault_token_serves_the_connection_and_those_to_come(token_broker: Broker) -> None:
    now = time.time()
    ends_at = now + 4
    old = vault_token(token_broker.keys, issued_at=now - 60, expires_at=ends_at)
    new = vault_token(token_broker.keys, expires_at=now + 900)

    def answer(call: Call) -> Reply:
        return Reply(code=Code.OK, access_token=new) if isinstance(call, RenewCall) else granted(call)

    line = Line(token_broker.url_without_user, default_port=5672)
    await line.lay()
    [signer] = token_broker.keys.signing_private.values()
    async with echo_dispenser(token_broker.url, signer=signer) as dispenser, Vault(line.url, old) as vault:
        dispenser.answer = answer
        await vault.token("before-the-end")
        await asyncio.sleep(ends_at + 1 - time.time())
        await vault.token("after-the-end")
        await line.cut()
        await line.lay()
        await vault.token("on-a-new-connection")
    await line.cut()
    assert [opening.vault_token for opening in dispenser.openings] == [old, new, new]
    assert {message.user_id for message in dispenser.messages} == {"tracker"}
    renewal, before, after, anew = (message.reply_to for message in dispenser.messages)
    assert renewal == before == after != anew


async def test_a_vault_token_of_another_vault_is_refused_at_once(token_broker: Broker) -> None:
    forged = vault_token(keyring.parse(json.dumps(keyring.generate())), expires_at=time.time() + 900)
    async with Vault(token_broker.url_without_user, forged) as vault, asyncio.timeout(30):
        with pytest.raises(Unauthenticated, match="refused the login"):
            await vault.token("slack-post", deadline=60)


async def _may(connection: aio_pika.abc.AbstractConnection, attempt: Attempt) -> bool:
    channel = await connection.channel()
    try:
        await attempt(channel)
    except ChannelAccessRefused:
        return False
    await channel.close()
    return True


def declares(name: str) -> Attempt:
    async def attempt(channel: aio_pika.abc.AbstractChannel) -> None:
        await (await channel.declare_queue(name, exclusive=True)).consume(_ignore, no_ack=True)

    return attempt


def consumes(name: str) -> Attempt:
    async def attempt(channel: aio_pika.abc.AbstractChannel) -> None:
        await (await channel.get_queue(name)).consume(_ignore, no_ack=True)

    return attempt


def publishes(exchange: str, key: str) -> Attempt:
    async def attempt(channel: aio_pika.abc.AbstractChannel) -> None:
        to = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
        await to.publish(aio_pika.Message(b""), key, mandatory=False)

    return attempt


def binds(queue: str, exchange: str) -> Attempt:
    async def attempt(channel: aio_pika.abc.AbstractChannel) -> None:
        await (await channel.declare_queue(queue, exclusive=True)).bind(exchange, "#")

    return attempt


async def _ignore(_message: aio_pika.abc.AbstractIncomingMessage) -> None:
    """Whatever comes."""


async def _declare_topology(broker: Broker) -> None:
    bus = AmqpBus(broker.url, name="operator")
    await bus.start()
    await bus.declare()
    await bus.close()


async def test_an_agent_has_its_requests_and_its_replies_and_nothing_else(token_broker: Broker) -> None:
    await _declare_topology(token_broker)
    token = vault_token(token_broker.keys, expires_at=time.time() + 900)
    url = token_broker.url_without_user.replace("://", f"://tracker:{token}@")
    async with await aio_pika.connect(url) as connection:
        allowed = {"declares its reply queue": declares("vault.reply.tracker.1")}
        allowed |= {"asks": publishes(RPC_EXCHANGE, RPC_KEY)}
        refused = {
            "declares another agent's": declares("vault.reply.intern.1"),
            "declares one of an agent whose name begins as its own": declares("vault.reply.trackers.1"),
            "declares any other": declares("vault.rpc.mine"),
            "takes requests": consumes(RPC_QUEUE),
            "takes expiry events": consumes(URGENT_QUEUE),
            "writes to any queue": publishes("", RPC_QUEUE),
            "writes events": publishes(EVENTS_EXCHANGE, "credential.refreshed"),
            "asks for refreshes": publishes("vault.refresh", "urgent"),
            "hears events": binds("vault.reply.tracker.2", EVENTS_EXCHANGE),
            "hears requests": binds("vault.reply.tracker.3", RPC_EXCHANGE),
        }
        may = {name for name, attempt in (allowed | refused).items() if await _may(connection, attempt)}
        assert may == set(allowed)


async def test_an_agent_cannot_pass_for_another(token_broker: Broker) -> None:
    await _declare_topology(token_broker)
    token = vault_token(token_broker.keys, expires_at=time.time() + 900)
    url = token_broker.url_without_user.replace("://", f"://intern:{token}@")
    async with await aio_pika.connect(url) as connection:
        # Whatever name it gave at login, its own is the vault token's.
        assert await _may(connection, declares("vault.reply.tracker.1"))
        assert not await _may(connection, declares("vault.reply.intern.1"))
        channel = await connection.channel()
        await channel.declare_queue("vault.reply.tracker.2", exclusive=True)
        exchange = await channel.get_exchange(RPC_EXCHANGE, ensure=False)
        with pytest.raises(ChannelPreconditionFailed, match="user_id"):
            await exchange.publish(aio_pika.Message(b"", user_id="intern"), RPC_KEY, mandatory=False)


async def test_a_rotated_signing_key_is_learned_by_a_running_broker_and_at_its_start(
    token_broker: Broker, tmp_path: Path
) -> None:
    old = vault_token(token_broker.keys, expires_at=time.time() + 900)
    newer = keyring.parse(json.dumps(keyring.generate()))
    new = vault_token(newer, expires_at=time.time() + 900)
    url = token_broker.url_without_user

    async def opens(token: str) -> bool:
        try:
            await (await aio_pika.connect(url.replace("://", f"://tracker:{token}@"))).close()
        except ProbableAuthenticationError:
            return False
        return True

    assert [await opens(token) for token in (old, new)] == [True, False]
    both = replace(token_broker.keys, signing_public=token_broker.keys.signing_public | newer.signing_public)
    conf, files = broker_files_of(tmp_path, both)
    token_broker.server.give(files, conf)
    key_id = newer.primary_id("signing")
    token_broker.server.control("add_uaa_key", key_id, f"--pem-file={FOLDER}/{key_id}.pem")
    assert [await opens(token) for token in (old, new)] == [True, True]
    token_broker.server.stop()
    token_broker.server.start()
    assert [await opens(token) for token in (old, new)] == [True, True]
    conf, files = broker_files_of(tmp_path, newer)
    token_broker.server.give(files, conf)
    token_broker.server.stop()
    token_broker.server.start()
    assert [await opens(token) for token in (old, new)] == [False, True]
