"""A vault token says what it was made to say, and nothing that looks like one is taken for one."""

import base64
import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any

import pytest
from builders import KEYS, NOW, OTHER_KEYS, VAULT, a_vault_token, an_identity
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import OKPKey

from dispenser.narrowing import Narrowing
from dispenser.revocation import revoked
from dispenser.vault_token import (
    MAX_CHARACTERS,
    SKEW_SECONDS,
    Identity,
    InvalidVaultToken,
    renewed,
    verification_keys,
    verify,
)
from shared.keyring import signing_public_pem
from shared.model import RevocationKind

KEY_ID = KEYS.primary_id("signing")


def check(text: str, **changes: Any) -> Identity:
    return verify(KEYS, text, **{"vault": VAULT, "now": NOW} | changes)


def claims(text: str) -> dict[str, Any]:
    return jwt.decode(text, verification_keys(KEYS), algorithms=["EdDSA"]).claims


def signed(header: dict[str, Any] | None = None, **changes: Any) -> str:
    """Our own signature under other claims; None leaves one out."""
    made = claims(a_vault_token()) | changes
    kept = {name: value for name, value in made.items() if value is not None}
    key = OKPKey.import_key(KEYS.signing_private[KEY_ID])
    return jwt.encode({"alg": "EdDSA", "kid": KEY_ID} | (header or {}), kept, key, algorithms=["EdDSA"])


def test_it_says_who_was_put_in() -> None:
    assert check(a_vault_token()) == an_identity()


def test_a_bound_one_says_which_key_and_keeps_it_when_renewed() -> None:
    bound = an_identity(key="thumbprint")
    assert claims(a_vault_token(key="thumbprint"))["cnf"] == {"jkt": "thumbprint"}
    assert check(a_vault_token(key="thumbprint")) == bound
    assert renewed(bound, "token-2", NOW, timedelta(minutes=15)).key == "thumbprint"
    assert "cnf" not in claims(a_vault_token())


CHILD = {
    "until": NOW.replace(microsecond=0) + timedelta(minutes=15),
    "actors": ("intern", "helper", "tracker"),
    "narrowing": Narrowing(services=frozenset({"slack-post"}), scopes=frozenset({"write"}), owner="grace"),
}


def test_a_delegated_one_says_who_acts_with_it_and_within_what() -> None:
    made = claims(a_vault_token(**CHILD))
    assert made["sub"] == "tracker"
    assert made["act"] == {"sub": "intern", "act": {"sub": "helper", "act": {"sub": "tracker"}}}
    assert made["only"] == {"services": ["slack-post"], "scopes": ["write"], "owner": "grace"}
    assert check(a_vault_token(**CHILD)) == an_identity(**CHILD)
    assert check(a_vault_token()).actors == ()


def test_no_renewal_goes_beyond_the_end_that_was_set() -> None:
    soon = renewed(an_identity(**CHILD), "token-2", NOW + timedelta(minutes=9), timedelta(minutes=15))
    assert soon.expires_at == CHILD["until"]


def test_rabbitmq_can_take_it_as_a_password() -> None:
    made = claims(a_vault_token())
    assert made["aud"] == ["rabbitmq", VAULT]
    assert type(made["exp"]) is int
    assert "client_id" not in made
    assert made["scope"].split() == [
        "rabbitmq.write:*/vault.rpc",
        "rabbitmq.configure:*/vault.reply.tracker.*",
        "rabbitmq.read:*/vault.reply.tracker.*",
    ]
    assert len(a_vault_token()) < MAX_CHARACTERS


def test_a_renewed_one_differs_in_its_id_and_its_life_alone() -> None:
    later = renewed(an_identity(), "token-2", NOW + timedelta(minutes=9), timedelta(minutes=15))
    assert (later.agent, later.session, later.owner) == ("tracker", "session-1", "ada")
    assert (later.token_id, later.expires_at) == ("token-2", NOW + timedelta(minutes=24))


