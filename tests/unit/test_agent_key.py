"""An agent's key is named as the RFCs name it, and nothing that looks like one is taken for one."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from dispenser.agent_key import from_jwk, from_pem, from_text, public_jwk, thumbprint

#: RFC 8037, appendix A.2 and A.3.
JWK = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_the_thumbprint_is_that_of_the_rfc() -> None:
    assert thumbprint(from_jwk(JWK)) == THUMBPRINT
    assert public_jwk(from_jwk(JWK)) == JWK


def test_other_members_do_not_make_another_key() -> None:
    assert thumbprint(from_jwk(JWK | {"kid": "mine", "use": "sig"})) == THUMBPRINT


@pytest.mark.parametrize(
    ("jwk", "says"),
    [
        (JWK | {"kty": "EC"}, "not an Ed25519"),
        (JWK | {"crv": "X25519"}, "not an Ed25519"),
        (JWK | {"x": 7}, "not an Ed25519"),
        (JWK | {"x": "é"}, "base64url"),
        (JWK | {"x": "AAAA"}, "32 bytes"),
        (JWK | {"d": "secret"}, "private key"),
        ({}, "not an Ed25519"),
    ],
)
def test_what_is_no_public_key_is_refused(jwk: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        from_jwk(jwk)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "secret", "[]", "7", "[" * 100_000])
def test_a_text_that_is_no_jwk_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"JWK|Ed25519") as caught:
        from_text(text)
    assert "secret" not in str(caught.value)


def pem(key: object, encryption: KeySerializationEncryption | None = None) -> bytes:
    made: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"garbage",
        pem(generate_private_key(SECP256R1())),
        pem(Ed25519PrivateKey.generate(), BestAvailableEncryption(b"password")),
    ],
    ids=["empty", "garbage", "another kind", "under a password"],
)
def test_a_pem_that_holds_no_such_key_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="key"):
        from_pem(text)


def test_a_pem_gives_its_key_back() -> None:
    key = Ed25519PrivateKey.generate()
    assert thumbprint(from_pem(pem(key)).public_key()) == thumbprint(key.public_key())
