"""What has to fit together in a declared entry, whatever else is wrong with it.

The rules read the values as they were written, so that one wrong field hides no other mistake. They are
silent about a value of a wrong kind: `declared_schema` speaks of that.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from dispenser.connect import is_loopback
from dispenser.declared_document import Path
from shared.model import ClientAuth, GrantKind

Entry = Mapping[str, Any]
Findings = Iterator[tuple[Path, str]]

_ENDPOINTS: Final = ("token_url", "authorization_url", "revocation_url", "issuer")
_ADDRESS: Final = "must be https:// and a host; http, on loopback alone, needs insecure_local: true"
_SENDING_A_SECRET: Final = (ClientAuth.BASIC, ClientAuth.BODY)
#: Parameters of RFC 6749, 7521, 7636 and 8707 that the vault sets itself.
_OWN_AUTHORIZATION_PARAMS: Final = (
    "response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method",
)  # fmt: skip
_OWN_TOKEN_PARAMS: Final = (
    "grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type", "assertion",
    "code", "code_verifier", "redirect_uri", "refresh_token", "scope",
)  # fmt: skip


def default_client_auth(grant: object) -> ClientAuth:
    """How a client authenticates where the file does not say: an assertion, or a token at hand, needs no more
    (RFC 7523 §3.1)."""
    return ClientAuth.NONE if grant in (GrantKind.JWT_BEARER, GrantKind.STATIC) else ClientAuth.BASIC


def provider_findings(entry: Entry) -> Findings:
    """What does not fit together in a provider."""
    grant = _or(entry.get("grant"), GrantKind.AUTHORIZATION_CODE)
    client_auth = _or(entry.get("client_auth"), default_client_auth(grant))
    yield from _endpoint_findings(entry, grant)
    yield from _client_findings(entry, grant, client_auth)
    yield from _key_findings(entry, grant, client_auth)
    yield from _address_findings(entry)
    yield from _parameter_findings(entry)


def policy_findings(entry: Entry) -> Findings:
    """What does not fit together in a policy."""
    start, end = _instant(entry.get("not_before")), _instant(entry.get("expires_at"))
    if start is not None and end is not None and start >= end:
        yield ("expires_at",), "must be later than not_before"


def issuer_findings(entry: Entry) -> Findings:
    """What does not fit together in an issuer."""
    local = entry.get("insecure_local") is True
    for field in ("issuer", "jwks_url"):
        if isinstance(entry.get(field), str) and not endpoint(entry[field], local):
            yield (field,), _ADDRESS
    if entry.get("jwks_url") is not None and entry.get("keys") is not None:
        yield ("keys",), "given beside jwks_url: one of the two says which keys count"


def _endpoint_findings(entry: Entry, grant: object) -> Findings:
    if grant == GrantKind.STATIC or entry.get("issuer") is not None:
        return
    if entry.get("token_url") is None:
        yield ("token_url",), "required, or an issuer that publishes it (RFC 8414)"
    if grant == GrantKind.AUTHORIZATION_CODE and entry.get("authorization_url") is None:
        sentence = "required for the grant authorization_code, or an issuer that publishes it (RFC 8414)"
        yield ("authorization_url",), sentence


def _client_findings(entry: Entry, grant: object, client_auth: object) -> Findings:
    if grant not in (GrantKind.STATIC, GrantKind.JWT_BEARER) and entry.get("client_id") is None:
        yield ("client_id",), "required"
    if grant == GrantKind.CLIENT_CREDENTIALS and client_auth == ClientAuth.NONE:
        yield ("client_auth",), "client_credentials is for clients that authenticate (RFC 6749 §4.4)"
    has_secret = entry.get("client_secret") is not None
    if client_auth in _SENDING_A_SECRET and not has_secret:
        yield (
            ("client_secret",),
            f"required for client_auth {client_auth}, as {{env: NAME}} or {{file: path}}",
        )
    if client_auth in (ClientAuth.NONE, ClientAuth.PRIVATE_KEY_JWT) and has_secret:
        yield ("client_secret",), f"client_auth {client_auth} sends none: take it out, or say basic or body"


def _key_findings(entry: Entry, grant: object, client_auth: object) -> Findings:
    has_key = entry.get("private_key") is not None
    if client_auth == ClientAuth.PRIVATE_KEY_JWT and not has_key:
        yield ("private_key",), "required for client_auth private_key_jwt, as {env: NAME} or {file: path}"
    if grant == GrantKind.JWT_BEARER and has_key and entry.get("assertion_issuer") is None:
        yield ("assertion_issuer",), "required with a private_key: the iss of assertions (RFC 7523 §3)"
    if has_key and client_auth in (*_SENDING_A_SECRET, ClientAuth.NONE) and grant != GrantKind.JWT_BEARER:
        yield ("private_key",), "only client_auth private_key_jwt and the grant jwt_bearer sign: take it out"


def _address_findings(entry: Entry) -> Findings:
    local = entry.get("insecure_local") is True
    for field in _ENDPOINTS:
        if isinstance(entry.get(field), str) and not endpoint(entry[field], local):
            yield (field,), _ADDRESS
    if isinstance(entry.get("issuer"), str) and "?" in entry["issuer"]:
        yield ("issuer",), "an issuer has no query (RFC 8414 §2)"
    redirect = entry.get("redirect_uri")
    if isinstance(redirect, str) and not endpoint(redirect, True):
        yield ("redirect_uri",), "must be https:// and a host, or http:// on loopback (RFC 8252 §7.3)"


def _parameter_findings(entry: Entry) -> Findings:
    for field, own in (
        ("authorization_params", _OWN_AUTHORIZATION_PARAMS),
        ("token_params", _OWN_TOKEN_PARAMS),
    ):
        params = entry.get(field)
        for name in params if isinstance(params, dict) else ():
            if name in own:
                yield (field, name), "the vault sets this parameter itself: take it out"


def endpoint(url: str, insecure_local: bool) -> bool:
    """An address that may be called (RFC 6749 §3.1, §3.2): TLS and no fragment; a password in it would end in
    logs."""
    parts = _parts(url)
    if parts is None or not parts.hostname or parts.fragment or parts.username is not None:
        return False
    if is_loopback(url):
        return insecure_local and parts.scheme in ("http", "https")
    return parts.scheme == "https"


def _parts(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no port number
    except ValueError:
        return None
    return parts


def _instant(value: object) -> datetime | None:
    return value if isinstance(value, datetime) and value.tzinfo is not None else None


def _or(value: Any, default: str) -> Any:
    return default if value is None else value
