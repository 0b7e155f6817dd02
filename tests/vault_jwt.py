"""Vault tokens as an agent's client reads them: their signature is none, for only the vault checks it."""

import base64
import json
import time


def vault_jwt(
    agent: str = "tracker",
    *,
    life_seconds: float | None = 900,
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
    return f"{_segment({'alg': 'EdDSA'})}.{_segment(claims)}.c2lnbmF0dXJl"


def _segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
