"""A keyring lies in a file, a variable or a text, wrapped or not; what is wrong is said without it."""

import base64
import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dispenser.wiring.keyring_source import KeyringSource
from shared import keyring
from shared.errors import ConfigurationError, KeyMissing, KeyProviderFailed, VaultError
from shared.settings import Settings

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)
PLUGIN = Path(__file__).parents[1] / "key_provider_plugin"
TEXT = json.dumps(keyring.generate(NOW))


@pytest.fixture(autouse=True)
def installed_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))


@pytest.fixture
def wrapping_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A key of one's own, in a file and in the variable WRAPPING_KEY."""
    text = base64.b64encode(os.urandom(32)).decode()
    monkeypatch.setenv("WRAPPING_KEY", text)
    file = tmp_path / "wrapping.key"
    file.write_text(text + "\n")
    return file


def source(home: Path, keys: str = "", key_provider: str = "") -> KeyringSource:
    return KeyringSource(Settings(home=home, keys=keys, key_provider=key_provider))


def ids(found: KeyringSource) -> set[str]:
    return {entry["id"] for entry in found.document()["keys"]}


def held(found: KeyringSource) -> keyring.Keyring:
    return keyring.parse(json.dumps(found.document()), NOW)


def refused(make: object, *, with_error: type[VaultError]) -> str:
    """The refusal's words, which hold no part of any key."""
    with pytest.raises(with_error) as refusal:
        make()  # type: ignore[operator]
    said = f"{refusal.value!r} {refusal.value.__context__!r}"
    for entry in json.loads(TEXT)["keys"]:
        assert not any(entry.get(part, "absent") in said for part in ("private", "secret"))
    return str(refusal.value)


def test_a_new_keyring_is_its_owners_alone(tmp_path):
    assert source(tmp_path).create(NOW)
    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600
    assert held(source(tmp_path)).primary.keys() == set(keyring.USES)


def test_a_keyring_that_is_there_is_kept(tmp_path):
    source(tmp_path).create(NOW)
    before = (tmp_path / "keys.json").read_text()
    assert not source(tmp_path).create(NOW)
    assert (tmp_path / "keys.json").read_text() == before


def test_a_use_that_an_older_keyring_has_no_key_of_is_given_one(tmp_path):
    document = json.loads(TEXT)
    older = {**document, "keys": [entry for entry in document["keys"] if entry["use"] != "transport"]}
    (tmp_path / "keys.json").write_text(json.dumps(older))
    assert source(tmp_path).create(NOW)
    assert held(source(tmp_path)).primary.keys() == set(keyring.USES)
    assert {entry["id"] for entry in older["keys"]} < ids(source(tmp_path))


def test_the_keyring_is_found_where_the_settings_say(tmp_path, monkeypatch):
    (tmp_path / "elsewhere.json").write_text(TEXT)
    monkeypatch.setenv("ROLE_KEYS", TEXT)
    expected = keyring.parse(TEXT).primary
    for keys in (f"file:{tmp_path / 'elsewhere.json'}", "env:ROLE_KEYS", TEXT):
        assert held(source(tmp_path, keys)).primary == expected


@pytest.mark.parametrize("keys", ["", "file:/nowhere/keys.json", "env:NOT_SET"])
def test_a_missing_keyring_is_missed_where_it_was_looked_for(tmp_path, keys):
    said = refused(source(tmp_path, keys).document, with_error=KeyMissing)
    assert (keys.partition(":")[2] or str(tmp_path)) in said


def test_a_keyring_given_as_a_text_is_not_changed(tmp_path):
    refused(lambda: source(tmp_path, TEXT).change(lambda d: d), with_error=ConfigurationError)
    assert not list(tmp_path.iterdir())


