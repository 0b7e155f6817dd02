"""Applying brings a catalogue in SQL to what the files declare, as often as one likes."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
from contract.stores import a_grant
from typer.testing import CliRunner, Result

from dispenser.apply import apply, warnings
from dispenser.cli.app import app
from dispenser.declared import Declarations, parse
from dispenser.difference import Action, Change
from dispenser.secret_sources import read_secrets
from shared import keyring
from shared.adapters.sql.store import SqlStore, migrate
from shared.envelope import open_provider_secrets
from shared.keyring import Keyring
from shared.model import EnrolmentId, GrantId, Owner, Provider, ProviderSecrets, ServiceName
from shared.secret import Secret

NOW = datetime(2030, 1, 1, tzinfo=UTC)
EXAMPLE = Path(__file__).parents[2] / "examples/productivity.yaml"
ENVIRONMENT = {"TT_CLIENT_SECRET": "tt", "SLACK_CLIENT_SECRET": "slack", "GOOGLE_CLIENT_SECRET": "google"}
TEXT = """\
providers:
  public: {token_url: https://p.example/token, authorization_url: https://p.example/authorize,
           client_id: c, client_auth: none}
services: {s: {provider: public, scopes: [read]}}
agents: {a: {description: reads}}
policies: [{name: n, effect: allow, agents: [a], services: [s], expires_at: 2031-01-01T01:00:00+01:00}]
"""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    url = f"sqlite:///{tmp_path / 'vault.db'}"
    migrate(url)
    store = SqlStore.open(url)
    yield store
    await store.close()


@pytest.fixture(scope="module")
def keys() -> Keyring:
    return keyring.parse(json.dumps(keyring.generate()))


def actions(changes: tuple[Change, ...]) -> set[Action]:
    return {change.action for change in changes}


async def secrets_of(store: SqlStore, keys: Keyring, provider: Provider) -> ProviderSecrets:
    return open_provider_secrets(keys, provider, await store.catalogue.provider_secrets(provider.name))


async def test_what_is_declared_is_in_the_catalogue_afterwards(store: SqlStore, keys: Keyring) -> None:
    declarations = parse({"a.yaml": TEXT})
    assert actions(await apply(store, keys, declarations, {}, NOW)) == {Action.ADDED}
    catalogue = await store.catalogue.load()
    assert tuple(catalogue.providers.values()) == declarations.providers
    assert tuple(catalogue.services.values()) == declarations.services
    assert tuple(catalogue.agents.values()) == declarations.agents
    assert catalogue.policies == declarations.policies


async def test_applying_again_changes_nothing_and_writes_nothing(store: SqlStore, keys: Keyring) -> None:
    declarations = parse({"a.yaml": TEXT})
    await apply(store, keys, declarations, {}, NOW)
    version = await store.catalogue.version()
    assert actions(await apply(store, keys, declarations, {}, NOW)) == {Action.UNCHANGED}
    assert await store.catalogue.version() == version


async def test_a_change_is_written_and_the_rest_stays(store: SqlStore, keys: Keyring) -> None:
    await apply(store, keys, parse({"a.yaml": TEXT}), {}, NOW)
    changed = parse({"a.yaml": "services: {s: {provider: public, scopes: [write]}}"}, ["public"])
    (change,) = await apply(store, keys, changed, {}, NOW)
    assert str(change) == "service s: changed (scopes)"
    catalogue = await store.catalogue.load()
    assert catalogue.services["s"].scopes == ("write",)
    assert set(catalogue.agents) == {"a"}


async def test_secrets_are_sealed_to_the_refreshers(store: SqlStore, keys: Keyring) -> None:
    declarations = parse({str(EXAMPLE): EXAMPLE.read_text("utf-8")})
    changes = await apply(store, keys, declarations, read_secrets(declarations, ENVIRONMENT), NOW)
    assert "provider tracker-co: added, secret sealed anew" in map(str, changes)
    tracker, *_ = declarations.providers
    assert await secrets_of(store, keys, tracker) == ProviderSecrets(client_secrets=(Secret("tt"),))


async def test_a_new_secret_is_taken_though_nothing_else_changed(store: SqlStore, keys: Keyring) -> None:
    declarations = parse({str(EXAMPLE): EXAMPLE.read_text("utf-8")})
    await apply(store, keys, declarations, read_secrets(declarations, ENVIRONMENT), NOW)
    rotated = read_secrets(declarations, ENVIRONMENT | {"TT_CLIENT_SECRET": "next"})
    assert actions(await apply(store, keys, declarations, rotated, NOW)) == {Action.UNCHANGED}
    assert await secrets_of(store, keys, declarations.providers[0]) == ProviderSecrets(
        client_secrets=(Secret("next"),)
    )


async def test_an_unchanged_provider_keeps_its_secret_where_none_is_given(
    store: SqlStore, keys: Keyring
) -> None:
    provider = parse({"a.yaml": TEXT}).providers[0]
    declarations = Declarations(providers=(provider,))
    secrets = {provider.name: ProviderSecrets(client_secrets=(Secret("kept"),))}
    await apply(store, keys, declarations, secrets, NOW)
    await apply(store, keys, parse({"a.yaml": TEXT}), {}, NOW)
    assert await secrets_of(store, keys, provider) == secrets[provider.name]


async def test_a_secret_of_the_old_address_is_not_left_under_the_new_one(
    store: SqlStore, keys: Keyring
) -> None:
    provider = parse({"a.yaml": TEXT}).providers[0]
    secrets = {provider.name: ProviderSecrets(client_secrets=(Secret("old"),))}
    await apply(store, keys, Declarations(providers=(provider,)), secrets, NOW)
    moved = replace(provider, token_url="https://elsewhere.example/token")
    await apply(store, keys, Declarations(providers=(moved,)), {}, NOW)
    assert await secrets_of(store, keys, moved) == ProviderSecrets()


async def test_a_revoked_agent_stays_revoked(store: SqlStore, keys: Keyring) -> None:
    await apply(store, keys, parse({"a.yaml": TEXT}), {}, NOW)
    await store.catalogue.set_agent_revoked("a", NOW)
    changed = parse({"a.yaml": "agents: {a: {description: other}}"})
    await apply(store, keys, changed, {}, NOW)
    assert (await store.catalogue.load()).agents["a"].revoked_at == NOW


async def put_grants(store: SqlStore) -> None:
    """Two that are kept, one that was revoked, and one of another service."""
    for owner in ("ada", "grace", "gone"):
        grant = a_grant(id=GrantId(owner), service=ServiceName("s"), owner=Owner(owner))
        await store.enrolments.succeed(EnrolmentId("none"), grant, NOW, ())
    await store.grants.revoke(GrantId("gone"), NOW, ())
    await store.enrolments.succeed(EnrolmentId("none"), a_grant(service=ServiceName("other")), NOW, ())


async def test_grants_that_would_be_left_behind_are_counted_before(store: SqlStore, keys: Keyring) -> None:
    await apply(store, keys, parse({"a.yaml": TEXT}), {}, NOW)
    await put_grants(store)
    (warning,) = await warnings(store, parse({"a.yaml": TEXT.replace("client_id: c", "client_id: d")}))
    assert warning.startswith(
        "service s has 2 grants: those given to another client than this are not refreshed"
    )
    assert "`dispenser revoke provider public`" in warning
    assert await warnings(store, parse({"a.yaml": TEXT})) == ()


def test_applying_says_so_dry_or_not(tmp_path: Path) -> None:
    """On standard error, and in the audit."""
    home, file = tmp_path / "home", tmp_path / "a.yaml"

    def run(*arguments: str) -> Result:
        done = CliRunner().invoke(app, arguments, env={"DISPENSER_HOME": str(home), "DISPENSER_KEYS": ""})
        assert done.exit_code == 0, done.output
        return done

    async def connect() -> None:
        store = SqlStore.open(f"sqlite:///{home / 'dispenser.db'}")
        await put_grants(store)
        await store.close()

    file.write_text(TEXT)
    run("init")
    assert "another client" not in run("apply", str(file)).stderr
    asyncio.run(connect())
    file.write_text(TEXT.replace("https://p.example/token", "https://q.example/token"))
    for dry in (["--dry-run"], []):
        assert "service s has 2 grants" in run("apply", str(file), *dry).stderr
    applied = json.loads(run("audit", "--json").stdout)
    assert any("service s has 2 grants" in record["reason"] for record in applied)
    structlog.reset_defaults()
