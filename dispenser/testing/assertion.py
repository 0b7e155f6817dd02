import json
from collections.abc import Collection, Mapping
from typing import Any, Final, Literal

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import import_key

from dispenser.testing.refusal import Refusal

#: The key type of each algorithm that is taken. Asymmetric ones only: the provider holds public keys.
_KEY_TYPES: Final[Mapping[str, Literal["RSA", "EC", "OKP"]]] = {
    "RS256": "RSA",
    "PS256": "RSA",
    "ES256": "EC",
    "Ed25519": "OKP",
}
ALGORITHMS: Final = tuple(_KEY_TYPES)


def issuer_of(assertion: str) -> str:
    """Who an assertion says it is from, to find the key by: nothing is checked yet. Empty for no JWT."""
    try:
        claims = json.loads(jws.extract_compact(assertion.encode()).payload)
    except (JoseError, ValueError):
        return ""
    return str(claims.get("iss", "")) if isinstance(claims, dict) else ""


def verify(assertion: str, public_key: str, *, audiences: Collection[str], now: float) -> Mapping[str, Any]:
    """The claims of an assertion that is signed, for us and not expired (RFC 7523 §3). Raises: Refusal."""
    try:
        algorithm = jws.extract_compact(assertion.encode()).headers()["alg"]
        key = import_key(public_key, _KEY_TYPES[algorithm])
        claims = jwt.decode(assertion, key, algorithms=ALGORITHMS).claims
    except (JoseError, ValueError, KeyError):
        raise Refusal("invalid_grant", "The assertion's signature does not verify.") from None
    given = claims.get("aud")
    if not set(given if isinstance(given, list) else [given]) & set(audiences):
        raise Refusal("invalid_grant", "The assertion is for another audience.")
    if not isinstance(claims.get("exp"), int | float) or claims["exp"] <= now:
        raise Refusal("invalid_grant", "The assertion has expired, or has no `exp`.")
    return claims
