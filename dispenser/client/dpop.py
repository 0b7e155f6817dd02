"""Proofs that an agent holds the key its vault token is bound to (RFC 9449 §4.2): one for each request."""

import hashlib
import json
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dispenser.agent_key import base64url, public_jwk

#: RFC 8037 §3.1: the name that every implementation knows.
ALGORITHM: Final = "EdDSA"


def proof(key: Ed25519PrivateKey, *, method: str, url: str, token: str, proof_id: str, now: float) -> str:
    """The value of the header `DPoP`. `now` in seconds since the epoch; `proof_id` is never used twice."""
    header = {"typ": "dpop+jwt", "alg": ALGORITHM, "jwk": public_jwk(key.public_key())}
    claims = {
        "jti": proof_id,
        "htm": method,
        "htu": url.partition("#")[0].partition("?")[0],
        "iat": int(now),
        "ath": base64url(hashlib.sha256(token.encode()).digest()),
    }
    signed = f"{_part(header)}.{_part(claims)}"
    return f"{signed}.{base64url(key.sign(signed.encode()))}"


def _part(value: dict[str, Any]) -> str:
    return base64url(json.dumps(value, separators=(",", ":")).encode())
