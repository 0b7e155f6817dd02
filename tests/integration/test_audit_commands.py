"""`dispenser audit`: what an operator asks, proves and takes elsewhere."""

import asyncio
import getpass
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from contract.stores import a_grant, a_record, later
from proof_checker import check
from sqlalchemy import text
from typer.testing import CliRunner, Result

from dispenser.cli import output
from dispenser.cli.app import app
from dispenser.cli.failure import Refused, Usage
from dispenser.wiring.world import utc_now
from shared import audit_line, keyring
from shared.adapters.audit_journal import FileAuditJournal
from shared.adapters.checkpoint_folder import CheckpointFolder
from shared.adapters.memory_bus import MemoryBus
from shared.adapters.sql.store import SqlStore
from shared.model import AuditRecord, EnrolmentId
from shared.token_fingerprint import fingerprint
from workers.checkpoints import Checkpoints

TOKEN = "ya29.leaked"


class Vault:
    """An installation on one machine, at the command line."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def run(self, *arguments: str, stdin: str | None = None, **environment: str) -> Result:
        variables = {"DISPENSER_HOME": str(self.home), "DISPENSER_KEYS": ""}
        return CliRunner().invoke(app, arguments, env=variables | environment, input=stdin)

    def done(self, *arguments: str, stdin: str | None = None) -> str:
        result = self.run(*arguments, stdin=stdin)
        assert result.exit_code == 0, (result.output, result.exception)
        return result.stdout

    def shown(self, *arguments: str, stdin: str | None = None) -> Any:
        return json.loads(self.done(*arguments, "--json", stdin=stdin))

    def keys(self) -> keyring.Keyring:
        return keyring.parse((self.home / "keys.json").read_text())

    def write(self, *records: AuditRecord) -> None:
        self.with_store(lambda store: store.audit.append([audit_line.encode(record) for record in records]))

    def journal(self, record: AuditRecord) -> Path:
        """A journal with a record, as a process that ended has left it."""

        async def left() -> None:
            async with FileAuditJournal(self.home / "audit", "serve-1") as journal:
                await journal.append(record)

        asyncio.run(left())
        return self.home / "audit" / "serve-1.jsonl"

    def sign(self) -> None:
        async def signed(store: SqlStore) -> None:
            bus = MemoryBus()
            await bus.start()
            signer = Checkpoints(
                tree=store.audit_tree,
                kept=store.checkpoints,
                ledger=CheckpointFolder(self.home / "checkpoints"),
                bus=bus,
                keys=self.keys(),
                clock=utc_now,
                vault="vault",
            )
            assert await signer.sign() is not None
            await bus.close()

        self.with_store(signed)

    def alter(self, statement: str) -> None:
        async def altered(store: SqlStore) -> None:
            async with store._database.writing() as connection:
                await connection.execute(text(statement))

        self.with_store(altered)

    def with_store(self, use: Any) -> Any:
        async def used() -> Any:
            store = SqlStore.open(f"sqlite:///{self.home / 'dispenser.db'}")
            try:
                return await use(store)
            finally:
                await store.close()

        return asyncio.run(used())


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    vault = Vault(tmp_path / "home")
    vault.done("init")
    yield vault
    structlog.reset_defaults()


@pytest.fixture
def signed(vault: Vault) -> Vault:
    """Thirty records, signed."""
    named = fingerprint(vault.keys(), TOKEN)
    vault.write(*(a_record(agent=f"a{n % 3}", at=later(n), generation=n // 10) for n in range(28)))
    vault.write(a_record(agent="thief", generation=2, fingerprint=named, at=later(40), session="s9"))
    grant = a_grant(generation=2)
    vault.with_store(lambda store: store.enrolments.succeed(EnrolmentId("none"), grant, utc_now(), ()))
    vault.sign()
    return vault


def test_what_was_signed_is_verified_here_and_elsewhere(signed: Vault, tmp_path: Path) -> None:
    shown = signed.shown("audit", "verify")
    assert (shown["ok"], shown["review"]["records"], shown["review"]["signed"]) == (True, 30, 30)

    export, key = tmp_path / "export.jsonl", signed.done("audit", "key").strip()
    export.write_text(signed.done("audit", "export"))
    [kept] = (signed.home / "checkpoints").iterdir()
    elsewhere = ("audit", "verify", "--export", str(export), "--checkpoints", str(kept), "--key", key)
    assert signed.shown(*elsewhere)["ok"]
    export.write_text(export.read_text().replace('"agent":"thief"', '"agent":"guest"'))
    result = signed.run(*elsewhere)
    assert result.exit_code == 4
    assert "changed: Record 29" in result.stdout


def test_what_was_altered_is_named_with_exit_code_four(signed: Vault) -> None:
    signed.alter("DELETE FROM audit_log WHERE position = 12")
    result = signed.run("audit", "verify")
    assert result.exit_code == 4
    assert "removed: Record 12 is missing." in result.stdout


def test_a_journal_that_was_altered_before_it_was_shipped_is_told(signed: Vault) -> None:
    journal = signed.journal(a_record(session="s1"))
    assert signed.shown("audit", "verify")["altered_journals"] == []
    journal.write_text(journal.read_text().replace('"session":"s1"', '"session":"s2"'))
    result = signed.run("audit", "verify")
    assert result.exit_code == 4
    assert journal.name in result.stdout


def test_a_checkpoint_that_was_altered_is_told(signed: Vault) -> None:
    signed.alter("UPDATE audit_checkpoints SET note = replace(note, '30', '31')")
    result = signed.run("audit", "verify")
    assert result.exit_code == 4
    assert "1 checkpoints are not signed" in result.stdout


def test_a_record_is_proved_to_whoever_asks(signed: Vault) -> None:
    key = signed.done("audit", "key").strip()
    [record] = signed.shown("audit", "--agent", "thief")
    by_name = signed.done("audit", "prove", f"{record['writer']}.{record['sequence']}")
    assert json.loads(check(by_name, key))["agent"] == "thief"
    assert signed.done("audit", "prove", "29") == by_name
    assert signed.done("audit", "consistency", "7").startswith("old 7\n")


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (("audit", "prove", "30"), Refused),
        (("audit", "prove", "nobody.7"), Refused),
        (("audit", "prove", "nobody"), Usage),
        (("audit", "consistency", "31"), Refused),
        (("audit", "verify", "--export", "x"), Usage),
        (("audit", "verify", "--key", "x"), Usage),
        (("audit", "--since", "yesterday"), Usage),
    ],
)
def test_what_cannot_be_answered_is_refused(signed: Vault, arguments: tuple[str, ...], refusal: type) -> None:
    assert isinstance(signed.run(*arguments).exception, refusal)


def test_what_is_not_signed_yet_is_not_proved(vault: Vault) -> None:
    vault.write(a_record())
    assert isinstance(vault.run("audit", "prove", "0").exception, Refused)
    assert vault.shown("audit", "verify")["review"]["signed"] == 0


def test_a_leaked_token_leads_to_everyone_who_held_its_generation(signed: Vault) -> None:
    found = signed.shown("audit", "trace", stdin=f"{TOKEN}\n")
    assert {record["agent"] for record in found} == {"a0", "a1", "a2", "thief"}
    assert {record["generation"] for record in found} == {2}
    assert signed.shown("audit", "trace", fingerprint(signed.keys(), TOKEN)) == found
    assert signed.shown("audit", "trace", stdin="another") == []
    assert TOKEN not in json.dumps(found)


def test_records_are_found_by_what_is_asked(signed: Vault) -> None:
    named = fingerprint(signed.keys(), TOKEN)
    since = ("--since", later(40).isoformat(), "--until", later(41).isoformat())
    for wanted in (("--fingerprint", named), ("--session", "s9"), since):
        assert [record["agent"] for record in signed.shown("audit", *wanted)] == ["thief"]
    assert len(signed.shown("audit", "--until", later(10).isoformat(), "--owner", "ada")) == 10


def test_a_list_names_who_acted_beside_whom_it_was_about(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output.screen, "width", 300)
    vault.write(a_record(actors=("scribe", "helper")), a_record(admin="root-of-all"))
    shown = " ".join(vault.done("audit").split())
    assert "tracker scribe for helper" in shown
    assert "tracker root-of-all" in shown


@pytest.mark.parametrize(("form", "first"), [("otel", '{"resourceLogs"'), ("cef", "CEF:0|")])
def test_other_systems_get_their_forms(signed: Vault, form: str, first: str) -> None:
    lines = signed.done("audit", "export", "--form", form, "--from", "20").splitlines()
    assert len(lines) == 10
    assert all(line.startswith(first) for line in lines)


def test_records_are_followed_as_they_come_in(signed: Vault) -> None:
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "dispenser", "audit", "follow"],
        env=os.environ | {"DISPENSER_HOME": str(signed.home), "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
    ) as following:
        assert following.stdout is not None
        try:
            # It follows from when it has begun, and nobody hears when that is: write until it tells.
            heard: list[int] = []
            hearing = threading.Thread(
                target=lambda: heard.extend(
                    json.loads(following.stdout.readline())["position"] for _ in range(2)
                )
            )
            hearing.start()
            while hearing.is_alive():
                signed.write(a_record())
            assert heard[1] == heard[0] + 1 > 30
        finally:
            following.kill()


def test_a_row_that_a_backup_put_back_is_told(signed: Vault) -> None:
    signed.alter("UPDATE grants SET generation = 1")
    shown = json.loads(signed.run("audit", "verify", "--json").stdout)
    assert shown["restored_grants"] == [
        {"service": "time-tracker", "owner": "ada", "generation": 1, "audited_generation": 2}
    ]
    result = signed.run("doctor", "--json")
    [history] = [one for one in json.loads(result.stdout) if one["part"] == "history"]
    assert not history["ok"]


def test_what_admins_do_is_in_the_audit(vault: Vault, tmp_path: Path) -> None:
    file = tmp_path / "declared.yaml"
    file.write_text(
        "agents: {tracker: {}}\npolicies:\n  - {name: all, effect: allow, agents: ['*'], services: ['*']}\n"
    )
    vault.done("apply", str(file))
    vault.done("apply", str(file))  # nothing changes, and nothing is said
    vault.done("agent", "token", "tracker", "--owner", "ada", "--session", "s1")
    vault.done("agent", "revoke", "--session", "s1")
    vault.done("agent", "revoke", "tracker")
    vault.done("agent", "restore", "tracker")
    vault.done("keys", "rotate", "audit")
    found = vault.shown("audit")[::-1]
    assert [record["action"] for record in found] == [
        "admin.added",
        "catalogue.applied",
        "vault_token.issued",
        "session.revoked",
        "agent.revoked",
        "agent.restored",
        "key.rotated",
    ]
    assert {(record["door"], record["admin"]) for record in found} == {("cli", getpass.getuser())}
    assert (found[1]["catalogue_version"], "policy" in found[1]["reason"]) == (1, True)
    issued = found[2]
    assert (issued["agent"], issued["session"], issued["owner"]) == ("tracker", "s1", "ada")
