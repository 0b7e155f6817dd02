"""Signed statements to a provider (RFC 7523 §3): who we are, for one minute, once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from shared.errors import ConfigurationError
from shared.secret import Secret

LIFETIME_SECONDS: Final = 60
_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What an assertion says."""

    issuer: str
    subject: str
    audience: str
    #: Never used before.
    jti: str
    more: Mapping[str, str] = field(default_factory=dict)


def signed(claims: Claims, private_key: Secret, key_id: str | None, now: datetime) -> str:
    """The assertion as a compact JWT. Raises: ConfigurationError where the key does not sign."""
    algorithm, key = _key(private_key.reveal())
    header = {"alg": algorithm, "typ": "JWT"} | ({"kid": key_id} if key_id else {})
    issued = int(now.timestamp())
    body = {
        "iss": claims.issuer,
        "sub": claims.subject,
        "aud": claims.audience,
        "iat": issued,
        "exp": issued + LIFETIME_SECONDS,
        "jti": claims.jti,
        **claims.more,
    }
    return jwt.encode(header, body, key, algorithms=[algorithm])


def _key(pem: str) -> tuple[str, RSAKey | ECKey | OKPKey]:
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        raise _unusable() from None
    if isinstance(key, RSAPrivateKey):
        return "RS256", RSAKey.import_key(pem)
    if isinstance(key, EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name], ECKey.import_key(pem)
    if isinstance(key, Ed25519PrivateKey):
        return "EdDSA", OKPKey.import_key(pem)
    raise _unusable()


def _unusable() -> ConfigurationError:
    return ConfigurationError(
        ["A private key for assertions does not load: give an unencrypted RSA, EC or Ed25519 key in PEM."]
    )
