"""Requests to a provider's endpoints, ready to send. Nothing here sends one.

`now` and `jti` go into signed assertions only; `jti` must never have been used before (RFC 7523 §3).
"""

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from ipaddress import ip_address
from typing import Final
from urllib.parse import quote_plus, urlencode, urlsplit

from shared.errors import ConfigurationError, OtherClient
from shared.model import (
    AuthorizationCode,
    BodyFormat,
    Client,
    ClientAuth,
    ClientItself,
    GrantKind,
    Presented,
    Provider,
    ProviderSecrets,
    RefreshToken,
    Service,
    ServiceAccountKey,
    StaticToken,
)
from shared.ports import HttpRequest
from workers.assertion import Claims, signed

JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
CLIENT_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def token_request(
    provider: Provider,
    secrets: ProviderSecrets,
    service: Service,
    presented: Presented,
    *,
    now: datetime,
    jti: str,
) -> HttpRequest | None:
    """The request that turns what is presented into an access token. None: a static token is one already.

    Raises: OtherClient for what was given to another client than the provider's, ConfigurationError where the
        provider's registration here does not allow it.
    """
    match presented:
        case AuthorizationCode():
            return code_exchange(provider, secrets, presented, service, now=now, jti=jti)
        case RefreshToken():
            return refresh(provider, secrets, presented, service, now=now, jti=jti)
        case ServiceAccountKey():
            return jwt_bearer(provider, secrets, presented, service, now=now, jti=jti)
        case ClientItself() if provider.grant is GrantKind.JWT_BEARER:
            return jwt_bearer(provider, secrets, own_key(provider, secrets), service, now=now, jti=jti)
        case ClientItself():
            return client_credentials(provider, secrets, service, now=now, jti=jti)
        case StaticToken():
            return None


def code_exchange(
    provider: Provider,
    secrets: ProviderSecrets,
    code: AuthorizationCode,
    service: Service,
    *,
    now: datetime,
    jti: str,
) -> HttpRequest:
    """Redeem an authorization code (RFC 6749 §4.1.3) with its verifier (RFC 7636 §4.5)."""
    form = {
        "grant_type": "authorization_code",
        "code": code.code.reveal(),
        "redirect_uri": code.redirect_uri,
        "code_verifier": code.verifier.reveal(),
        **_resource(service),
    }
    return _to_token_endpoint(provider, secrets, form, code.client, now=now, jti=jti)


def refresh(
    provider: Provider,
    secrets: ProviderSecrets,
    token: RefreshToken,
    service: Service,
    *,
    now: datetime,
    jti: str,
) -> HttpRequest:
    """Redeem a refresh token (RFC 6749 §6)."""
    scope = _scope(provider, service) if provider.scope_on_refresh else {}
    form = {
        "grant_type": "refresh_token",
        "refresh_token": token.value.reveal(),
        **scope,
        **_resource(service),
    }
    return _to_token_endpoint(provider, secrets, form, token.client, now=now, jti=jti)


def client_credentials(
    provider: Provider, secrets: ProviderSecrets, service: Service, *, now: datetime, jti: str
) -> HttpRequest:
    """Ask with nothing but the client's registration (RFC 6749 §4.4.2)."""
    form = {"grant_type": "client_credentials", **_scope(provider, service), **_resource(service)}
    return _to_token_endpoint(provider, secrets, form, provider.client, now=now, jti=jti)


def jwt_bearer(
    provider: Provider,
    secrets: ProviderSecrets,
    key: ServiceAccountKey,
    service: Service,
    *,
    now: datetime,
    jti: str,
) -> HttpRequest:
    """Present an assertion as the grant (RFC 7523 §2.1)."""
    scope = _scope(provider, service)
    claims = Claims(
        issuer=key.issuer,
        subject=key.subject or key.issuer,
        audience=provider.assertion_audience or _audience(provider),
        jti=f"{jti}.grant",
        # Google reads the scope here, RFC 7523 §2.1 has it beside the assertion.
        more=scope,
    )
    assertion = signed(claims, key.private_key, key.key_id, now)
    form = {"grant_type": JWT_BEARER, "assertion": assertion, **scope, **_resource(service)}
    return _to_token_endpoint(
        provider, secrets, form, key.client, now=now, jti=jti, authentication_optional=True
    )


def revocation(
    provider: Provider, secrets: ProviderSecrets, token: RefreshToken, *, now: datetime, jti: str
) -> HttpRequest | None:
    """Give a refresh token back (RFC 7009 §2.1). None: the provider has no place for it.

    Raises: OtherClient where that place is another than was declared when the token was given.
    """
    if provider.revocation_url is None:
        return None
    if token.client is None or token.client.gives_back != provider.client.gives_back:
        raise _other_client(provider)
    form = {"token": token.value.reveal(), "token_type_hint": "refresh_token"}
    headers, fields = _authenticated(provider, secrets, form, now=now, jti=jti)
    # RFC 7009 knows forms alone, whatever the token endpoint takes.
    return _post(provider, provider.revocation_url, headers, fields, BodyFormat.FORM, token.client)


