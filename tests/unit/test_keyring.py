"""A keyring comes back from its text, names what is missing, and is divided by role."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from builders import a_provider, an_identity
from contract.stores import a_grant
from hypothesis import given
from hypothesis import strategies as st

from dispenser.vault_token import mint
from shared import envelope, keyring
from shared.errors import ConfigurationError, KeyMissing
from shared.model import EnrolmentId, Owner, ProviderSecrets, RefreshToken, ServiceName
from shared.secret import Secret

DOCUMENT = keyring.generate()
PRESENTED = RefreshToken(value=Secret("rt"))
PLACE = (EnrolmentId("e"), ServiceName("s"), Owner("o"))


def role_keys(role: str) -> keyring.Keyring:
    return keyring.parse(json.dumps(keyring.for_role(DOCUMENT, role)))


def test_a_new_keyring_has_a_primary_key_of_every_use() -> None:
    keys = keyring.parse(json.dumps(DOCUMENT))
    assert set(keys.primary) == set(keyring.USES)
    assert set(keys.grant_private) == set(keys.grant_public) == {keys.primary_id("grant")}


def test_two_keyrings_share_nothing() -> None:
    other = keyring.generate()
    assert not {entry["id"] for entry in DOCUMENT["keys"]} & {entry["id"] for entry in other["keys"]}


def test_nothing_of_a_key_shows_in_a_repr() -> None:
    shown = repr(keyring.parse(json.dumps(DOCUMENT)))
    for entry in DOCUMENT["keys"]:
        for part in ("private", "secret"):
            assert entry.get(part, "absent") not in shown


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("keys"),
        lambda d: d.update(version=2),
        lambda d: d["keys"][0].pop("id"),
        lambda d: d["keys"][0].update(id="not hex"),
        lambda d: d["keys"][0].update(private="not base64!"),
        lambda d: d["keys"][1].update(secret="c2hvcnQ="),
    ],
)
def test_a_keyring_that_was_damaged_is_refused_without_showing_it(change: Any) -> None:
    damaged = json.loads(json.dumps(DOCUMENT))
    change(damaged)
    with pytest.raises(ConfigurationError) as refusal:
        keyring.parse(json.dumps(damaged))
    assert DOCUMENT["keys"][1]["secret"] not in str(refusal.value)


def test_a_keyring_nested_beyond_reading_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        keyring.parse("[" * 100_000)


@given(st.text() | st.recursive(st.none() | st.text(), st.lists).map(json.dumps))
def test_garbage_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        keyring.parse(text)


def test_a_dispenser_can_neither_open_nor_seal_a_credential() -> None:
    with pytest.raises(KeyMissing):
        envelope.seal_enrolment(role_keys("serve"), *PLACE, RefreshToken(value=Secret("rt")))


def test_a_gateway_writes_what_it_cannot_read_and_a_refresher_can() -> None:
    sealed = envelope.seal_enrolment(role_keys("gateway"), *PLACE, RefreshToken(value=Secret("rt")))
    with pytest.raises(KeyMissing):
        envelope.open_enrolment(role_keys("gateway"), *PLACE, sealed)
    assert envelope.open_enrolment(role_keys("refresher"), *PLACE, sealed) == RefreshToken(value=Secret("rt"))


GRANT = a_grant(sealed_credential=None)
#: Everything that is sealed to the refreshers: how it is sealed, and how it is opened.
TO_REFRESHERS: dict[str, tuple[Callable[..., bytes], Callable[..., object]]] = {
    "credential": (
        lambda keys: envelope.seal_credential(keys, GRANT.id, GRANT.owner, GRANT.generation, PRESENTED),
        lambda keys, sealed: envelope.open_credential(keys, replace(GRANT, sealed_credential=sealed)),
    ),
    "enrolment": (
        lambda keys: envelope.seal_enrolment(keys, *PLACE, PRESENTED),
        lambda keys, sealed: envelope.open_enrolment(keys, *PLACE, sealed),
    ),
    "provider secrets": (
        lambda keys: envelope.seal_provider_secrets(keys, a_provider(), ProviderSecrets()),
        lambda keys, sealed: envelope.open_provider_secrets(keys, a_provider(), sealed),
    ),
    "spooled answer": (
        lambda keys: envelope.seal_spooled(keys, GRANT.id, GRANT.owner, 1, b"answer"),
        lambda keys, sealed: envelope.open_spooled(keys, GRANT.id, GRANT.owner, 1, sealed),
    ),
}
OTHERS = sorted(set(keyring.ROLES) - {"refresher"})


@pytest.mark.parametrize("what", TO_REFRESHERS)
@pytest.mark.parametrize("role", OTHERS)
def test_what_is_sealed_to_the_refreshers_is_opened_by_nobody_else(role: str, what: str) -> None:
    seal, opened = TO_REFRESHERS[what]
    sealed = seal(role_keys("gateway"))
    assert opened(role_keys("refresher"), sealed)
    with pytest.raises(KeyMissing):
        opened(role_keys(role), sealed)


@pytest.mark.parametrize("role", OTHERS)
def test_nothing_of_the_private_grant_key_is_exported_to_anybody_else(role: str) -> None:
    [private] = [entry["private"] for entry in DOCUMENT["keys"] if entry["use"] == "grant"]
    assert private not in json.dumps(keyring.for_role(DOCUMENT, role))
    assert not role_keys(role).grant_private


def test_who_handles_no_secret_holds_no_key() -> None:
    assert role_keys("scheduler").primary == {}


def test_who_signs_checkpoints_holds_no_other_key() -> None:
    assert set(role_keys("janitor").primary) == {"checkpoint"}
    assert role_keys("janitor").checkpoint_private
    assert not any(role_keys(role).checkpoint_private for role in ("serve", "gateway", "refresher"))


def test_a_missing_use_is_named() -> None:
    with pytest.raises(KeyMissing, match="signing"):
        role_keys("refresher").primary_id("signing")


def test_half_a_pair_makes_nothing_new() -> None:
    keys = keyring.parse(json.dumps(DOCUMENT))
    with pytest.raises(KeyMissing, match="signing"):
        mint(replace(keys, signing_private={}), an_identity(), vault="vault")
    with pytest.raises(KeyMissing, match="grant"):
        envelope.seal_enrolment(replace(keys, grant_public={}), *PLACE, RefreshToken(value=Secret("rt")))


@pytest.mark.parametrize("use", keyring.USES)
def test_a_key_that_is_named_and_not_held_is_missed(use: str) -> None:
    keys = keyring.parse(json.dumps(DOCUMENT))
    with pytest.raises(KeyMissing, match=use):
        keys.primary_key(use, {"0" * 16: "another"})