def test_a_revocation_that_the_renewal_has_not_seen_voids_the_new_one_too() -> None:
    now = NOW + timedelta(minutes=9)
    later = renewed(an_identity(), "token-2", now, timedelta(minutes=15))
    unseen = {(RevocationKind.OWNER, "ada"): now - timedelta(seconds=1)}
    assert revoked(later, (), unseen)
    seen = {(RevocationKind.OWNER, "ada"): NOW - timedelta(seconds=1)}
    assert not revoked(renewed(an_identity(), "token-2", NOW, timedelta(minutes=15)), (), seen)


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        (a_vault_token(OTHER_KEYS), {}),
        (a_vault_token(), {"vault": "another"}),
        (a_vault_token(), {"now": NOW + timedelta(minutes=15)}),
        (a_vault_token(), {"now": an_identity().expires_at}),
        (a_vault_token(issued_at=NOW + timedelta(seconds=SKEW_SECONDS + 1)), {}),
        (signed(aud=None), {}),
        (signed(aud="rabbitmq"), {}),
        (signed(aud=["rabbitmq"]), {}),
        (signed(aud=VAULT), {}),
        (signed(aud=f"not-{VAULT}-but-longer"), {}),
        (signed(aud={VAULT: True}), {}),
        (signed(iss=None), {}),
        (signed(iss="another"), {}),
        (signed(exp=None), {}),
        (signed(exp=NOW.timestamp() + 60.5), {}),
        (signed(exp=10**30), {}),
        (signed(exp=2**62), {}),
        (signed(exp=True), {}),
        (signed(iat=None), {}),
        (signed(iat=True), {}),
        (signed(iat="0"), {}),
        (signed(iat=-1e18), {}),
        (signed(sub=None), {}),
        (signed(sub=""), {}),
        (signed(sub=7), {}),
        (signed(sid=None), {}),
        (signed(own=None), {}),
        (signed(jti=None), {}),
        (signed(until="never"), {}),
        (signed(until=10**30), {}),
        (signed(act={}), {}),
        (signed(act="intern"), {}),
        (signed(act={"sub": ""}), {}),
        (signed(act={"sub": "intern", "act": []}), {}),
        (signed(only=["slack-post"]), {}),
        (signed(only={"services": "slack-post"}), {}),
        (signed(only={"services": [1]}), {}),
        (signed(only={"owner": ""}), {}),
        (signed(only={"later": ["x"]}), {}),
        (signed(cnf={}), {}),
        (signed(cnf={"jkt": ""}), {}),
        (signed(cnf={"jkt": 7}), {}),
        (signed(cnf={"kid": "one"}), {}),
        (signed(cnf="thumbprint"), {}),
        (signed(header={"kid": "unknown"}), {}),
        ("", {}),
        ("x" * (MAX_CHARACTERS + 1), {}),
        ("a.b.c", {}),
    ],
)
def test_anything_else_is_refused(text: str, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidVaultToken):
        check(text, **changes)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "EdDSA", "RS256", "Ed25519"])
def test_another_algorithm_is_not_taken_whatever_key_it_is_keyed_with(algorithm: str) -> None:
    public = signing_public_pem(KEYS.signing_public[KEY_ID])
    head = _part({"alg": algorithm, "kid": KEY_ID})
    body = _part(claims(a_vault_token()))
    mac = hmac.new(public, f"{head}.{body}".encode(), hashlib.sha256).digest()
    for signature in ("", base64.urlsafe_b64encode(mac).rstrip(b"=").decode()):
        with pytest.raises(InvalidVaultToken):
            check(f"{head}.{body}.{signature}")


def signed_by_hand(**header: Any) -> str:
    signed_part = f"{_part({'alg': 'EdDSA', 'kid': KEY_ID} | header)}.{_part(claims(a_vault_token()))}"
    signature = KEYS.signing_private[KEY_ID].sign(signed_part.encode())
    return f"{signed_part}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


@pytest.mark.parametrize("extension", [{"crit": ["x"], "x": 1}, {"crit": ["b64"], "b64": False}])
def test_what_must_be_understood_and_is_not_is_refused_though_the_signature_is_ours(
    extension: dict[str, Any],
) -> None:
    """RFC 7515 §4.1.11."""
    assert check(signed_by_hand()) == an_identity()
    with pytest.raises(InvalidVaultToken):
        check(signed_by_hand(**extension))


@given(st.integers(0, len(a_vault_token()) - 1), st.characters(codec="ascii"))
def test_one_character_changed_is_refused(place: int, character: str) -> None:
    text = a_vault_token()
    changed = text[:place] + character + text[place + 1 :]
    try:
        assert check(changed) == an_identity()  # base64 has spare bits in a last character
    except InvalidVaultToken:
        return
    assert _decoded(changed) == _decoded(text)


@given(
    st.text(max_size=300) | st.binary(max_size=200).map(lambda raw: base64.urlsafe_b64encode(raw).decode())
)
def test_garbage_is_refused_and_never_repeated(garbage: str) -> None:
    with pytest.raises(InvalidVaultToken) as refusal:
        check(garbage)
    assert len(garbage) < 4 or garbage not in str(refusal.value)


def _part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _decoded(text: str) -> list[bytes]:
    return [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in text.split(".")]
