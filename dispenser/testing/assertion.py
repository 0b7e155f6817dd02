import json
from collections.abc import Collection, Mapping
from typing import Any, Final

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import import_key

from dispenser.testing.refusal import Refusal

#: Asymmetric ones only: the provider holds public keys.
ALGORITHMS: Final = ("RS256", "PS256", "ES256", "Ed25519")


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
        claims = jwt.decode(assertion, import_key(public_key), algorithms=ALGORITHMS).claims
    except (JoseError, ValueError):
        raise Refusal("invalid_grant", "The assertion's signature does not verify.") from None
    given = claims.get("aud")
    if not set(given if isinstance(given, list) else [given]) & set(audiences):
        raise Refusal("invalid_grant", "The assertion is for another audience.")
    if not isinstance(claims.get("exp"), int | float) or claims["exp"] <= now:
        raise Refusal("invalid_grant", "The assertion has expired, or has no `exp`.")
    return claims
