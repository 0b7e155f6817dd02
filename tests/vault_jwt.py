"""Vault tokens as an agent's client reads them: signed, by nobody's vault."""

import base64
import json
import time

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNER = Ed25519PrivateKey.generate()
#: Longer than all tests together take, anywhere: many make theirs when they are collected.
A_DAY = 86_400.0


def vault_jwt(
    agent: str = "tracker",
    *,
    life_seconds: float | None = A_DAY,
    age_seconds: float = 0,
    serial: int = 0,
    key: str | None = None,
) -> str:
    issued_at = int(time.time() - age_seconds)
    claims: dict[str, object] = {"sub": agent, "iat": issued_at, "jti": str(serial)}
    if life_seconds is not None:
        claims["exp"] = int(issued_at + life_seconds)
    if key is not None:
        claims["cnf"] = {"jkt": key}
    signed = f"{_segment({'alg': 'EdDSA'})}.{_segment(claims)}"
    return f"{signed}.{_base64url(SIGNER.sign(signed.encode()))}"


def _segment(value: object) -> str:
    return _base64url(json.dumps(value).encode())


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
