"""A proof holds for the request it was made for, by the key in it, and for no other (RFC 9449 §4.3)."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from builders import NOW
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from dispenser.agent_key import base64url, public_jwk, thumbprint
from dispenser.client import dpop as client
from dispenser.http.dpop import AHEAD_SECONDS, OLD_SECONDS, InvalidProof, Proof, checked

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"1")
URL = "https://vault.example/v1/agents/tracker/credentials/time-tracker"
TOKEN = "the.vault.token"
HEADER = {"typ": "dpop+jwt", "alg": "EdDSA", "jwk": public_jwk(KEY.public_key())}


def check(text: str, **changes: Any) -> Proof:
    return checked(text, **{"method": "GET", "url": URL, "token": TOKEN, "now": NOW} | changes)


def made(**changes: Any) -> str:
    """What the client library sends."""
    values = {"method": "GET", "url": URL, "token": TOKEN, "proof_id": "one", "now": NOW.timestamp()}
    return client.proof(KEY, **values | changes)


def by_hand(header: dict[str, Any] | None = None, signer: Ed25519PrivateKey = KEY, **claims: Any) -> str:
    """A signature of the key's under anything; None leaves a claim out."""
    told = json.loads(base64.urlsafe_b64decode(made().split(".")[1] + "==")) | claims
    kept = {name: value for name, value in told.items() if value is not None}
    parts = [base64url(json.dumps(part).encode()) for part in (HEADER | (header or {}), kept)]
    return ".".join([*parts, base64url(signer.sign(".".join(parts).encode()))])


def test_a_clients_proof_holds_for_its_request_and_tells_its_key() -> None:
    assert check(made()).key == thumbprint(KEY.public_key())
    assert check(by_hand()) == check(made())


def test_both_names_of_the_algorithm_are_taken() -> None:
    assert check(by_hand({"alg": "Ed25519"})) == check(made())


def test_every_proof_of_every_key_has_a_name_of_its_own() -> None:
    mine, next_one = check(made()), check(made(proof_id="two"))
    others = check(by_hand({"jwk": public_jwk(OTHER.public_key())}, OTHER))
    assert len({mine.digest, next_one.digest, others.digest}) == 3


@pytest.mark.parametrize(
    "url",
    [
        f"{URL}?min_ttl=60#here",
        "HTTPS://VAULT.example:443/v1/agents/tracker/credentials/time-tracker",
        "https://vault.example/v1/agents/tracker/credentials/time%2Dtracker",
    ],
)
def test_an_address_is_the_same_however_it_is_written(url: str) -> None:
    check(by_hand(htu=url))


@pytest.mark.parametrize("age", [-AHEAD_SECONDS, 0, OLD_SECONDS - 1])
def test_clocks_may_differ_a_little(age: float) -> None:
    check(made(now=int(NOW.timestamp()) - age))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (made(method="POST"), "htm"),
        (by_hand(htm="get"), "htm"),
        (by_hand(htm=None), "htm"),
        (made(url="https://thief.example/v1/agents/tracker/credentials/time-tracker"), "htu"),
        (made(url=URL.replace("https", "http")), "htu"),
        (made(url=URL.replace(".example", ".example:8443")), "htu"),
        (made(url=f"{URL}/rejected"), "htu"),
        (by_hand(htu="https://[vault.example"), "htu"),
        (by_hand(htu="https://vault.example:port/"), "htu"),
        (by_hand(htu=7), "htu"),
        (by_hand(htu=None), "htu"),
        (made(now=NOW.timestamp() - OLD_SECONDS - 1), "iat"),
        (made(now=NOW.timestamp() + AHEAD_SECONDS + 1), "iat"),
        (by_hand(iat=None), "iat"),
        (by_hand(iat="1"), "iat"),
        (by_hand(iat=True), "iat"),
        (by_hand(iat=float("nan")), "iat"),
        (by_hand(iat=10**400), "iat"),
        (made(token="another"), "ath"),
        (by_hand(ath=None), "ath"),
        (by_hand(jti=None), "jti"),
        (by_hand(jti=""), "jti"),
        (by_hand(jti=7), "jti"),
        (by_hand({"typ": "JWT"}), "typ"),
        (by_hand({"typ": None}), "typ"),
        (by_hand(signer=OTHER), "no JWT signed"),
        (by_hand({"jwk": None}), "no JWT signed"),
        (by_hand({"jwk": "key"}), "no JWT signed"),
        (
            by_hand({"jwk": public_jwk(KEY.public_key()) | {"d": base64url(KEY.private_bytes_raw())}}),
            "no JWT",
        ),
        (by_hand({"alg": "none"}), "no JWT signed"),
        (by_hand({"alg": "HS256"}), "no JWT signed"),
        (by_hand({"crit": ["x"], "x": 1}), "no JWT signed"),
        ("", "no JWT signed"),
        ("a.b.c", "no JWT signed"),
        ("x" * 5000, "too long"),
    ],
)
def test_anything_else_is_refused_and_told_apart_for_people(text: str, says: str) -> None:
    with pytest.raises(InvalidProof, match=says):
        check(text)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS256"])
def test_a_mac_with_the_public_key_is_no_proof(algorithm: str) -> None:
    head, body, _ = by_hand({"alg": algorithm}).split(".")
    for secret in (KEY.public_key().public_bytes_raw(), json.dumps(HEADER["jwk"]).encode()):
        mac = hmac.new(secret, f"{head}.{body}".encode(), hashlib.sha256).digest()
        for signature in ("", base64url(mac)):
            with pytest.raises(InvalidProof):
                check(f"{head}.{body}.{signature}")


def test_an_id_may_be_any_text() -> None:
    assert check(by_hand(jti="\ud800")).digest != check(by_hand(jti="\ud801")).digest


def test_without_a_vault_token_to_go_with_none_is_asked_for() -> None:
    check(by_hand(ath=None), token=None)


@given(st.text(max_size=200) | st.binary(max_size=200).map(base64url))
def test_garbage_is_refused(garbage: str) -> None:
    with pytest.raises(InvalidProof):
        check(garbage)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_whatever_a_claim_holds_a_proof_is_checked_to_its_end(value: Any) -> None:
    for claim in ("htm", "htu", "iat", "ath", "jti"):
        try:
            check(by_hand(**{claim: value}))
        except InvalidProof:
            continue
        assert claim in ("jti", "iat")
