"""Proof of possession at the HTTP door (RFC 9449): is a proof made for this very request, and with which key?

No nonce (§8) is asked for. A proof names the vault token that it goes with (`ath`) wherever one is presented,
renewal included, so what is signed in advance, for whatever time, ends with the token that the thief knows.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from dispenser.agent_key import base64url, from_jwk, thumbprint

#: Ed25519 by the name of RFC 9864, and by its older one.
ALGORITHMS: Final = ("Ed25519", "EdDSA")
TYPE: Final = "dpop+jwt"
#: A proof is taken from `AHEAD_SECONDS` before its `iat` (clocks differ) to `OLD_SECONDS` after it.
OLD_SECONDS: Final = 60
AHEAD_SECONDS: Final = 30
MAX_CHARACTERS: Final = 4096
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


class InvalidProof(ValueError):
    """No proof for this request. The message is for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A proof that holds for its request, unless it was used before."""

    #: Thumbprint of the key that made it.
    key: str
    #: Names this proof among all proofs of all keys.
    digest: bytes


def checked(text: str, *, method: str, url: str, token: str | None, now: datetime) -> Proof:
    """The proof in a `DPoP` header (§4.3). `url`: where the vault says the request goes; `token`: the vault
    token that the request presents, if any. Raises: InvalidProof."""
    key, claims = _opened(text)
    if claims.get("htm") != method:
        raise InvalidProof(f"The proof is for another method than {method} (htm).")
    if not _same_place(claims.get("htu"), url):
        raise InvalidProof(
            f"The proof is for another address than {url} (htu): set VAULT_URL to the vault's own."
        )
    if not _recent(claims.get("iat"), now.timestamp()):
        raise InvalidProof("The proof was made too long ago, or the clocks of these machines differ (iat).")
    if token is not None and claims.get("ath") != token_hash(token):
        raise InvalidProof("The proof is for another vault token than the request presents (ath).")
    if not isinstance(claims.get("jti"), str) or not claims["jti"]:
        raise InvalidProof("The proof has no id (jti).")
    name = f"{key}.{claims['jti']}".encode(errors="surrogatepass")  # JSON can hold half a character
    return Proof(key=key, digest=hashlib.sha256(name).digest())


def token_hash(token: str) -> str:
    """`ath` (§4.2)."""
    return base64url(hashlib.sha256(token.encode()).digest())


def _opened(text: str) -> tuple[str, Mapping[str, Any]]:
    """Thumbprint of the key in the header and the claims it has signed."""
    if len(text) > MAX_CHARACTERS:
        raise InvalidProof("The proof is too long to be one.")
    try:
        header = jws.extract_compact(text.encode()).headers()
        if header.get("typ") != TYPE:
            raise InvalidProof(f"The proof's type is not {TYPE} (typ).")
        key = from_jwk(header["jwk"])
        claims = jwt.decode(text, OKPKey.import_key(key), algorithms=list(ALGORITHMS)).claims
        return thumbprint(key), claims
    except InvalidProof:
        raise
    except (JoseError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InvalidProof("The proof is no JWT signed with the Ed25519 key in its header.") from None


def _recent(issued_at: Any, now: float) -> bool:
    return type(issued_at) in (int, float) and now - OLD_SECONDS <= issued_at <= now + AHEAD_SECONDS


def _same_place(claimed: object, url: str) -> bool:
    """The same after normalization, query and fragment aside (RFC 3986 §6.2)."""
    try:
        return isinstance(claimed, str) and _place(claimed) == _place(url)
    except ValueError:
        return False


def _place(url: str) -> tuple[str, str | None, int | None, str]:
    parts = urlsplit(url)
    return (
        parts.scheme,
        parts.hostname,
        parts.port or _DEFAULT_PORTS.get(parts.scheme),
        unquote(parts.path) or "/",
    )
