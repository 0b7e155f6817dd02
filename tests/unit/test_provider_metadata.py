"""Metadata is believed only where it is the issuer's own and safe to use (RFC 8414, RFC 9207, RFC 9700)."""

from dataclasses import replace
from typing import Any

import pytest

from dispenser.provider_metadata import addresses, from_metadata, is_incomplete
from shared.errors import ConfigurationError
from shared.model import GrantKind, Provider

ISSUER = "https://id.example/tenant"
PROVIDER = Provider(name="p", client_id="c", issuer=ISSUER)
DOCUMENT: dict[str, Any] = {
    "issuer": ISSUER,
    "authorization_endpoint": "https://id.example/authorize",
    "token_endpoint": "https://id.example/token",
    "revocation_endpoint": "https://id.example/revoke",
    "authorization_response_iss_parameter_supported": True,
    "code_challenge_methods_supported": ["plain", "S256"],
}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in DOCUMENT.items() if key != name}


def faults(document: dict[str, Any], provider: Provider = PROVIDER) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        from_metadata(provider, document)
    return caught.value.mistakes


def test_the_endpoints_are_taken() -> None:
    assert from_metadata(PROVIDER, DOCUMENT) == replace(
        PROVIDER,
        authorization_url="https://id.example/authorize",
        token_url="https://id.example/token",
        revocation_url="https://id.example/revoke",
        issuer_in_callback=True,
    )


def test_what_was_declared_stays() -> None:
    declared = replace(PROVIDER, token_url="https://id.example/own", revocation_url="https://id.example/mine")
    found = from_metadata(declared, DOCUMENT)
    assert (found.token_url, found.revocation_url) == ("https://id.example/own", "https://id.example/mine")
    assert found.authorization_url == "https://id.example/authorize"


def test_callbacks_need_no_issuer_unless_it_was_promised() -> None:
    assert not from_metadata(
        PROVIDER, without("authorization_response_iss_parameter_supported")
    ).issuer_in_callback
    unclear = DOCUMENT | {"authorization_response_iss_parameter_supported": "true"}
    assert not from_metadata(PROVIDER, unclear).issuer_in_callback


@pytest.mark.parametrize("issuer", [ISSUER + "/", "https://id.example", "https://evil.example", None])
def test_another_issuer_is_refused(issuer: str | None) -> None:
    (fault,) = faults(DOCUMENT | {"issuer": issuer})
    assert "names another issuer" in fault


def test_pkce_has_to_be_possible_where_metadata_speaks_of_it() -> None:
    (fault,) = faults(DOCUMENT | {"code_challenge_methods_supported": ["plain"]})
    assert "S256" in fault
    assert from_metadata(PROVIDER, without("code_challenge_methods_supported")).token_url


def test_pkce_is_no_matter_without_a_consent() -> None:
    client = replace(PROVIDER, grant=GrantKind.CLIENT_CREDENTIALS)
    plain = DOCUMENT | {"code_challenge_methods_supported": ["plain"]}
    assert from_metadata(client, plain).token_url == "https://id.example/token"


def test_every_fault_is_reported_at_once() -> None:
    document = without("token_endpoint") | {
        "authorization_endpoint": "http://id.example/authorize",
        "revocation_endpoint": 7,
    }
    assert faults(document) == (
        "providers.p: its metadata has no token_endpoint: declare it yourself",
        "providers.p: its metadata has a authorization_endpoint that is not https://",
        "providers.p: its metadata has a revocation_endpoint that is not https://",
    )


def test_loopback_is_for_development() -> None:
    local = DOCUMENT | {"token_endpoint": "http://127.0.0.1:9000/token"}
    assert len(faults(local)) == 1
    found = from_metadata(replace(PROVIDER, insecure_local=True), local)
    assert found.token_url == "http://127.0.0.1:9000/token"


@pytest.mark.parametrize(
    ("issuer", "expected"),
    [
        (
            "https://id.example",
            (
                "https://id.example/.well-known/oauth-authorization-server",
                "https://id.example/.well-known/openid-configuration",
            ),
        ),
        (
            "https://id.example/tenant/",
            (
                "https://id.example/.well-known/oauth-authorization-server/tenant",
                "https://id.example/tenant/.well-known/openid-configuration",
            ),
        ),
    ],
)
def test_metadata_is_looked_for_at_both_well_known_addresses(issuer: str, expected: tuple[str, str]) -> None:
    assert addresses(issuer) == expected


@pytest.mark.parametrize(
    ("provider", "incomplete"),
    [
        (PROVIDER, True),
        (replace(PROVIDER, token_url="https://id.example/t"), True),
        (
            replace(PROVIDER, token_url="https://id.example/t", authorization_url="https://id.example/a"),
            False,
        ),
        (replace(PROVIDER, grant=GrantKind.CLIENT_CREDENTIALS), True),
        (replace(PROVIDER, grant=GrantKind.JWT_BEARER, token_url="https://id.example/t"), False),
        (replace(PROVIDER, grant=GrantKind.STATIC), False),
        (Provider(name="p"), False),
    ],
)
def test_an_issuer_is_asked_only_for_what_is_missing(provider: Provider, incomplete: bool) -> None:
    assert is_incomplete(provider) is incomplete
