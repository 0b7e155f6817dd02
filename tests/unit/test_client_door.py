"""What an agent is given is checked before it connects, and every mistake is named at once."""

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from vault_jwt import vault_jwt

from dispenser import Misconfigured, Vault
from dispenser.agent_key import thumbprint
from dispenser.client.amqp_login import login
from dispenser.client.credential import Credential, read
from dispenser.client.door import configured

TOKEN = vault_jwt("tracker")
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


def test_all_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VAULT_URL", raising=False)
    monkeypatch.delenv("VAULT_AGENT_TOKEN", raising=False)
    with pytest.raises(Misconfigured) as caught:
        Vault()
    assert "VAULT_URL is not set" in str(caught.value)
    assert "VAULT_AGENT_TOKEN is not set" in str(caught.value)


def test_the_environment_is_used_where_no_argument_is_given() -> None:
    environment = {"VAULT_URL": "https://vault.example", "VAULT_AGENT_TOKEN": TOKEN}
    door = configured(None, None, environment)
    assert (door.kind, door.url, door.credential.agent) == ("http", "https://vault.example", "tracker")
    assert configured("amqps://broker.example", None, environment).kind == "amqp"


@pytest.mark.parametrize(
    "url",
    ["redis://secret@host", "secret", "http://", "amqp://:secret", "http://host:secret", "http://[secret"],
)
def test_a_wrong_address_is_told_without_showing_it(url: str) -> None:
    with pytest.raises(Misconfigured, match="VAULT_URL") as caught:
        configured(url, TOKEN, {})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "token",
    ["secret", "secret.secret.secret", "a.c2VjcmV0.secret", "a.W10.secret", "a.e30.secret", "é.e30.secret"],
)
def test_a_wrong_vault_token_is_told_without_showing_it(token: str) -> None:
    with pytest.raises(Misconfigured, match="VAULT_AGENT_TOKEN") as caught:
        configured("http://host", token, {})
    assert "secret" not in str(caught.value)


def test_no_repr_shows_a_password_or_the_vault_token() -> None:
    door = configured("amqp://agent:password@host", TOKEN, {})
    shown = repr(door) + repr(login(door.url, door.credential))
    assert "password" not in shown
    assert TOKEN not in shown


@pytest.mark.parametrize(
    ("bound_to", "key", "says"),
    [
        (thumbprint(KEY.public_key()), None, "VAULT_AGENT_KEY is not set"),
        (thumbprint(KEY.public_key()), Ed25519PrivateKey.generate(), "not the key"),
        (None, KEY, "not the key"),
    ],
    ids=["missing", "another", "not bound"],
)
def test_a_key_that_does_not_fit_the_vault_token_is_told(
    bound_to: str | None, key: Ed25519PrivateKey | None, says: str
) -> None:
    with pytest.raises(Misconfigured, match=says):
        configured("https://host", vault_jwt(key=bound_to), {}, key)


def test_the_key_comes_from_the_file_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "agent.pem"
    file.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    monkeypatch.setenv("VAULT_AGENT_KEY", str(file))
    bound = vault_jwt(key=thumbprint(KEY.public_key()))
    Vault("https://host", bound)
    with pytest.raises(Misconfigured, match="cannot be read"):
        Vault("https://host", bound, key=tmp_path / "none.pem")
    file.write_bytes(b"garbage")
    with pytest.raises(Misconfigured, match="holds no key"):
        Vault("https://host", bound)


def credential(issued_at: float | None = 1000, expires_at: float | None = 1900) -> Credential:
    return Credential(text="t", agent="tracker", issued_at=issued_at, expires_at=expires_at)


@pytest.mark.parametrize(
    ("held", "now", "expected"),
    [
        (credential(), 1000, 630),
        (credential(), 1600, 30),
        (credential(), 1800, 0),
        (credential(issued_at=None), 1000, 630),
        (credential(expires_at=None), 1000, None),
        (replace(credential(), until=1900), 1000, None),
        (replace(credential(), until=2500), 1000, 630),
    ],
)
def test_a_vault_token_is_renewed_after_seven_tenths_of_its_life(
    held: Credential, now: float, expected: float | None
) -> None:
    assert held.renewal_in_seconds(now) == (None if expected is None else pytest.approx(expected))


def test_a_url_with_a_user_logs_in_as_that_user() -> None:
    found = login("amqp://gu%65st:guest@host:5672/%2Fmine", read(TOKEN))
    assert (found.user, found.by_vault_token) == ("guest", False)
    assert found.url.startswith("amqp://gu%65st:guest@host:5672/%2Fmine?")


def test_a_url_without_a_user_logs_in_as_the_agent_with_its_vault_token() -> None:
    found = login("amqps://host:5671/vault?cafile=ca.pem", read(TOKEN))
    assert (found.user, found.by_vault_token) == ("tracker", True)
    assert found.url == f"amqps://tracker:{TOKEN}@host:5671/vault?cafile=ca.pem&heartbeat=10"


def test_a_heartbeat_of_the_users_own_is_left_alone() -> None:
    assert login("amqp://a:b@host/?heartbeat=60", read(TOKEN)).url == "amqp://a:b@host/?heartbeat=60"