def test_a_change_that_fails_changes_nothing(tmp_path):
    source(tmp_path).create(NOW)
    before = (tmp_path / "keys.json").read_text()
    with pytest.raises(ZeroDivisionError):
        source(tmp_path).change(lambda _: 1 // 0)
    assert (tmp_path / "keys.json").read_text() == before


@pytest.mark.parametrize("provider", ["file", "environment", "acme-kms"])
def test_a_wrapped_keyring_shows_nothing_and_opens_by_its_provider_alone(tmp_path, wrapping_key, provider):
    argument = {"file": str(wrapping_key), "environment": "WRAPPING_KEY", "acme-kms": "key/7"}[provider]
    wrapped = source(tmp_path, key_provider=f"{provider}:{argument}")
    wrapped.create(NOW)
    lying = (tmp_path / "keys.json").read_text()
    assert all(entry["id"] not in lying for entry in wrapped.document()["keys"])
    assert len(ids(wrapped)) == len(keyring.USES)
    said = refused(source(tmp_path).document, with_error=ConfigurationError)
    assert provider in said
    assert "DISPENSER_KEY_PROVIDER" in said


def test_another_wrapping_key_does_not_open_it(tmp_path, wrapping_key, monkeypatch):
    source(tmp_path, key_provider="environment:WRAPPING_KEY").create(NOW)
    monkeypatch.setenv("WRAPPING_KEY", base64.b64encode(os.urandom(32)).decode())
    said = refused(
        source(tmp_path, key_provider="environment:WRAPPING_KEY").document, with_error=KeyProviderFailed
    )
    assert "InvalidTag" in said


def test_a_plugins_failure_is_told_by_its_kind_alone(tmp_path):
    source(tmp_path, key_provider="acme-kms:key/7").create(NOW)
    said = refused(source(tmp_path, key_provider="acme-kms:key/8").document, with_error=KeyProviderFailed)
    assert "acme-kms" in said
    assert "not under this key" not in said


def test_a_plain_keyring_is_refused_where_a_wrapped_one_is_asked_for(tmp_path):
    (tmp_path / "keys.json").write_text(TEXT)
    said = refused(source(tmp_path, key_provider="acme-kms:k").document, with_error=ConfigurationError)
    assert "not wrapped" in said


def test_a_provider_that_cannot_be_had_is_a_mistake_of_the_configuration(tmp_path):
    said = refused(lambda: source(tmp_path, key_provider="other-kms:k"), with_error=ConfigurationError)
    assert "acme-kms, environment, file" in said
    said = refused(lambda: source(tmp_path, key_provider="acme-kms"), with_error=ConfigurationError)
    assert "CANARY" not in said


@pytest.mark.parametrize("text", ["", "c2hvcnQ=", "no base64"])
def test_a_wrapping_key_that_is_none_is_refused_without_being_shown(tmp_path, monkeypatch, text):
    monkeypatch.setenv("WRAPPING_KEY", text)
    said = refused(
        lambda: source(tmp_path, key_provider="environment:WRAPPING_KEY"), with_error=ConfigurationError
    )
    assert "WRAPPING_KEY" in said
    assert not text or text not in said


def test_a_wrapping_key_in_no_file_is_refused(tmp_path):
    assert "/nowhere" in refused(
        lambda: source(tmp_path, key_provider="file:/nowhere"), with_error=ConfigurationError
    )


@pytest.mark.parametrize("damage", [{"keyring": "not base64!"}, {"keyring": None}])
def test_a_damaged_wrapping_is_told_from_a_wrong_key(tmp_path, damage):
    wrapped = source(tmp_path, key_provider="acme-kms:k")
    wrapped.create(NOW)
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | damage))
    assert "backup" in refused(wrapped.document, with_error=ConfigurationError)


@pytest.mark.parametrize("providers", [("", "acme-kms:k"), ("acme-kms:k", ""), ("acme-kms:k", "acme-kms:l")])
def test_a_keyring_is_brought_from_one_provider_to_another(tmp_path, providers):
    before, after = (source(tmp_path, key_provider=provider) for provider in providers)
    before.create(NOW)
    known = ids(before)
    after.take_over(before)
    assert ids(after) == known
    with pytest.raises(VaultError):
        before.document()


def test_a_keyring_that_does_not_open_is_not_taken_over(tmp_path):
    source(tmp_path, key_provider="acme-kms:k").create(NOW)
    lying = (tmp_path / "keys.json").read_text()
    with pytest.raises(KeyProviderFailed):
        source(tmp_path).take_over(source(tmp_path, key_provider="acme-kms:other"))
    assert (tmp_path / "keys.json").read_text() == lying


def test_a_roles_part_is_neither_changed_nor_completed(tmp_path):
    part = tmp_path / "serve.json"
    part.write_text(json.dumps(keyring.for_role(json.loads(TEXT), "serve")))
    before = part.read_text()
    assert not source(tmp_path, f"file:{part}").create(NOW)
    part_source = source(tmp_path, f"file:{part}")
    assert "whole keyring" in refused(lambda: part_source.change(dict), with_error=ConfigurationError)
    assert part.read_text() == before
