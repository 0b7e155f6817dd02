"""What is wrong is said clearly, with what to do next, and loses nothing."""

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from acceptance.declared import declared
from acceptance.installation import COMMAND, Installation
from services.server import Server, free_port, wait_until

from dispenser import Denied, NotFound, Unauthenticated, Vault
from dispenser.testing.emulator import Emulator
from dispenser.vault_token import Identity, mint
from shared import keyring
from shared.model import AgentName, Owner, SessionId

USAGE, REFUSED, WORLD = 2, 3, 4


@pytest.fixture
def provider() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def vault(installation: Installation, provider: Emulator) -> Installation:
    """Set up, with one grant."""
    installation.declare(catalogue(provider), PROVIDER_SECRET=provider.client_secret)
    installation.start("work", "refresher")
    token = provider.issue_refresh_token("ada", ("tasks:write",))
    installation.done("grant", "import", "time-tracker", "--owner", "ada", stdin=token)
    return installation


def catalogue(provider: Emulator) -> str:
    return declared(
        authorization_url=provider.authorization_url,
        token_url=provider.token_url,
        client_id=provider.client_id,
    )


def test_every_mistake_in_the_environment_is_named_at_once(installation: Installation) -> None:
    ended = installation.cli(
        "status",
        DISPENSER_BROKER_URL="http://rabbit",
        DISPENSER_CACHE_URL="localhost",
        DISPENSER_LOG_LEVEL="loud",
    )
    assert ended.returncode == USAGE
    for name in ("DISPENSER_BROKER_URL", "DISPENSER_CACHE_URL", "DISPENSER_LOG_LEVEL"):
        assert name in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_vault_that_was_not_set_up_says_so(installation: Installation) -> None:
    ended = installation.cli("grant", "list")
    assert ended.returncode == WORLD
    assert "dispenser init" in ended.stderr


def test_a_database_that_was_not_migrated_says_so(installation: Installation) -> None:
    installation.done("init")
    fresh = installation.environment["DISPENSER_DATABASE_URL"].rpartition("/")[0] + "/postgres"
    ended = installation.cli("grant", "list", DISPENSER_DATABASE_URL=fresh)
    assert ended.returncode == WORLD
    assert "dispenser init" in ended.stderr


def test_a_wrong_field_is_named_with_its_line_and_nothing_is_changed(
    installation: Installation, provider: Emulator
) -> None:
    installation.declare(catalogue(provider), PROVIDER_SECRET=provider.client_secret)
    before = installation.shown("provider", "list")
    broken = installation.home / "broken.yaml"
    broken.write_text(catalogue(provider).replace("token_url", "token_ur").replace("strict:", "loose:", 1))
    line = 1 + broken.read_text().splitlines().index(f"    token_ur: {provider.token_url}")
    ended = installation.cli("apply", str(broken), PROVIDER_SECRET="s")
    assert ended.returncode == USAGE
    assert f"broken.yaml:{line}" in ended.stderr
    assert "token_url" in ended.stderr
    assert installation.shown("provider", "list") == before


def test_a_missing_secret_is_named(installation: Installation, provider: Emulator) -> None:
    installation.done("init")
    file = installation.home / "declared.yaml"
    file.write_text(catalogue(provider))
    ended = installation.cli("apply", str(file))
    assert ended.returncode == USAGE
    assert "PROVIDER_SECRET" in ended.stderr


def test_unknown_names_are_refused_with_the_way_to_known_ones(vault: Installation) -> None:
    for arguments, hint in (
        (("agent", "token", "nobody", "--owner", "ada"), "dispenser agent list"),
        (("grant", "show", "nothing", "--owner", "ada"), "dispenser grant list"),
        (("connect", "nothing", "--owner", "ada", "--no-browser"), "dispenser service list"),
    ):
        ended = vault.cli(*arguments)
        assert ended.returncode == REFUSED, ended.stderr
        assert hint in " ".join(ended.stderr.split())


def test_a_refresh_token_that_the_provider_does_not_take_is_not_stored(vault: Installation) -> None:
    before = vault.shown("grant", "list")
    ended = vault.cli("grant", "import", "time-tracker", "--owner", "ada", stdin="made-up")
    assert ended.returncode == REFUSED
    assert "invalid_grant" in ended.stderr
    assert vault.shown("grant", "list") == before


async def test_agents_get_a_typed_error_for_each_mistake(vault: Installation) -> None:
    vault.start("serve")
    tracker, intern = vault.agent_token("tracker", "ada"), vault.agent_token("intern", "ada")
    for token, service, error in (
        (tracker, "no-such-service", NotFound),
        (intern, "no-such-service", Denied),
        (intern, "time-tracker", Denied),
        (_foreign(), "time-tracker", Unauthenticated),
        (_tampered(tracker), "time-tracker", Unauthenticated),
    ):
        async with Vault(vault.broker, token) as asking:
            with pytest.raises(error):
                await asking.token(service)
    async with Vault(vault.broker, tracker) as asking:
        assert (await asking.token("time-tracker")).generation == 1


def test_processes_wait_for_what_is_down_at_their_start_and_say_so(
    installation: Installation, broker: Server
) -> None:
    installation.done("init", DISPENSER_BROKER_URL=broker.url)
    broker.stop()
    log = installation.home / "waiting.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [*COMMAND, "serve"],
            env=installation.environment | {"DISPENSER_BROKER_URL": broker.url},
            stdout=said,
            stderr=said,
        )
    try:
        assert wait_until(lambda: "Waiting for the broker" in log.read_text())
        broker.start()
        assert wait_until(lambda: "Serving agents over AMQP" in log.read_text())
    finally:
        process.terminate()
        assert process.wait() == 0


def test_a_database_that_is_down_is_waited_for(installation: Installation, postgresql_server: Server) -> None:
    installation.done("init", DISPENSER_DATABASE_URL=postgresql_server.url)
    postgresql_server.stop()
    log = installation.home / "waiting.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [*COMMAND, "work", "scheduler"],
            env=installation.environment | {"DISPENSER_DATABASE_URL": postgresql_server.url},
            stdout=said,
            stderr=said,
        )
    try:
        assert wait_until(lambda: "Waiting for the database" in log.read_text())
        postgresql_server.start()
        assert wait_until(lambda: "Announcing" in log.read_text())
    finally:
        process.terminate()
        assert process.wait() == 0


def test_a_service_that_is_not_there_is_named(installation: Installation) -> None:
    installation.done("init")
    for variable, url, part in (
        ("DISPENSER_CACHE_URL", f"redis://127.0.0.1:{free_port()}/0", "cache"),
        ("DISPENSER_DATABASE_URL", f"postgresql://postgres@127.0.0.1:{free_port()}/x", "database"),
    ):
        ended = installation.cli("status", **{variable: url})
        assert ended.returncode == WORLD
        [line] = [line for line in ended.stdout.splitlines() if line.startswith(f"✗ {part}")]
        assert "Check" in ended.stdout or variable in ended.stdout, line


def _foreign() -> str:
    """A vault token that another vault's keys have signed."""
    now = datetime.now(UTC)
    identity = Identity(
        agent=AgentName("tracker"),
        session=SessionId("s"),
        owner=Owner("ada"),
        token_id="t",
        issued_at=now,
        expires_at=now + timedelta(minutes=5),
    )
    return mint(keyring.parse(json.dumps(keyring.generate())), identity, vault="vault")


def _tampered(token: str) -> str:
    head, claims, signature = token.split(".")
    return f"{head}.{claims}.{signature[:-2]}{'A' if signature[-2] != 'A' else 'B'}{signature[-1]}"
