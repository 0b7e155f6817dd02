"""The key that an agent's vault token is bound to (RFC 7800): an Ed25519 pair, as a JWK (RFC 8037) and by its
thumbprint (RFC 7638)."""

import binascii
import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

KEY_BYTES: Final = 32


def public_jwk(key: Ed25519PublicKey) -> dict[str, str]:
    """The public key as RFC 8037 §2 writes it: the members that a thumbprint is of, and no other."""
    return {"crv": "Ed25519", "kty": "OKP", "x": base64url(key.public_bytes_raw())}


def thumbprint(key: Ed25519PublicKey) -> str:
    """What names the key in `cnf` (`jkt`, RFC 9449 §6.1): base64url of the JWK's SHA-256."""
    canonical = json.dumps(public_jwk(key), sort_keys=True, separators=(",", ":"))
    return base64url(hashlib.sha256(canonical.encode()).digest())


def from_jwk(jwk: Mapping[str, object]) -> Ed25519PublicKey:
    """The public key in a JWK. Raises: ValueError, also where a private key was given away in it."""
    if (jwk.get("kty"), jwk.get("crv")) != ("OKP", "Ed25519") or not isinstance(jwk.get("x"), str):
        raise ValueError('not an Ed25519 public key: {"kty": "OKP", "crv": "Ed25519", "x": …} (RFC 8037)')
    if "d" in jwk:
        raise ValueError("this is the private key (`d`), which nobody but the agent may have: make a new one")
    try:
        raw = urlsafe_b64decode(str(jwk["x"]) + "=")
    except (binascii.Error, ValueError):
        raise ValueError("its `x` is not base64url") from None
    if len(raw) != KEY_BYTES:
        raise ValueError(f"its `x` is not {KEY_BYTES} bytes long")
    return Ed25519PublicKey.from_public_bytes(raw)


def from_text(text: str) -> Ed25519PublicKey:
    """The public key in a JWK's JSON text. Raises: ValueError."""
    try:
        jwk = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("not a JWK: it is JSON, as `dispenser agent key` prints it") from None
    return from_jwk(jwk if isinstance(jwk, dict) else {})


def from_pem(pem: bytes) -> Ed25519PrivateKey:
    """The private key in a PEM file (PKCS 8, no password). Raises: ValueError, naming no key material."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        raise ValueError("not a private key in PEM without a password") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("not an Ed25519 key: `dispenser agent key FILE` makes one")  # noqa: TRY004 - what was read is wrong, not a type
    return key


def base64url(value: bytes) -> str:
    """Without padding, as JOSE writes it (RFC 7515 §2)."""
    return urlsafe_b64encode(value).rstrip(b"=").decode()
