"""An envelope opens where it belongs, for whom it is sealed, and nowhere else."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import envelope, keyring
from shared.errors import KeyMissing, SealBroken
from shared.model import (
    AccessToken,
    AuthorizationCode,
    ClientItself,
    EnrolmentId,
    Grant,
    GrantId,
    GrantState,
    Owner,
    Presented,
    Provider,
    ProviderName,
    ProviderSecrets,
    RefreshToken,
    ServiceAccountKey,
    ServiceName,
    StaticToken,
)
from shared.secret import Secret

NOW = datetime(2026, 11, 24, 8, 0, 0, 123456, tzinfo=UTC)
KEYS = keyring.parse(json.dumps(keyring.generate()))
OTHER_KEYS = keyring.parse(json.dumps(keyring.generate()))
WRITER = replace(KEYS, grant_private={})
TRACKER, ADA = ServiceName("time-tracker"), Owner("ada")
ENROLMENT = EnrolmentId("e1")
PROVIDER = Provider(name=ProviderName("p"), client_id="c", token_url="https://p.example/token")
SECRETS = ProviderSecrets(client_secrets=(Secret("new"), Secret("old")), private_key=Secret("pem"))


def grant(sealed: bytes | None, **changes: object) -> Grant:
    values = {
        "id": GrantId("g1"),
        "service": TRACKER,
        "owner": ADA,
        "state": GrantState.ACTIVE,
        "generation": 7,
        "scopes": (),
        "sealed_credential": sealed,
        "credential_fingerprint": b"",
        "sealed_token": None,
        "token_expires_at": None,
        "refresh_at": None,
        "failures": 0,
        "last_error": None,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Grant(**values | changes)  # type: ignore[arg-type]


def token(**changes: object) -> AccessToken:
    values = {
        "value": Secret("at_1"),
        "token_type": "Bearer",
        "scopes": ("a", "b"),
        "issued_at": NOW,
        "expires_at": NOW,
        "generation": 7,
        "grant_id": GrantId("g1"),
    }
    return AccessToken(**values | changes)  # type: ignore[arg-type]


CREDENTIAL = envelope.seal_credential(KEYS, GrantId("g1"), ADA, 7, RefreshToken(value=Secret("rt")))
TOKEN = envelope.seal_token(KEYS, TRACKER, ADA, token())
PRESENTED = envelope.seal_enrolment(KEYS, ENROLMENT, TRACKER, ADA, RefreshToken(value=Secret("rt")))
SPOOLED = envelope.seal_spooled(KEYS, GrantId("g1"), ADA, 7, b"answer")
REGISTERED = envelope.seal_provider_secrets(KEYS, PROVIDER, SECRETS)


@pytest.mark.parametrize(
    "presented",
    [
        AuthorizationCode(code=Secret("c"), verifier=Secret("v"), redirect_uri="r", scopes=("a", "b")),
        RefreshToken(value=Secret("rt")),
        RefreshToken(value=Secret("rt"), client=PROVIDER.client),
        StaticToken(value=Secret("pat")),
        ServiceAccountKey(private_key=Secret("pem"), issuer="i", key_id="k", subject=None),
        ClientItself(),
    ],
)
def test_whatever_is_presented_comes_back(presented: Presented) -> None:
    sealed = envelope.seal_enrolment(KEYS, ENROLMENT, TRACKER, ADA, presented)
    assert envelope.open_enrolment(KEYS, ENROLMENT, TRACKER, ADA, sealed) == presented


def test_one_that_says_nothing_of_a_client_was_given_to_none() -> None:
    """As they were sealed before: it opens, and is sent nowhere."""
    body = msgpack.packb(["refresh_token", {"value": "rt"}])
    place = envelope._place("credential", "g1", ADA)
    sealed = envelope._seal_to_refreshers(KEYS, 7, place, body)
    assert envelope.open_credential(KEYS, grant(sealed)) == RefreshToken(value=Secret("rt"), client=None)


@pytest.mark.parametrize("expires_at", [NOW, None])
def test_a_token_comes_back(expires_at: datetime | None) -> None:
    issued = token(expires_at=expires_at)
    assert envelope.open_token(KEYS, TRACKER, ADA, envelope.seal_token(KEYS, TRACKER, ADA, issued)) == issued


def test_a_credential_an_answer_and_secrets_come_back() -> None:
    assert envelope.open_credential(KEYS, grant(CREDENTIAL)) == RefreshToken(value=Secret("rt"))
    assert envelope.open_credential(KEYS, grant(None)) == ClientItself()
    assert envelope.open_spooled(KEYS, GrantId("g1"), ADA, 7, SPOOLED) == b"answer"
    assert envelope.open_provider_secrets(KEYS, PROVIDER, REGISTERED) == SECRETS
    assert envelope.open_provider_secrets(KEYS, PROVIDER, None) == ProviderSecrets()


ELSEWHERE: dict[str, Callable[[], object]] = {
    "a credential in another grant": lambda: envelope.open_credential(KEYS, grant(CREDENTIAL, id="g2")),
    "a credential of another owner": lambda: envelope.open_credential(KEYS, grant(CREDENTIAL, owner="bob")),
    "a credential of another generation": lambda: envelope.open_credential(
        KEYS, grant(CREDENTIAL, generation=8)
    ),
    "a token of another service": lambda: envelope.open_token(KEYS, ServiceName("slack"), ADA, TOKEN),
    "a token of another owner": lambda: envelope.open_token(KEYS, TRACKER, Owner("bob"), TOKEN),
    "an enrolment's in another": lambda: envelope.open_enrolment(
        KEYS, EnrolmentId("e2"), TRACKER, ADA, PRESENTED
    ),
    "an enrolment's for another service": lambda: envelope.open_enrolment(
        KEYS, ENROLMENT, ServiceName("slack"), ADA, PRESENTED
    ),
    "an enrolment's as a credential": lambda: envelope.open_credential(KEYS, grant(PRESENTED, generation=0)),
    "an answer for another generation": lambda: envelope.open_spooled(KEYS, GrantId("g1"), ADA, 8, SPOOLED),
    "secrets for another address": lambda: envelope.open_provider_secrets(
        KEYS, replace(PROVIDER, token_url="https://evil.example/token"), REGISTERED
    ),
    "secrets for another place to give back": lambda: envelope.open_provider_secrets(
        KEYS, replace(PROVIDER, revocation_url="https://evil.example/revoke"), REGISTERED
    ),
    "secrets of another client": lambda: envelope.open_provider_secrets(
        KEYS, replace(PROVIDER, client_id="d"), REGISTERED
    ),
    "a token where a credential belongs": lambda: envelope.open_credential(KEYS, grant(TOKEN)),
    "a credential where a token belongs": lambda: envelope.open_token(KEYS, TRACKER, ADA, CREDENTIAL),
}


@pytest.mark.parametrize("place", ELSEWHERE)
def test_moved_elsewhere_it_does_not_open(place: str) -> None:
    with pytest.raises(SealBroken):
        ELSEWHERE[place]()


def test_who_can_write_a_credential_need_not_be_able_to_read_it() -> None:
    sealed = envelope.seal_credential(WRITER, GrantId("g1"), ADA, 7, RefreshToken(value=Secret("rt")))
    with pytest.raises(KeyMissing):
        envelope.open_credential(WRITER, grant(sealed))
    assert envelope.open_credential(KEYS, grant(sealed)) == RefreshToken(value=Secret("rt"))


def test_under_another_keyring_it_does_not_open() -> None:
    with pytest.raises(KeyMissing):
        envelope.open_credential(OTHER_KEYS, grant(CREDENTIAL))
    with pytest.raises(KeyMissing):
        envelope.open_token(OTHER_KEYS, TRACKER, ADA, TOKEN)


@given(st.integers(0, len(TOKEN) * 8 - 1))
def test_a_token_with_any_bit_flipped_does_not_open(bit: int) -> None:
    with pytest.raises((SealBroken, KeyMissing)):
        envelope.open_token(KEYS, TRACKER, ADA, _flipped(TOKEN, bit))


@given(st.integers(0, len(CREDENTIAL) * 8 - 1))
def test_a_credential_with_any_bit_flipped_does_not_open(bit: int) -> None:
    with pytest.raises((SealBroken, KeyMissing)):
        envelope.open_credential(KEYS, grant(_flipped(CREDENTIAL, bit)))


@given(st.floats(0, 1, exclude_max=True))
def test_cut_short_it_does_not_open(share: float) -> None:
    with pytest.raises((SealBroken, KeyMissing)):
        envelope.open_credential(KEYS, grant(CREDENTIAL[: int(share * len(CREDENTIAL))]))
    with pytest.raises((SealBroken, KeyMissing)):
        envelope.open_token(KEYS, TRACKER, ADA, TOKEN[: int(share * len(TOKEN))])


@given(st.binary(max_size=200))
def test_garbage_does_not_open(garbage: bytes) -> None:
    with pytest.raises((SealBroken, KeyMissing)):
        envelope.open_token(KEYS, TRACKER, ADA, garbage)


def test_every_envelope_names_its_key() -> None:
    assert envelope.key_id(CREDENTIAL) == KEYS.primary_id("grant")
    assert envelope.key_id(TOKEN) == KEYS.primary_id("cache")


def test_a_fingerprint_tells_credentials_apart_and_nothing_else() -> None:
    one = envelope.fingerprint(GrantId("g1"), RefreshToken(value=Secret("rt")))
    assert one == envelope.fingerprint(GrantId("g1"), RefreshToken(value=Secret("rt")))
    assert one == envelope.fingerprint(
        GrantId("g1"), RefreshToken(value=Secret("rt"), client=PROVIDER.client)
    )
    assert one != envelope.fingerprint(GrantId("g1"), RefreshToken(value=Secret("rt2")))
    assert one != envelope.fingerprint(GrantId("g2"), RefreshToken(value=Secret("rt")))
    assert one != envelope.fingerprint(GrantId("g1"), StaticToken(value=Secret("rt")))
    assert envelope.fingerprint(GrantId("g1"), ClientItself()) == b""


@pytest.mark.parametrize(
    "secret", [RefreshToken(value=Secret("canary")), token(value=Secret("canary")), SECRETS, KEYS]
)
def test_nothing_secret_shows_in_a_repr(secret: object) -> None:
    shown = repr(secret)
    assert "canary" not in shown
    assert "pem" not in shown


def _flipped(sealed: bytes, bit: int) -> bytes:
    changed = bytearray(sealed)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
