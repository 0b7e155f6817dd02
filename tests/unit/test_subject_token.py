"""A workload's own token is taken from its issuer alone, for us, in its time, and as the rules say."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from builders import NOW
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from dispenser.agent_key import base64url
from dispenser.subject_token import MAX_CHARACTERS, Claimed, InvalidSubjectToken, Workload, admitted, claimed
from shared.model import FromClaim, Issuer, IssuerRule, SignatureAlgorithm

URL = "https://cluster.example"
SECONDS = int(NOW.timestamp())
CLAIMS = {
    "iss": URL,
    "aud": ["vault", "other"],
    "sub": "system:serviceaccount:agents:tracker",
    "exp": SECONDS + 600,
    "iat": SECONDS,
}
ED = OKPKey.import_key(Ed25519PrivateKey.from_private_bytes(bytes(32)), {"kid": "ed"})
EC = ECKey.import_key(generate_private_key(SECP256R1()), {"kid": "ec"})
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
FOREIGN = OKPKey.import_key(Ed25519PrivateKey.from_private_bytes(bytes(31) + b"1"), {"kid": "ed"})
PUBLIC = [key.as_dict(private=False) for key in (ED, EC, RSA)]


def an_issuer(*rules: IssuerRule, **changes: Any) -> Issuer:
    rule = IssuerRule(claims={"sub": "system:serviceaccount:agents:*"}, agent="tracker", owner="shared")
    return Issuer(
        **{"name": "cluster", "issuer": URL, "audience": "vault", "rules": rules or (rule,)} | changes
    )


def signed(
    key: Any = ED, algorithm: str = "EdDSA", header: dict[str, Any] | None = None, **claims: Any
) -> str:
    """None leaves a claim out."""
    kept = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    head = {"alg": algorithm, "kid": key.kid} | (header or {})
    return jwt.encode(
        {name: value for name, value in head.items() if value is not None}, kept, key, algorithms=[algorithm]
    )


def admit(text: str, issuer: Issuer | None = None, **changes: Any) -> Workload:
    values = {"key_id": claimed(text).key_id, "keys": PUBLIC, "now": NOW} | changes
    return admitted(text, issuer=issuer or an_issuer(), **values)


@pytest.mark.parametrize(("key", "algorithm"), [(ED, "EdDSA"), (EC, "ES256"), (RSA, "RS256")])
def test_a_token_of_the_issuer_stands_for_whom_its_rule_says(key: Any, algorithm: str) -> None:
    assert claimed(signed(key, algorithm)) == Claimed(issuer=URL, key_id=key.kid)
    assert admit(signed(key, algorithm)) == Workload(
        agent="tracker",
        owner="shared",
        subject=CLAIMS["sub"],
        expires_at=datetime.fromtimestamp(SECONDS + 600, UTC),
        key=None,
    )


def test_a_token_without_a_keys_id_is_tried_with_every_key() -> None:
    assert admit(signed(EC, "ES256", {"kid": None})).agent == "tracker"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (signed(FOREIGN), "not signed"),
        (signed(RSA, "PS256"), "not signed"),
        (signed(ED, header={"kid": "ec"}), "not signed"),
        (signed(ED, header={"kid": "gone"}), "not signed"),
        (signed(iss="https://elsewhere.example"), "not signed"),
        (signed(aud="other"), "audience"),
        (signed(aud=None), "audience"),
        (signed(aud="vaults"), "audience"),
        (signed(aud={"vault": 1}), "audience"),
        (signed(exp=SECONDS - 1), "expired"),
        (signed(exp=None), "expired"),
        (signed(exp=True), "expired"),
        (signed(exp="9999999999"), "expired"),
        (signed(exp=10**30), "expired"),
        (signed(nbf=SECONDS + 60), "future"),
        (signed(nbf="now"), "future"),
        (signed(iat=SECONDS + 60), "future"),
        (signed(sub=None), "subject"),
        (signed(sub=""), "subject"),
        (signed(sub="system:serviceaccount:other:tracker"), "No rule"),
        (signed(cnf={"x5t#S256": "a"}), "bound to a key"),
        (signed(cnf="a"), "bound to a key"),
    ],
)
def test_anything_else_is_refused_and_told(text: str, says: str) -> None:
    with pytest.raises(InvalidSubjectToken, match=says):
        admit(text)


def test_a_key_that_is_not_for_signatures_signs_nothing() -> None:
    with pytest.raises(InvalidSubjectToken, match="not signed"):
        admit(signed(), keys=[PUBLIC[0] | {"use": "enc"}])
    symmetric = {"kty": "oct", "kid": "ed", "k": base64url(b"k" * 32)}
    with pytest.raises(InvalidSubjectToken, match="not signed"):
        admit(signed(), keys=[symmetric])


@pytest.mark.parametrize("algorithm", ["none", "HS256", "EdDSA"])
def test_a_mac_with_a_public_key_is_no_signature(algorithm: str) -> None:
    head = base64url(json.dumps({"alg": algorithm, "kid": "rsa"}).encode())
    body = base64url(json.dumps(CLAIMS).encode())
    for secret in (RSA.as_pem(private=False), json.dumps(PUBLIC[2]).encode()):
        mac = hmac.new(secret, f"{head}.{body}".encode(), hashlib.sha256).digest()
        for signature in ("", base64url(mac)):
            with pytest.raises(InvalidSubjectToken):
                admit(f"{head}.{body}.{signature}", key_id="rsa")


def test_only_declared_algorithms_are_taken() -> None:
    narrow = an_issuer(algorithms=(SignatureAlgorithm.ES256,))
    assert admit(signed(EC, "ES256"), narrow).agent == "tracker"
    with pytest.raises(InvalidSubjectToken, match="not signed"):
        admit(signed(), narrow)


@pytest.mark.parametrize(
    ("wanted", "value", "matches"),
    [
        ("acme/*", "acme/agents", True),
        ("acme/*", "acme-evil/agents", False),
        ("acme/*", ["x", "acme/agents"], True),
        ("acme/*", [["acme/agents"]], False),
        ("1", 1, False),
        (1, 1, True),
        (1, True, False),
        (True, True, True),
        (True, 1, False),
        (True, "true", False),
        ("*", None, False),
        ("*", {}, False),
    ],
)
def test_a_claim_matches_what_it_says_in_its_own_kind(wanted: Any, value: Any, matches: bool) -> None:
    issuer = an_issuer(IssuerRule(claims={"repository": wanted}, agent="tracker", owner="shared"))
    if matches:
        assert admit(signed(repository=value), issuer).agent == "tracker"
    else:
        with pytest.raises(InvalidSubjectToken, match="No rule"):
            admit(signed(repository=value), issuer)


def test_all_claims_of_a_rule_have_to_match_and_the_first_rule_counts() -> None:
    both = IssuerRule(claims={"sub": "*", "env": "prod"}, agent="prod", owner="shared")
    later = IssuerRule(claims={"sub": "*"}, agent="other", owner="shared")
    assert admit(signed(env="prod"), an_issuer(both, later)).agent == "prod"
    assert admit(signed(env="dev"), an_issuer(both, later)).agent == "other"


@pytest.mark.parametrize("email", ["ada@example.com", None, "", 7, "a\0b", "a" * 300])
def test_agent_and_owner_may_come_from_claims_that_are_names(email: Any) -> None:
    rule = IssuerRule(claims={"sub": "*"}, agent=FromClaim(claim="agent"), owner=FromClaim(claim="email"))
    text = signed(agent="tracker", email=email)
    if email == "ada@example.com":
        found = admit(text, an_issuer(rule))
        assert (found.agent, found.owner) == ("tracker", email)
    else:
        with pytest.raises(InvalidSubjectToken, match="No rule"):
            admit(text, an_issuer(rule))


def test_a_bound_token_names_its_key() -> None:
    assert admit(signed(cnf={"jkt": "thumbprint"})).key == "thumbprint"


@pytest.mark.parametrize("text", ["", "a.b.c", "x" * (MAX_CHARACTERS + 1), signed(iss=None), signed(iss=7)])
def test_what_names_no_issuer_is_refused(text: str) -> None:
    with pytest.raises(InvalidSubjectToken):
        claimed(text)


@given(
    st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: base64.urlsafe_b64encode(raw).decode())
)
def test_garbage_is_refused(garbage: str) -> None:
    with pytest.raises(InvalidSubjectToken):
        claimed(garbage)


@given(st.integers(-1000, 1000))
def test_a_token_ends_when_it_says(seconds: int) -> None:
    text = signed(exp=SECONDS + seconds)
    if seconds <= 0:
        with pytest.raises(InvalidSubjectToken):
            admit(text)
    else:
        assert admit(text).expires_at - NOW <= timedelta(seconds=seconds)
