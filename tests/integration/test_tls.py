"""TLS to RabbitMQ, Redis, PostgreSQL, the gateway and providers, by a private certificate authority.

Nobody else is believed, but for providers, and whoever set it up is told what to do.
"""

import asyncio
import contextlib
import json
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

import psycopg
import pytest
from integration.echo_dispenser import echo_dispenser
from services.authority import Authority
from services.server import Server
from structlog.testing import capture_logs
from vault_jwt import vault_jwt

from dispenser import Vault
from dispenser.client.errors import Misconfigured
from dispenser.wiring import authority
from dispenser.wiring.provider_http import provider_http
from shared.adapters.amqp_bus import AmqpBus
from shared.adapters.certificate import OTHER_NAME, UNKNOWN, UNKNOWN_PROVIDER
from shared.adapters.provider_http import _believed
from shared.adapters.redis_cache import RedisCache
from shared.adapters.sql.engine import Database
from shared.adapters.sql.store import migrate
from shared.errors import CacheUnavailable, ConfigurationError, StoreUnavailable
from shared.ports import HttpRequest, Mistrusted
from shared.settings import from_environment

OURS = Authority()
#: A certificate of ours that is for `localhost`, and no other name of the machine.
SHOWN = OURS.vouch_for("localhost")
OTHER_PLACE = "127.0.0.1"
PATIENCE_SECONDS = 60.0
ANSWER = {
    "access_token": "token-1",
    "token_type": "Bearer",
    "expires_in": 3600.0,
    "expires_at": "2100-01-01T00:00:00Z",
    "scope": "tasks:write",
    "service": "time-tracker",
    "generation": 1,
}


@pytest.fixture
def ca_file(tmp_path: Path) -> str:
    file = tmp_path / "ca.pem"
    file.write_text(OURS.pem)
    return str(file)


@pytest.fixture
def strangers_ca_file(tmp_path: Path) -> str:
    file = tmp_path / "strangers.pem"
    file.write_text(Authority("strangers").pem)
    return str(file)


def addresses(ca_file: str, home: Path, **urls: str) -> Mapping[str, str]:
    """The URLs as a process has them from its environment."""
    named = {f"DISPENSER_{name.upper()}_URL": url for name, url in urls.items()}
    settings = from_environment(named | {"DISPENSER_CA_FILE": ca_file}, default_home=home)
    return {"broker": settings.broker_url, "cache": settings.cache_url, "database": settings.database_url}


async def told_while_waiting(url: str) -> str:
    """Why a process waits for its broker, as its log says."""
    bus = AmqpBus(url, name="test")
    with capture_logs() as logs:
        starting = asyncio.create_task(bus.start())
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not logs:  # noqa: ASYNC110 - a log tells nobody
                await asyncio.sleep(0.02)
        starting.cancel()
        await bus.close()
    return str(logs[0].get("reason"))


async def test_rabbitmq_is_believed_by_its_name_and_its_authority_alone(
    private_broker: Callable[..., Server],
    monkeypatch: pytest.MonkeyPatch,
    ca_file: str,
    strangers_ca_file: str,
    tmp_path: Path,
) -> None:
    server = private_broker(tls=SHOWN)
    elsewhere = server.tls_url.replace("localhost", OTHER_PLACE)
    bus = AmqpBus(addresses(ca_file, tmp_path, broker=server.tls_url)["broker"], name="test")
    async with asyncio.timeout(PATIENCE_SECONDS):
        await bus.start()
    assert bus.connected
    await bus.close()
    for url, file, why in (
        (elsewhere, ca_file, OTHER_NAME),
        (server.tls_url, strangers_ca_file, UNKNOWN),
        (server.tls_url, "", UNKNOWN),
    ):
        assert why in await told_while_waiting(addresses(file, tmp_path, broker=url)["broker"])

    monkeypatch.setenv("VAULT_CA_FILE", ca_file)
    async with echo_dispenser(server.url), Vault(server.tls_url, vault_jwt()) as vault:
        assert (await vault.token("time-tracker")).value == "token-for-time-tracker"
    async with Vault(elsewhere, vault_jwt()) as vault:
        with pytest.raises(Misconfigured, match="another name"):
            await vault.token("time-tracker", deadline=PATIENCE_SECONDS)
    monkeypatch.setenv("VAULT_CA_FILE", strangers_ca_file)
    async with Vault(server.tls_url, vault_jwt()) as vault:
        with pytest.raises(Misconfigured, match="VAULT_CA_FILE"):
            await vault.token("time-tracker", deadline=PATIENCE_SECONDS)


async def test_the_gateway_is_believed_by_its_name_and_its_authority_alone(
    monkeypatch: pytest.MonkeyPatch, ca_file: str, strangers_ca_file: str, tmp_path: Path
) -> None:
    gateway = await asyncio.start_server(_answer, OTHER_PLACE, 0, ssl=_shown(tmp_path))
    port = gateway.sockets[0].getsockname()[1]
    monkeypatch.setenv("VAULT_CA_FILE", ca_file)
    async with gateway:
        async with Vault(f"https://localhost:{port}", vault_jwt()) as vault:
            assert (await vault.token("time-tracker")).value == "token-1"
        async with Vault(f"https://{OTHER_PLACE}:{port}", vault_jwt()) as vault:
            with pytest.raises(Misconfigured, match="another name"):
                await vault.token("time-tracker", deadline=PATIENCE_SECONDS)
        for file in (strangers_ca_file, ""):
            monkeypatch.setenv("VAULT_CA_FILE", file)
            async with Vault(f"https://localhost:{port}", vault_jwt()) as vault:
                with pytest.raises(Misconfigured, match="VAULT_CA_FILE"):
                    await vault.token("time-tracker", deadline=PATIENCE_SECONDS)


