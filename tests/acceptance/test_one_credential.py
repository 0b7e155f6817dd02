"""An agent holds one credential: its vault token, and RabbitMQ takes it too.

RabbitMQ runs with what `dispenser init` wrote for it, everything goes over TLS for which a private authority
vouches, and each process has its own role's accounts.
"""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import aio_pika
import pytest
from acceptance.declared import declared
from acceptance.installation import Installation
from acceptance.secured import Secured, broker_files
from aio_pika.exceptions import ProbableAuthenticationError
from aiormq.exceptions import ChannelAccessRefused

from dispenser import Unauthenticated, Vault
from dispenser.broker_configuration import FOLDER
from dispenser.client.amqp import AmqpTransport
from dispenser.client.credential import read
from dispenser.client.errors import Misconfigured
from dispenser.testing.behaviour import Behaviour
from dispenser.testing.emulator import Emulator
from shared.topology import RPC_QUEUE, URGENT_QUEUE

PATIENCE_SECONDS = 60.0
SHORT_LIFE = "20s"


@pytest.fixture(scope="module")
def scene(secured: Secured) -> Iterator[Secured]:
    with Emulator(Behaviour(access_token_seconds=3600)) as provider:
        _begin(secured.vault, provider)
        yield secured


def _begin(vault: Installation, provider: Emulator) -> None:
    vault.declare(
        declared(
            authorization_url=provider.authorization_url,
            token_url=provider.token_url,
            client_id=provider.client_id,
        ),
        PROVIDER_SECRET=provider.client_secret,
    )
    for worker in ("refresher", "scheduler", "janitor"):
        vault.start("work", worker)
    vault.start("serve")
    vault.start("gateway", "--port", str(vault.gateway_port))
    for service, scope in (("time-tracker", "tasks:write"), ("slack-post", "chat:write")):
        token = provider.issue_refresh_token("ada", (scope,))
        vault.done("grant", "import", service, "--owner", "ada", stdin=token)


async def test_a_vault_token_is_all_that_an_agent_needs(scene: Secured) -> None:
    text = scene.vault.agent_token("tracker", "ada", ttl=SHORT_LIFE)
    token = read(text)
    async with Vault(scene.url(), text) as vault:
        assert (await vault.token("time-tracker")).value
        connection = _transport(vault)._link.result()._connection  # whose password it is

        # Renewed on the living connection: past its token's end RabbitMQ would open no more channels on it.
        await asyncio.sleep(token.expires_at + 1 - datetime.now(UTC).timestamp())
        assert (await vault.token("slack-post")).value
        assert _transport(vault)._link.result()._connection is connection
        await (await connection.channel()).close()
        renewed = _transport(vault)._credential
        assert (renewed.agent, renewed.text == text) == ("tracker", False)
        with pytest.raises(ProbableAuthenticationError):
            await aio_pika.connect(scene.url("tracker", text), ssl_context=_ssl(vault))

        # Its requests and its replies, and nobody else's.
        async with await aio_pika.connect(scene.url("tracker", renewed.text), ssl_context=_ssl(vault)) as own:
            for queue in (RPC_QUEUE, URGENT_QUEUE):
                channel = await own.channel()
                with pytest.raises(ChannelAccessRefused):
                    await (await channel.get_queue(queue)).consume(print)
            channel = await own.channel()
            with pytest.raises(ChannelAccessRefused):
                await channel.declare_queue(f"vault.reply.summarizer.{'0' * 32}", exclusive=True)

        # After its revocation: nothing, on this connection or on another.
        scene.vault.done("agent", "revoke", "tracker")
        with pytest.raises(Unauthenticated):
            await vault.token("calendar-read")
    async with Vault(scene.url(), renewed.text) as again:
        with pytest.raises(Unauthenticated):
            await again.token("time-tracker")


async def test_another_agents_vault_token_is_worth_nothing(scene: Secured) -> None:
    stolen = scene.vault.agent_token("summarizer", "ada")
    thief = scene.vault.agent_token("intern", "eve")
    async with Vault(scene.url("intern", thief), stolen) as vault:
        with pytest.raises(Unauthenticated, match="another agent"):
            await vault.token("time-tracker")
    [record] = await _records(scene, "request.refused")
    assert (record["agent"], record["outcome"]) == ("summarizer", "unauthenticated")
    assert "'intern'" in record["reason"]


async def test_a_new_signing_key_reaches_rabbitmq_before_it_signs(scene: Secured) -> None:
    before = scene.vault.agent_token("summarizer", "ada")
    [key] = scene.vault.shown("keys", "rotate", "signing", "--lead", "15s")
    scene.vault.export_keys()
    conf, files = broker_files(scene.vault.home)
    scene.broker.give(files, conf)
    scene.broker.control("add_uaa_key", key["id"], f"--pem-file={FOLDER}/{key['id']}.pem")
    current_from = datetime.fromisoformat(key["current_from"])
    await asyncio.sleep((current_from - datetime.now(UTC)).total_seconds() + 1)
    after = scene.vault.agent_token("summarizer", "ada")
    for token in (before, after):
        async with Vault(scene.url(), token) as vault:
            assert (await vault.token("time-tracker")).value


async def test_a_broker_that_nobody_vouches_for_is_told_nothing(
    scene: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = scene.vault.agent_token("summarizer", "ada")
    monkeypatch.delenv("VAULT_CA_FILE")
    async with Vault(scene.url(), token) as vault:
        with pytest.raises(Misconfigured, match="VAULT_CA_FILE"):
            await vault.token("time-tracker")
    ended = scene.vault.cli("status", DISPENSER_CA_FILE="")
    assert ended.returncode != 0
    assert "DISPENSER_CA_FILE" in ended.stdout + ended.stderr


def _transport(vault: Vault) -> AmqpTransport:
    transport = vault._holder._asking._transport
    assert isinstance(transport, AmqpTransport)
    return transport


def _ssl(vault: Vault) -> object:
    return vault._door.authority


async def _records(scene: Secured, action: str) -> list[dict[str, str]]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            records = scene.vault.shown("audit", "--limit", "1000")
            if found := [record for record in records if record["action"] == action]:
                return found
            await asyncio.sleep(0.2)
