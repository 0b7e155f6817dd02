"""What a provider says of itself (RFC 8414, OpenID Connect Discovery), checked before it is believed."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from dispenser.declared_rules import endpoint
from shared.errors import ConfigurationError
from shared.model import GrantKind, Provider

OAUTH_PATH = "/.well-known/oauth-authorization-server"
OPENID_PATH = "/.well-known/openid-configuration"
_ENDPOINTS = ("token_endpoint", "authorization_endpoint", "revocation_endpoint")


def is_incomplete(provider: Provider) -> bool:
    """It has an issuer in place of an endpoint that its grant needs."""
    if provider.issuer is None or provider.grant == GrantKind.STATIC:
        return False
    consents = provider.grant == GrantKind.AUTHORIZATION_CODE
    return not provider.token_url or (consents and provider.authorization_url is None)


def addresses(issuer: str) -> tuple[str, str]:
    """Where an issuer's metadata may lie: RFC 8414 §3.1 puts the well-known part before the issuer's path,
    OpenID Connect Discovery §4 after it."""
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    return (
        urlunsplit(parts._replace(path=OAUTH_PATH + path)),
        urlunsplit(parts._replace(path=path + OPENID_PATH)),
    )


def from_metadata(provider: Provider, document: Mapping[str, Any]) -> Provider:
    """The provider with the endpoints its metadata names; what was declared stays as declared.

    Raises: ConfigurationError where the metadata is another issuer's, or cannot be used safely.
    """
    faults = [*_identity_faults(provider, document), *_endpoint_faults(provider, document)]
    if faults:
        raise ConfigurationError([f"providers.{provider.name}: its metadata {fault}" for fault in faults])
    return replace(
        provider,
        token_url=provider.token_url or document["token_endpoint"],
        authorization_url=provider.authorization_url or document.get("authorization_endpoint"),
        revocation_url=provider.revocation_url or document.get("revocation_endpoint"),
        issuer_in_callback=provider.issuer_in_callback
        or document.get("authorization_response_iss_parameter_supported") is True,
    )


def _identity_faults(provider: Provider, document: Mapping[str, Any]) -> Iterator[str]:
    if document.get("issuer") != provider.issuer:
        # RFC 8414 §3.3: else one server could speak for another.
        yield "names another issuer: write the issuer exactly as the provider does"
    if provider.grant == GrantKind.AUTHORIZATION_CODE and not _knows_s256(document):
        # RFC 9700 §2.1.1: an authorization code is protected by PKCE.
        yield "does not list S256 among its code_challenge_methods_supported: PKCE is needed"


def _endpoint_faults(provider: Provider, document: Mapping[str, Any]) -> Iterator[str]:
    for name in _ENDPOINTS:
        url = document.get(name)
        if url is None and name in _needed(provider):
            yield f"has no {name}: declare it yourself"
        if url is not None and not (isinstance(url, str) and endpoint(url, provider.insecure_local)):
            yield f"has a {name} that is not https://"


def _needed(provider: Provider) -> tuple[str, ...]:
    consents = provider.grant == GrantKind.AUTHORIZATION_CODE and provider.authorization_url is None
    token = () if provider.token_url else ("token_endpoint",)
    return (*token, "authorization_endpoint") if consents else token


def _knows_s256(document: Mapping[str, Any]) -> bool:
    methods = document.get("code_challenge_methods_supported")
    return methods is None or (isinstance(methods, list) and "S256" in methods)
