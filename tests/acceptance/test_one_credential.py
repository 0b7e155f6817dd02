"""An agent holds one credential: its vault token, and RabbitMQ takes it too.

RabbitMQ runs with what `dispenser init` wrote for it, everything goes over TLS for which a private authority
vouches, and each process has its own role's accounts.
"""

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aio_pika
import pytest
from acceptance.declared import declared
from acceptance.installation import COMMAND, Installation, admit
from aio_pika.exceptions import ProbableAuthenticationError
from aiormq.exceptions import ChannelAccessRefused
from services import postgresql
from services.authority import Authority, Certificate
from services.server import Server

from dispenser import Unauthenticated, Vault
from dispenser.broker_configuration import CONFIGURATION_FILE, FOLDER
from dispenser.client.amqp import AmqpTransport
from dispenser.client.credential import read
from dispenser.client.errors import Misconfigured
from dispenser.testing.behaviour import Behaviour
from dispenser.testing.emulator import Emulator
from shared.topology import RPC_QUEUE, URGENT_QUEUE

PATIENCE_SECONDS = 60.0
SHORT_LIFE = "20s"


@dataclass
class Scene:
    """A vault whose every connection is TLS, and the broker that its agents log in at."""

    vault: Installation
    broker: Server

    def url(self, user: str = "", password: str = "") -> str:
        """RabbitMQ's address, without a user unless there is one."""
        host = self.broker.tls_url.rpartition("@")[2].rstrip("/")
        return f"amqps://{user}:{password}@{host}" if user else f"amqps://{host}"


@pytest.fixture(scope="module")
def scene(start_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    home, authority = tmp_path_factory.mktemp("vault"), Authority()
    ca_file = home / "ca.pem"
    ca_file.write_text(authority.pem)
    tls = authority.vouch_for("localhost")
    broker = _broker_with_keys(start_server, home, tls)
    cache, server = start_server("redis", tls=tls), start_server("postgresql", tls=tls)
    database = postgresql.create_database(server.address)
    admit(broker.address, broker=broker.url, cache=cache.url, database=database)
    vault = Installation(
        home,
        broker=broker.tls_url,
        cache=cache.tls_url,
        database=database.replace("127.0.0.1", "localhost"),
    )
    vault.environment["DISPENSER_CA_FILE"] = str(ca_file)
    provider = Emulator(Behaviour(access_token_seconds=3600)).start()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("VAULT_CA_FILE", str(ca_file))
        _begin(vault, provider)
        yield Scene(vault, broker)
    vault.close()
    provider.stop()


def _broker_with_keys(start_server: Callable[..., Server], home: Path, tls: Certificate) -> Server:
    """RabbitMQ needs the vault's keys before the vault needs RabbitMQ."""
    ended = subprocess.run(
        [*COMMAND, "init", "--files"],
        env=os.environ | {"DISPENSER_HOME": str(home / "vault")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert CONFIGURATION_FILE in ended.stderr
    conf, files = _written(home)
    plugins = ["rabbitmq_auth_backend_oauth2"]
    return start_server("rabbitmq", plugins=plugins, conf=conf, files=files, tls=tls)


def _written(home: Path) -> tuple[str, dict[str, str]]:
    """The configuration, and the files that an operator puts where it says."""
    written = {path.name: path.read_text() for path in (home / "vault/rabbitmq").iterdir()}
    conf = written.pop(CONFIGURATION_FILE)
    return conf, {f"{FOLDER}/{name}": text for name, text in written.items()}


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


async def test_a_vault_token_is_all_that_an_agent_needs(scene: Scene) -> None:
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


async def test_another_agents_vault_token_is_worth_nothing(scene: Scene) -> None:
    stolen = scene.vault.agent_token("summarizer", "ada")
    thief = scene.vault.agent_token("intern", "eve")
    async with Vault(scene.url("intern", thief), stolen) as vault:
        with pytest.raises(Unauthenticated, match="another agent"):
            await vault.token("time-tracker")
    [record] = await _records(scene, "request.refused")
    assert (record["agent"], record["outcome"]) == ("summarizer", "unauthenticated")
    assert "'intern'" in record["reason"]


async def test_a_new_signing_key_reaches_rabbitmq_before_it_signs(scene: Scene) -> None:
    before = scene.vault.agent_token("summarizer", "ada")
    [key] = scene.vault.shown("keys", "rotate", "signing", "--lead", "15s")
    scene.vault.export_keys()
    conf, files = _written(scene.vault.home)
    scene.broker.give(files, conf)
    scene.broker.control("add_uaa_key", key["id"], f"--pem-file={FOLDER}/{key['id']}.pem")
    current_from = datetime.fromisoformat(key["current_from"])
    await asyncio.sleep((current_from - datetime.now(UTC)).total_seconds() + 1)
    after = scene.vault.agent_token("summarizer", "ada")
    for token in (before, after):
        async with Vault(scene.url(), token) as vault:
            assert (await vault.token("time-tracker")).value


async def test_a_broker_that_nobody_vouches_for_is_told_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
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


async def _records(scene: Scene, action: str) -> list[dict[str, str]]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            records = scene.vault.shown("audit", "--limit", "1000")
            if found := [record for record in records if record["action"] == action]:
                return found
            await asyncio.sleep(0.2)
