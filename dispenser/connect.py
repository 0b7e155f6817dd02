"""The two ends of an owner's consent (RFC 6749 §4.1, RFC 7636, RFC 8707, RFC 9207). Nothing is sent."""

import base64
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from shared.model import Provider, Service
from shared.secret import Secret

#: 256 bits for `state`, and as many for the PKCE verifier.
ENTROPY_BYTES: Final = 64
CALLBACK_PATH: Final = "/v1/oauth/callback"
MAX_CODE_CHARACTERS: Final = 4096
MAX_ERROR_CHARACTERS: Final = 64
#: RFC 6749 §4.1.2.1, in words for the owner.
_MEANINGS: Final[Mapping[str, str]] = {
    "access_denied": "The provider says that consent was refused. Begin again if that was not meant.",
    "invalid_scope": "The provider does not know a scope it was asked for: the service needs other scopes.",
    "unauthorized_client": "The provider lets this client not ask for consent: check its registration.",
    "server_error": "The provider had a fault of its own. Begin again in a few minutes.",
    "temporarily_unavailable": "The provider is overloaded at the moment. Begin again in a few minutes.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """A consent to begin: where the owner goes, and what has to be kept until the callback."""

    url: str = field(repr=False)
    state: str = field(repr=False)
    verifier: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """The owner consented."""

    code: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackRefused:
    """No consent came of it."""

    #: The provider's error (RFC 6749 §4.1.2.1), or `invalid_state`, `issuer_mismatch`, `issuer_missing`,
    #: `invalid_callback`.
    error: str
    #: For people: what happened and what to do next.
    description: str


def redirect_uri(public_url: str, provider: Provider) -> str:
    """The gateway's one callback address for a provider: declared or our own, never from a request.

    A declared loopback address is that of `dispenser connect` and leads to no gateway.
    """
    declared = provider.redirect_uri
    return declared if declared and not is_loopback(declared) else f"{public_url}{CALLBACK_PATH}"


def is_loopback(url: str) -> bool:
    """An address of this very machine (RFC 8252 §7.3)."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def begin(provider: Provider, service: Service, *, redirect_uri: str, entropy: bytes) -> Authorization:
    """The authorization request (RFC 6749 §4.1.1) with PKCE by S256 (RFC 7636 §4.2).

    Raises: ValueError for a provider without `authorization_url`, or too little entropy.
    """
    if provider.authorization_url is None or len(entropy) < ENTROPY_BYTES:
        raise ValueError(f"A consent needs an authorization_url and {ENTROPY_BYTES} random bytes.")
    middle = ENTROPY_BYTES // 2
    state, verifier = _base64url(entropy[:middle]), _base64url(entropy[middle:ENTROPY_BYTES])
    parameters = {
        **provider.authorization_params,
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": redirect_uri,
        "state": state,
        "code_challenge": _base64url(hashlib.sha256(verifier.encode()).digest()),
        "code_challenge_method": "S256",
        **_wishes(provider, service),
    }
    return Authorization(
        url=_with(provider.authorization_url, parameters), state=state, verifier=Secret(verifier)
    )


def finish(
    provider: Provider, expected_state: str, parameters: Mapping[str, str]
) -> Callback | CallbackRefused:
    """What a callback's parameters amount to. Trusts none of them before `state` and `iss` are right."""
    if not hmac.compare_digest(parameters.get("state", "").encode(), expected_state.encode()):
        return CallbackRefused(
            error="invalid_state",
            description="This answer belongs to no consent that was begun here. Begin again from a new link.",
        )
    return _issuer_refusal(provider, parameters.get("iss")) or _outcome(parameters)


def _issuer_refusal(provider: Provider, issuer: str | None) -> CallbackRefused | None:
    """RFC 9207 §2.4, error responses included: another server's answer is refused before it is read."""
    if issuer is None and not provider.issuer_in_callback:
        return None
    if issuer is None:
        return CallbackRefused(
            error="issuer_missing",
            description=f"{provider.name} promises to name itself and did not: nothing is connected.",
        )
    if _expected(provider, issuer):
        return None
    return CallbackRefused(
        error="issuer_mismatch",
        description=f"The answer came from another server than {provider.name}: nothing is connected. "
        "If it is the right one, it has to be declared as the provider's `issuer`.",
    )


def _expected(provider: Provider, issuer: str) -> bool:
    if provider.issuer is not None:
        return hmac.compare_digest(issuer.encode(), provider.issuer.encode())
    # An undeclared issuer must not switch the defence off: a server of another origin is another server.
    return _origin(issuer) == _origin(provider.authorization_url or "")


def _outcome(parameters: Mapping[str, str]) -> Callback | CallbackRefused:
    if "error" in parameters:
        return _provider_refusal(parameters["error"])
    code = parameters.get("code", "")
    if not 0 < len(code) <= MAX_CODE_CHARACTERS:
        return CallbackRefused(
            error="invalid_callback",
            description="The provider's answer holds no usable authorization code. Begin again.",
        )
    return Callback(code=Secret(code))


def _provider_refusal(error: str) -> CallbackRefused:
    # `error_description` is left out: anybody could write an owner a letter with it.
    known = error if re.fullmatch(rf"[A-Za-z0-9_.-]{{1,{MAX_ERROR_CHARACTERS}}}", error) else "unknown_error"
    meaning = _MEANINGS.get(
        known, f"The provider refused with `{known}`. Its documentation says what that is."
    )
    return CallbackRefused(error=known, description=meaning)


def _wishes(provider: Provider, service: Service) -> dict[str, str]:
    """Scopes (RFC 6749 §3.3) and the resource they are for (RFC 8707 §2), where the service has them."""
    scope = provider.scope_separator.join(service.scopes)
    return ({"scope": scope} if scope else {}) | ({"resource": service.audience} if service.audience else {})


def _with(url: str, parameters: Mapping[str, str]) -> str:
    """The address with its own query kept (RFC 6749 §3.1), save what is asked for anew."""
    parts = urlsplit(url)
    kept = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in parameters]
    return urlunsplit(
        parts._replace(query=urlencode([*kept, *parameters.items()], quote_via=quote), fragment="")
    )


def _origin(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    return f"{parts.scheme}://{parts.netloc}".lower()


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
