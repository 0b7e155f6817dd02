"""`dispenser keys`: what an operator sees of a rotation, from a new key to the end of the old one."""

import asyncio
import base64
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from builders import a_provider, a_service
from contract.stores import a_record
from services.server import wait_until
from sqlalchemy import create_engine, insert, select
from typer.testing import CliRunner, Result

from dispenser.cli.app import app
from dispenser.cli.failure import Refused, Usage
from dispenser.cli.keys import LONGEST_LEAD_SECONDS
from dispenser.enrol import present
from dispenser.rewrap import BATCH_ROWS
from dispenser.wiring.world import utc_now
from shared import audit_line, envelope, keyring
from shared.adapters.memory_bus import MemoryBus
from shared.adapters.sql.store import SqlStore
from shared.adapters.sql.tables import enrolments
from shared.errors import ConfigurationError
from shared.model import EnrolmentId, EnrolmentState, GrantId, Owner, RefreshToken, ServiceName
from shared.ports import Declared
from shared.secret import Secret
from workers.spool import Spool
from workers.spool_entry import Entry, Purpose

GRANT = GrantId("grant-1")
PLACE = (ServiceName("time-tracker"), Owner("ada"))


class Vault:
    """An installation on one machine, at the command line."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.file = home / "keys.json"

    def run(self, *arguments: str, **environment: str) -> Result:
        variables = {"DISPENSER_HOME": str(self.home), "DISPENSER_KEYS": ""}
        return CliRunner().invoke(app, arguments, env=variables | environment)

    def shown(self, *arguments: str) -> Any:
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def refused(self, *arguments: str, error: type[Exception] = Refused, **environment: str) -> str:
        result = self.run(*arguments, **environment)
        assert isinstance(result.exception, error), result.output
        return str(result.exception)

    def states(self, use: str) -> list[str]:
        return [row["state"] for row in self.shown("keys", "status") if row["use"] == use]

    def ids(self, use: str) -> list[str]:
        return [row["id"] for row in self.shown("keys", "status") if row["use"] == use]

    def references(self, key_id: str) -> dict[str, int]:
        [row] = [row for row in self.shown("keys", "status") if row["id"] == key_id]
        return row["references"]

    def time_passes(self, **time: float) -> None:
        """As far as the keyring is concerned."""
        document = json.loads(self.file.read_text())
        for entry in document["keys"]:
            for name in ("made", "current_from"):
                moment = datetime.fromisoformat(entry[name]) - timedelta(**time)
                entry[name] = moment.isoformat()
        self.file.write_text(json.dumps(document))

    def keys(self) -> keyring.Keyring:
        return keyring.parse(self.file.read_text(), utc_now())

    async def audit(self, *, named: bool) -> None:
        """A record of the old keys' time, once two days have passed."""
        store = SqlStore.open(f"sqlite:///{self.home / 'dispenser.db'}")
        record = a_record(
            at=utc_now() - timedelta(days=2) + timedelta(seconds=5), fingerprint="f" * 32 if named else ""
        )
        try:
            await store.audit.append([audit_line.encode(record)])
        finally:
            await store.close()

    async def present(self) -> None:
        """A refresh token on its way in, sealed with the current keys."""
        store = SqlStore.open(f"sqlite:///{self.home / 'dispenser.db'}")
        bus = MemoryBus()
        await bus.start()
        await bus.declare()
        try:
            await store.catalogue.apply(
                Declared(providers=[(a_provider(), None)], services=[a_service()]), utc_now()
            )
            await present(
                store, bus, self.keys(), utc_now,
                service=PLACE[0], owner=PLACE[1], presented=RefreshToken(value=Secret("rt")),
                client=a_provider().client,
            )  # fmt: skip
        finally:
            await bus.close()
            await store.close()


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """A command sets logging up for its process, which here goes on."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    vault = Vault(tmp_path / "home")
    assert vault.run("init").exit_code == 0
    return vault


def test_a_new_vault_has_one_current_key_of_every_use(vault: Vault) -> None:
    rows = vault.shown("keys", "status")
    assert {row["use"]: row["state"] for row in rows} == dict.fromkeys(keyring.USES, "current")
    assert all(row["references"] == {} for row in rows)
    secrets = [
        entry.get("private", entry.get("secret")) for entry in json.loads(vault.file.read_text())["keys"]
    ]
    shown = vault.run("keys", "status").stdout + json.dumps(rows)
    assert not any(secret in shown for secret in secrets)


def test_a_rotation_publishes_a_key_first_and_uses_it_from_its_moment_on(vault: Vault) -> None:
    [before] = vault.ids("cache")
    [row] = vault.shown("keys", "rotate", "cache", "--lead", "60s")
    assert vault.states("cache") == ["current", "published"]
    assert 55 < (datetime.fromisoformat(row["current_from"]) - datetime.now(UTC)).total_seconds() <= 60
    vault.time_passes(seconds=61)
    assert vault.states("cache") == ["decrypt-only", "current"]
    assert vault.ids("cache") == [before, row["id"]]
    assert vault.states("grant") == ["current"]


def test_without_a_use_keys_of_every_use_are_made(vault: Vault) -> None:
    assert {row["use"] for row in vault.shown("keys", "rotate")} == set(keyring.USES)


def test_a_rotation_that_is_repeated_makes_no_second_key(vault: Vault) -> None:
    first, second = (vault.shown("keys", "rotate", "grant") for _ in range(2))
    assert first == second
    assert len(vault.ids("grant")) == 2


@pytest.mark.parametrize("lead", ["4s", "0s", f"{LONGEST_LEAD_SECONDS + 1}s", "soon"])
def test_a_lead_too_short_for_processes_to_follow_is_refused(vault: Vault, lead: str) -> None:
    assert "--lead" in vault.refused("keys", "rotate", "--lead", lead, error=Usage)
    assert vault.states("cache") == ["current"]


def test_a_keyring_in_the_environment_cannot_be_rotated_from_there(vault: Vault) -> None:
    text = vault.file.read_text()
    vault.refused("keys", "rotate", error=ConfigurationError, DISPENSER_KEYS=text)
    assert vault.file.read_text() == text


@pytest.fixture
def rotated(vault: Vault) -> Vault:
    """Its rows are sealed with old keys."""
    asyncio.run(vault.present())
    vault.run("keys", "rotate")
    vault.time_passes(days=2)
    return vault


def test_what_needs_a_key_is_counted(rotated: Vault) -> None:
    old, new = rotated.ids("grant")
    assert (rotated.references(old), rotated.references(new)) == ({"enrolments.sealed": 1}, {})


def test_retirement_is_refused_while_rows_are_sealed_with_the_key(rotated: Vault) -> None:
    old, _ = rotated.ids("grant")
    said = rotated.refused("keys", "retire", old, "--now")
    assert "1 enrolments.sealed" in said
    assert "dispenser keys rewrap" in said
    assert rotated.states("grant") == ["decrypt-only", "current"]


def test_after_a_rewrap_the_old_key_can_go(rotated: Vault) -> None:
    old, new = rotated.ids("grant")
    result = rotated.run("keys", "rewrap")
    assert result.exit_code == 0, result.output
    assert rotated.references(old) == {}
    assert rotated.references(new) == {"enrolments.sealed": 1}
    assert rotated.run("keys", "retire", old).exit_code == 0
    assert rotated.states("grant") == ["retired", "current"]
    assert old not in rotated.keys().grant_private


def test_a_second_rewrap_has_nothing_to_do(rotated: Vault) -> None:
    rotated.run("keys", "rewrap")
    before = (rotated.home / "dispenser.db").read_bytes()
    assert rotated.run("keys", "rewrap").exit_code == 0
    assert (rotated.home / "dispenser.db").read_bytes() == before


@pytest.mark.parametrize("role", ["serve", "gateway", "janitor", "scheduler"])
def test_a_role_that_does_not_open_grants_does_not_rewrap(rotated: Vault, role: str) -> None:
    keys = rotated.run("keys", "export", "--role", role).stdout
    assert "whole keyring" in rotated.refused("keys", "rewrap", DISPENSER_KEYS=keys)


def test_retirement_is_refused_while_an_answer_lies_in_the_spool(vault: Vault) -> None:
    keys = vault.keys()
    entry = Entry(id="e", purpose=Purpose.ROTATION, grant_id=GRANT, owner=PLACE[1], generation=1)
    sealed = envelope.seal_spooled(keys, GRANT, PLACE[1], 1, b"answer")
    asyncio.run(_spooled(vault.home / "spool" / "0", entry, sealed))
    vault.run("keys", "rotate", "grant")
    vault.time_passes(days=2)
    old, _ = vault.ids("grant")
    assert "1 spooled answers" in vault.refused("keys", "retire", old, "--now")


async def _spooled(folder: Path, entry: Entry, sealed: bytes) -> None:
    spool = Spool(folder)
    await spool.reserve(entry)
    await spool.write(entry, sealed)


def test_vault_tokens_are_waited_for_unless_they_are_given_up(vault: Vault) -> None:
    vault.run("keys", "rotate", "signing")
    vault.time_passes(hours=1)
    old, _ = vault.ids("signing")
    assert "vault tokens" in vault.refused("keys", "retire", old)
    assert vault.run("keys", "retire", old, "--now").exit_code == 0
    assert vault.states("signing") == ["retired", "current"]


def test_records_that_name_tokens_keep_an_audit_key_unless_that_is_given_up(vault: Vault) -> None:
    asyncio.run(vault.audit(named=True))
    asyncio.run(vault.audit(named=False))
    vault.run("keys", "rotate", "audit")
    vault.time_passes(days=2)
    old, _ = vault.ids("audit")
    assert "1 audit records" in vault.refused("keys", "retire", old)
    assert vault.run("keys", "retire", old, "--now").exit_code == 0


@pytest.mark.parametrize("use", keyring.USES)
def test_the_current_key_of_any_use_stays(vault: Vault, use: str) -> None:
    [current] = vault.ids(use)
    assert "It is current" in vault.refused("keys", "retire", current, "--now")


def test_an_unknown_key_is_told_so(vault: Vault) -> None:
    assert "keys status" in vault.refused("keys", "retire", "0" * 16)


def test_what_is_exported_to_a_file_is_its_owners_alone(vault: Vault, tmp_path: Path) -> None:
    file = tmp_path / "serve" / "keys.json"
    assert vault.run("keys", "export", "--role", "serve", "--to", str(file)).exit_code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text()) == json.loads(vault.run("keys", "export", "--role", "serve").stdout)


def test_a_keyring_is_wrapped_and_everything_goes_on(vault: Vault, tmp_path: Path) -> None:
    (tmp_path / "wrapping.key").write_text(base64.b64encode(os.urandom(32)).decode())
    provider = {"DISPENSER_KEY_PROVIDER": f"file:{tmp_path / 'wrapping.key'}"}
    held = vault.ids("cache")
    assert vault.run("keys", "wrap", **provider).exit_code == 0
    assert held[0] not in vault.file.read_text()
    assert "dispenser keys wrap" in vault.refused("keys", "status", error=ConfigurationError)
    exported = vault.run("keys", "export", "--role", "serve", **provider).stdout
    assert json.loads(exported)["wrapped_by"] == "file"
    assert vault.run("keys", "rotate", "cache", **provider).exit_code == 0
    assert vault.run("keys", "wrap", "--from", provider["DISPENSER_KEY_PROVIDER"]).exit_code == 0
    assert len(vault.ids("cache")) == 2


def test_a_wrapping_is_in_the_audit_whichever_way_it_goes(vault: Vault, tmp_path: Path) -> None:
    (tmp_path / "wrapping.key").write_text(base64.b64encode(os.urandom(32)).decode())
    provider = f"file:{tmp_path / 'wrapping.key'}"
    assert vault.run("keys", "wrap", DISPENSER_KEY_PROVIDER=provider).exit_code == 0
    assert vault.run("keys", "wrap", "--from", provider).exit_code == 0
    wrapped = [record for record in vault.shown("audit") if record["action"] == "keyring.wrapped"]
    assert [record["reason"] for record in wrapped[::-1]] == ["Wrapped by file.", "Wrapped by none."]


def test_several_keys_are_retired_together_or_not_at_all(rotated: Vault) -> None:
    old = [rotated.ids(use)[0] for use in ("audit", "grant")]
    assert f"The grant key {old[1]} stays" in rotated.refused("keys", "retire", *old)
    assert rotated.states("audit") == rotated.states("grant") == ["decrypt-only", "current"]
    assert rotated.run("keys", "rewrap").exit_code == 0
    assert rotated.run("keys", "retire", *old).exit_code == 0
    assert rotated.states("audit") == rotated.states("grant") == ["retired", "current"]


def test_rabbitmq_is_given_a_new_signing_key_ahead_and_left_without_a_retired_one(vault: Vault) -> None:
    broker = {"DISPENSER_BROKER_URL": "amqp://nowhere"}
    rotation = vault.run("keys", "rotate", "signing", **broker)
    old, new = vault.ids("signing")
    assert f"rabbitmqctl add_uaa_key {new}" in " ".join(rotation.output.split())
    folder = vault.home / "rabbitmq"
    assert {file.stem for file in folder.glob("*.pem")} == {old, new}
    vault.time_passes(days=2)
    retirement = vault.run("keys", "retire", old, **broker)
    assert f"rabbitmqctl delete_uaa_key {old}" in " ".join(retirement.output.split())
    assert {file.stem for file in folder.glob("*.pem")} == {new}


def test_a_rewrap_that_is_killed_goes_on_when_it_is_started_again(vault: Vault) -> None:
    """Each batch is whole or not there: what was done stays, and nothing is sealed twice."""
    old = vault.keys()
    fill(vault, 3000)
    vault.run("keys", "rotate", "grant")
    vault.time_passes(days=2)
    environment = os.environ | {"DISPENSER_HOME": str(vault.home)}
    command = [sys.executable, "-P", "-m", "dispenser", "keys", "rewrap"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as rewrap:
        assert wait_until(lambda: len(under_another_key(vault, old)) > 0)
        rewrap.kill()
    done = under_another_key(vault, old)
    assert 0 < len(done) < 3000
    assert len(done) % BATCH_ROWS == 0
    assert vault.run("keys", "rewrap").exit_code == 0
    everything = under_another_key(vault, old)
    assert len(everything) == 3000
    assert done.items() <= everything.items()


def fill(vault: Vault, rows: int) -> None:
    """Enrolments, sealed with the current keys."""
    keys, presented, now = vault.keys(), RefreshToken(value=Secret("rt")), utc_now()
    waiting = [
        {
            "id": f"{row:06}",
            "service": PLACE[0],
            "owner": PLACE[1],
            "state": EnrolmentState.PENDING,
            "sealed": envelope.seal_enrolment(keys, EnrolmentId(f"{row:06}"), *PLACE, presented),
            "created_at": now,
            "expires_at": now + timedelta(hours=1),
        }
        for row in range(rows)
    ]
    with create_engine(f"sqlite:///{vault.home / 'dispenser.db'}").begin() as connection:
        connection.execute(insert(enrolments), waiting)
        connection.engine.dispose()


def under_another_key(vault: Vault, keys: keyring.Keyring) -> dict[str, bytes]:
    """The enrolments that are not sealed with these keys' grant key."""
    engine = create_engine(f"sqlite:///{vault.home / 'dispenser.db'}")
    with engine.connect() as connection:
        rows = connection.execute(select(enrolments.c.id, enrolments.c.sealed)).all()
    engine.dispose()
    return {row: sealed for row, sealed in rows if envelope.key_id(sealed) != keys.primary_id("grant")}