async def test_a_provider_is_believed_by_its_name_and_by_an_authority_of_the_operators_too(
    ca_file: str, strangers_ca_file: str, tmp_path: Path
) -> None:
    provider = await asyncio.start_server(_answer, OTHER_PLACE, 0, ssl=_shown(tmp_path))
    port = provider.sockets[0].getsockname()[1]
    async with provider:
        assert await asked(f"https://localhost:{port}/token", ca_file, tmp_path) == 200
        for host, file, why in (
            (OTHER_PLACE, ca_file, OTHER_NAME),
            ("localhost", strangers_ca_file, UNKNOWN_PROVIDER),
            ("localhost", "", UNKNOWN_PROVIDER),
        ):
            with pytest.raises(Mistrusted, match=f"{host}: {why}"):
                await asked(f"https://{host}:{port}/token", file, tmp_path)


async def asked(url: str, ca_file: str, home: Path) -> int:
    settings = from_environment({"DISPENSER_PROVIDER_CA_FILE": ca_file}, default_home=home)
    http = provider_http(settings)
    try:
        answer = await http.send(HttpRequest(method="POST", url=url, headers={}, body=b"", local=True))
    finally:
        await http.close()
    return answer.status


def test_the_public_authorities_are_believed_all_the_same(ca_file: str) -> None:
    public, with_ours = (len(_believed(file).get_ca_certs()) for file in ("", ca_file))
    assert with_ours == public + 1 > 50


def _shown(folder: Path) -> ssl.SSLContext:
    for name, text in (("cert", SHOWN.certificate), ("key", SHOWN.key)):
        (folder / name).write_text(text)
    shown = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    shown.load_cert_chain(folder / "cert", folder / "key")
    return shown


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError):
        await reader.readuntil(b"\r\n\r\n")
        body = json.dumps(ANSWER).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
    writer.close()


async def test_redis_is_believed_by_its_name_and_its_authority_alone(
    private_redis: Callable[..., Server], ca_file: str, strangers_ca_file: str, tmp_path: Path
) -> None:
    server = private_redis(tls=SHOWN)
    elsewhere = server.tls_url.replace("localhost", OTHER_PLACE)
    cache = RedisCache.open(addresses(ca_file, tmp_path, cache=server.tls_url)["cache"])
    await cache.ping()
    await cache.close()
    for url, file, why in (
        (elsewhere, ca_file, OTHER_NAME),
        (server.tls_url, strangers_ca_file, UNKNOWN),
        (server.tls_url, "", UNKNOWN),
    ):
        cache = RedisCache.open(addresses(file, tmp_path, cache=url)["cache"])
        with pytest.raises(CacheUnavailable, match=why):
            await cache.ping()
        await cache.close()


async def test_postgresql_is_believed_by_its_name_and_its_authority_alone(
    private_postgresql: Callable[..., Server], ca_file: str, strangers_ca_file: str, tmp_path: Path
) -> None:
    server = private_postgresql(tls=SHOWN)
    elsewhere = server.tls_url.replace("localhost", OTHER_PLACE)
    believed = addresses(ca_file, tmp_path, database=server.tls_url)["database"]
    migrate(believed)
    with psycopg.connect(believed) as connection:
        assert connection.info.pgconn.ssl_in_use
    for url, file, why in ((elsewhere, ca_file, OTHER_NAME), (server.tls_url, strangers_ca_file, UNKNOWN)):
        doubted = addresses(file, tmp_path, database=url)["database"]
        with pytest.raises(StoreUnavailable, match=why):
            migrate(doubted)
        database = Database(doubted)
        with pytest.raises(StoreUnavailable, match=why):
            async with database.reading():
                pass
        await database.close()


@pytest.mark.parametrize(
    ("content", "says"), [(None, "No such file"), ("", "no certificate"), ("not PEM", "no certificate")]
)
def test_a_file_that_is_no_authority_is_named_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, says: str
) -> None:
    file = tmp_path / "authority.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigurationError, match=f"DISPENSER_CA_FILE.*{says}"):
        authority.require(str(file))
    with pytest.raises(ConfigurationError, match=f"DISPENSER_PROVIDER_CA_FILE.*{says}"):
        authority.require(str(file), "DISPENSER_PROVIDER_CA_FILE")
    monkeypatch.setenv("VAULT_CA_FILE", str(file))
    with pytest.raises(Misconfigured, match=f"VAULT_CA_FILE.*{says}"):
        Vault("amqps://localhost/vault", vault_jwt())


def test_no_authority_and_a_good_one_are_well(ca_file: str) -> None:
    authority.require("")
    authority.require(ca_file)
