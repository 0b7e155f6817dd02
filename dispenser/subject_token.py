"""A workload's own token (RFC 8693 §2.1): is it good here, and which agent is it?

Checked as RFC 8725 §3 has it: algorithms from a list, keys of the issuer alone, issuer, audience and times.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry

from dispenser.vault_token import SKEW_SECONDS
from shared.model import AgentName, FromClaim, Issuer, Owner

MAX_CHARACTERS: Final = 16 * 1024
MAX_NAME_CHARACTERS: Final = 256


class InvalidSubjectToken(ValueError):
    """No token that this vault takes. The message is for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What a token says of itself before anything is checked: where to look for the key."""

    issuer: str
    key_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Whom a verified token stands for, and until when."""

    agent: AgentName
    owner: Owner
    #: Its `sub`.
    subject: str
    expires_at: datetime
    #: Thumbprint of the key that it is bound to (RFC 9449 §6), where it is.
    key: str | None


def claimed(text: str) -> Claimed:
    """Raises: InvalidSubjectToken for what is no JWT with an issuer."""
    try:
        if len(text) > MAX_CHARACTERS:
            raise ValueError
        token = jws.extract_compact(text.encode())
        issuer, key_id = json.loads(token.payload)["iss"], token.headers().get("kid")
    except (JoseError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InvalidSubjectToken("The subject_token is no JWT that names its issuer.") from None
    if not isinstance(issuer, str) or not (key_id is None or isinstance(key_id, str)):
        raise InvalidSubjectToken("The subject_token is no JWT that names its issuer.")
    return Claimed(issuer=issuer, key_id=key_id)


def admitted(
    text: str, key_id: str | None, issuer: Issuer, keys: Sequence[Mapping[str, Any]], now: datetime
) -> Workload:
    """Whom the token stands for. `keys`: the issuer's, as JWKs. Raises: InvalidSubjectToken."""
    claims = _verified(text, key_id, issuer, keys)
    _check_audience(claims, issuer)
    expires_at = _check_times(claims, now.timestamp())
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise InvalidSubjectToken("The token has no subject (sub).")
    for rule in issuer.rules:
        agent, owner = _named(rule.agent, claims), _named(rule.owner, claims)
        if agent and owner and all(_matches(claims.get(name), rule.claims[name]) for name in rule.claims):
            return Workload(
                agent=AgentName(agent),
                owner=Owner(owner),
                subject=subject,
                expires_at=datetime.fromtimestamp(int(expires_at), UTC),
                key=_key(claims),
            )
    raise InvalidSubjectToken(f"No rule of the issuer {issuer.name} is about this workload.")


def _verified(
    text: str, key_id: str | None, issuer: Issuer, keys: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any]:
    algorithms = [algorithm.value for algorithm in issuer.algorithms]
    # RFC 7515 §4.1.4: where a token names no key, each is tried.
    for jwk in (key for key in keys if key_id in (None, key.get("kid"))):
        try:
            claims = jwt.decode(text, JWKRegistry.import_key(dict(jwk)), algorithms=algorithms).claims
        except (JoseError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
        if claims.get("iss") == issuer.issuer:
            return claims
    raise InvalidSubjectToken(f"The token is not signed with a key of the issuer {issuer.name}.")


def _check_audience(claims: Mapping[str, Any], issuer: Issuer) -> None:
    audience = claims.get("aud")
    if issuer.audience not in (audience if isinstance(audience, list) else [audience]):
        raise InvalidSubjectToken(f"The token is for another audience than {issuer.audience} (aud).")


def _check_times(claims: Mapping[str, Any], now: float) -> float:
    """`exp`, in seconds since the epoch."""
    ends: Any = claims.get("exp")
    if not _is_instant(ends) or ends <= now:
        raise InvalidSubjectToken("The token has expired, or does not say when it does (exp).")
    for name in ("nbf", "iat"):
        if name in claims and not (_is_instant(claims[name]) and claims[name] <= now + SKEW_SECONDS):
            raise InvalidSubjectToken(f"The token is from the future: the clocks differ ({name}).")
    return float(ends)


def _is_instant(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= datetime.max.replace(tzinfo=UTC).timestamp()


def _named(name: str | FromClaim, claims: Mapping[str, Any]) -> str | None:
    if not isinstance(name, FromClaim):
        return name
    value = claims.get(name.claim)
    if not isinstance(value, str) or "\0" in value or len(value) > MAX_NAME_CHARACTERS:
        return None
    return value


def _matches(value: Any, wanted: str | bool | int) -> bool:
    if isinstance(value, list):
        return any(_matches(item, wanted) for item in value if not isinstance(item, list))
    if isinstance(wanted, str):
        return isinstance(value, str) and fnmatchcase(value, wanted)
    return type(value) is type(wanted) and value == wanted


def _key(claims: Mapping[str, Any]) -> str | None:
    if "cnf" not in claims:
        return None
    confirmation = claims["cnf"]
    key = confirmation.get("jkt") if isinstance(confirmation, dict) else None
    if not isinstance(key, str):
        raise InvalidSubjectToken("The token is bound to a key in a way that is not known here (cnf).")
    return key