def own_key(provider: Provider, secrets: ProviderSecrets) -> ServiceAccountKey:
    """The provider's own key as a service account's. Raises: ConfigurationError."""
    issuer = provider.assertion_issuer or provider.client_id
    if secrets.private_key is None or not issuer:
        raise ConfigurationError(
            [f"Provider {provider.name}: a JWT bearer grant needs a private_key and an assertion_issuer."]
        )
    return ServiceAccountKey(
        private_key=secrets.private_key,
        issuer=issuer,
        key_id=provider.assertion_key_id,
        subject=provider.assertion_subject,
        client=provider.client,
    )


def _other_client(provider: Provider) -> OtherClient:
    sentence = f"Provider {provider.name}: what was given to another client than is declared is not sent."
    return OtherClient([f"{sentence} Declare that one again, or have the owners connect to this one."])


def address_mistake(provider: Provider, url: str) -> str | None:
    """Why a secret must not be sent to this address (RFC 6749 §3.2 wants TLS). None: it may."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return f"Provider {provider.name}: an address does not parse. Correct it and apply again."
    if parts.scheme not in ("https", "http") or not host or parts.username is not None:
        return f"Provider {provider.name}: an address must be an https URL with a host and without a user."
    if provider.insecure_local:
        return None
    if parts.scheme != "https":
        return f"Provider {provider.name}: an address is not https. Only `insecure_local: true` allows that."
    if _is_local(host):
        return f"Provider {provider.name}: an address is this machine's own. See `insecure_local`."
    return None


def _is_local(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_link_local or address.is_unspecified


def _to_token_endpoint(
    provider: Provider,
    secrets: ProviderSecrets,
    form: Mapping[str, str],
    client: Client | None,
    *,
    now: datetime,
    jti: str,
    authentication_optional: bool = False,
) -> HttpRequest:
    """`client`: which one has been given what is in the form. Raises: OtherClient, ConfigurationError."""
    if client is None or client.asks != provider.client.asks:
        raise _other_client(provider)
    anonymous = authentication_optional and not (secrets.client_secrets and provider.client_id)
    headers, fields = (
        ({}, dict(form)) if anonymous else _authenticated(provider, secrets, form, now=now, jti=jti)
    )
    fields = {**provider.token_params, **fields}
    return _post(provider, provider.token_url, headers, fields, provider.body_format, client)


def _post(  # noqa: PLR0917
    provider: Provider,
    url: str,
    headers: Mapping[str, str],
    fields: Mapping[str, str],
    body_format: BodyFormat,
    client: Client,
) -> HttpRequest:
    mistake = address_mistake(provider, url)
    if mistake is not None:
        raise ConfigurationError([mistake])
    as_json = body_format is BodyFormat.JSON
    content_type = "application/json" if as_json else "application/x-www-form-urlencoded"
    body = json.dumps(fields) if as_json else urlencode(fields)
    accepted = {"Accept": "application/json", "Content-Type": content_type, **headers}
    return HttpRequest(
        method="POST",
        url=url,
        headers=accepted,
        body=body.encode(),
        local=provider.insecure_local,
        client=client,
    )


def _authenticated(
    provider: Provider, secrets: ProviderSecrets, form: Mapping[str, str], *, now: datetime, jti: str
) -> tuple[dict[str, str], dict[str, str]]:
    """Headers and fields with the client's authentication (RFC 6749 §2.3.1, RFC 7523 §2.2)."""
    named = {**form, "client_id": provider.client_id}
    match provider.client_auth:
        case ClientAuth.BASIC:
            return {"Authorization": _basic(provider.client_id, _secret(provider, secrets))}, dict(form)
        case ClientAuth.BODY:
            return {}, {**named, "client_secret": _secret(provider, secrets)}
        case ClientAuth.PRIVATE_KEY_JWT:
            assertion = _client_assertion(provider, secrets, now=now, jti=jti)
            return {}, {**named, "client_assertion_type": CLIENT_ASSERTION, "client_assertion": assertion}
        case ClientAuth.NONE:
            return {}, named


def _basic(client_id: str, secret: str) -> str:
    # Form-encoded first (RFC 6749 §2.3.1): a colon or a percent sign in either would be misread.
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _secret(provider: Provider, secrets: ProviderSecrets) -> str:
    if not secrets.client_secrets:
        raise ConfigurationError([f"Provider {provider.name} has no client_secret: declare one and apply."])
    return secrets.client_secrets[0].reveal()


def _client_assertion(provider: Provider, secrets: ProviderSecrets, *, now: datetime, jti: str) -> str:
    if secrets.private_key is None:
        raise ConfigurationError([f"Provider {provider.name} has no private_key: declare one and apply."])
    claims = Claims(
        issuer=provider.client_id,
        subject=provider.client_id,
        audience=_audience(provider),
        jti=f"{jti}.client",
    )
    return signed(claims, secrets.private_key, provider.assertion_key_id, now)


def _audience(provider: Provider) -> str:
    return provider.issuer or provider.token_url


def _scope(provider: Provider, service: Service) -> dict[str, str]:
    return {"scope": provider.scope_separator.join(service.scopes)} if service.scopes else {}


def _resource(service: Service) -> dict[str, str]:
    """RFC 8707 §2."""
    return {"resource": service.audience} if service.audience else {}
