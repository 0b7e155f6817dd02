import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote_plus

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc import jwt
from joserfc.jwk import import_key

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
    ProviderName,
    ProviderSecrets,
    RefreshToken,
    Service,
    ServiceAccountKey,
    ServiceName,
    StaticToken,
)
from shared.ports import HttpRequest
from shared.secret import Secret
from workers import oauth

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
PROVIDER = Provider(name=ProviderName("p"), client_id="id", token_url="https://id.example/token")
SECRETS = ProviderSecrets(client_secrets=(Secret("secret"), Secret("older")))
SERVICE = Service(name=ServiceName("s"), provider=PROVIDER.name, scopes=("a", "b"))
TOKEN = RefreshToken(value=Secret("rt"))
CODE = AuthorizationCode(
    code=Secret("c0de"), verifier=Secret("v"), redirect_uri="http://127.0.0.1/cb", scopes=("a",)
)


def request(
    presented: Presented = TOKEN,
    provider: Provider = PROVIDER,
    secrets: ProviderSecrets = SECRETS,
    service: Service = SERVICE,
) -> HttpRequest:
    if isinstance(presented, AuthorizationCode | RefreshToken | ServiceAccountKey):
        presented = replace(presented, client=provider.client)
    made = oauth.token_request(provider, secrets, service, presented, now=NOW, jti="j1")
    assert made is not None
    return made


def form(made: HttpRequest) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(made.body.decode(), strict_parsing=True).items()}


def pem(key: Any) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


EC_KEY = ec.generate_private_key(ec.SECP256R1())


def test_a_refresh_is_the_rfcs():
    """RFC 6749 §6."""
    made = request()
    assert (made.method, made.url) == ("POST", "https://id.example/token")
    assert made.headers["Accept"] == "application/json"
    assert made.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert form(made) == {"grant_type": "refresh_token", "refresh_token": "rt"}


def test_scope_is_sent_on_refresh_only_where_it_is_asked_for():
    provider = replace(PROVIDER, scope_on_refresh=True, scope_separator=",")
    assert form(request(provider=provider))["scope"] == "a,b"


def test_a_code_is_redeemed_with_its_verifier():
    """RFC 6749 §4.1.3, RFC 7636 §4.5."""
    assert form(request(CODE)) == {
        "grant_type": "authorization_code",
        "code": "c0de",
        "redirect_uri": "http://127.0.0.1/cb",
        "code_verifier": "v",
    }


def test_a_client_asks_for_itself():
    """RFC 6749 §4.4.2."""
    provider = replace(PROVIDER, grant=GrantKind.CLIENT_CREDENTIALS)
    assert form(request(ClientItself(), provider)) == {"grant_type": "client_credentials", "scope": "a b"}


def test_the_audience_is_a_resource():
    """RFC 8707 §2."""
    assert form(request(service=replace(SERVICE, audience="https://api")))["resource"] == "https://api"


def test_a_static_token_needs_no_request():
    assert (
        oauth.token_request(PROVIDER, SECRETS, SERVICE, StaticToken(value=Secret("t")), now=NOW, jti="j")
        is None
    )


def test_a_basic_pair_is_form_encoded_first():
    """RFC 6749 §2.3.1."""
    provider = replace(PROVIDER, client_id="my:id")
    made = request(provider=provider, secrets=ProviderSecrets(client_secrets=(Secret("s%/ ü"),)))
    scheme, _, encoded = made.headers["Authorization"].partition(" ")
    client_id, _, secret = base64.b64decode(encoded).decode().partition(":")
    assert (scheme, unquote_plus(client_id), unquote_plus(secret)) == ("Basic", "my:id", "s%/ ü")
    assert "client_id" not in form(made)


def test_the_first_secret_is_the_one_that_is_used():
    made = form(request(provider=replace(PROVIDER, client_auth=ClientAuth.BODY)))
    assert (made["client_id"], made["client_secret"]) == ("id", "secret")


def test_a_public_client_sends_its_id_alone():
    """RFC 6749 §3.2.1."""
    made = request(provider=replace(PROVIDER, client_auth=ClientAuth.NONE), secrets=ProviderSecrets())
    assert form(made)["client_id"] == "id"
    assert "Authorization" not in made.headers
    assert "client_secret" not in form(made)


def test_a_json_body_where_the_provider_wants_one():
    made = request(provider=replace(PROVIDER, body_format=BodyFormat.JSON))
    assert made.headers["Content-Type"] == "application/json"
    assert json.loads(made.body) == {"grant_type": "refresh_token", "refresh_token": "rt"}


def test_extra_parameters_add_and_never_replace():
    provider = replace(PROVIDER, token_params={"tenant": "t", "refresh_token": "evil"})
    assert form(request(provider=provider)) == {
        "grant_type": "refresh_token", "refresh_token": "rt", "tenant": "t",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("key", "kind", "algorithm"),
    [
        (rsa.generate_private_key(public_exponent=65537, key_size=2048), "RSA", "RS256"),
        (EC_KEY, "EC", "ES256"),
        (ed25519.Ed25519PrivateKey.generate(), "OKP", "EdDSA"),
    ],
)
def test_a_client_signs_for_itself_for_a_minute(key: Any, kind: Any, algorithm: str):
    """RFC 7523 §2.2 and §3; the audience is the issuer's."""
    provider = replace(
        PROVIDER, client_auth=ClientAuth.PRIVATE_KEY_JWT, issuer="https://id.example", assertion_key_id="k1"
    )
    made = form(request(provider=provider, secrets=ProviderSecrets(private_key=Secret(pem(key)))))
    assert made["client_assertion_type"] == oauth.CLIENT_ASSERTION
    token = jwt.decode(made["client_assertion"], import_key(pem(key), kind), algorithms=[algorithm])
    assert token.header["kid"] == "k1"
    issued = int(NOW.timestamp())
    assert token.claims == {
        "iss": "id", "sub": "id", "aud": "https://id.example",
        "iat": issued, "exp": issued + 60, "jti": "j1.client",
    }  # fmt: skip


def test_a_service_accounts_assertion_is_the_grant():
    """RFC 7523 §2.1."""
    provider = replace(PROVIDER, grant=GrantKind.JWT_BEARER, client_id="", assertion_audience="https://aud")
    key = ServiceAccountKey(private_key=Secret(pem(EC_KEY)), issuer="robot@p", subject="ann")
    made = request(key, provider, ProviderSecrets())
    assert form(made)["grant_type"] == oauth.JWT_BEARER
    assert "Authorization" not in made.headers
    claims = jwt.decode(form(made)["assertion"], import_key(pem(EC_KEY), "EC"), algorithms=["ES256"]).claims
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("robot@p", "ann", "https://aud")
    assert (claims["scope"], form(made)["scope"]) == ("a b", "a b")


def test_a_provider_may_have_the_key_of_its_service_account():
    provider = replace(PROVIDER, grant=GrantKind.JWT_BEARER, assertion_issuer="robot@p")
    made = request(ClientItself(), provider, ProviderSecrets(private_key=Secret(pem(EC_KEY))))
    claims = jwt.decode(form(made)["assertion"], import_key(pem(EC_KEY), "EC"), algorithms=["ES256"]).claims
    assert (claims["iss"], claims["aud"]) == ("robot@p", "https://id.example/token")


def test_two_assertions_in_one_request_have_ids_of_their_own():
    provider = replace(PROVIDER, grant=GrantKind.JWT_BEARER, client_auth=ClientAuth.PRIVATE_KEY_JWT)
    secrets = ProviderSecrets(private_key=Secret(pem(EC_KEY)), client_secrets=(Secret("unused"),))
    made = form(request(ClientItself(), provider, secrets))
    ids = {
        jwt.decode(made[name], import_key(pem(EC_KEY), "EC"), algorithms=["ES256"]).claims["jti"]
        for name in ("assertion", "client_assertion")
    }
    assert len(ids) == 2


def test_a_refresh_token_is_given_back():
    """RFC 7009 §2.1: a form, whatever the token endpoint takes."""
    provider = replace(PROVIDER, revocation_url="https://id.example/revoke", body_format=BodyFormat.JSON)
    token = replace(TOKEN, client=provider.client)
    made = oauth.revocation(provider, SECRETS, token, now=NOW, jti="j")
    assert made is not None
    assert made.url == "https://id.example/revoke"
    assert form(made) == {"token": "rt", "token_type_hint": "refresh_token"}
    assert oauth.revocation(PROVIDER, SECRETS, token, now=NOW, jti="j") is None


KEY = ServiceAccountKey(private_key=Secret(pem(EC_KEY)), issuer="robot@p", subject="ann")
ELSEWHERE = Client(client_id="id", token_url="https://thief.example/token")


@pytest.mark.parametrize("client", [None, ELSEWHERE, replace(PROVIDER.client, client_id="other")])
@pytest.mark.parametrize("presented", [TOKEN, CODE, KEY], ids=["token", "code", "key"])
def test_what_another_client_was_given_is_not_asked_with(presented: Any, client: Client | None):
    """A service account's assertion names its audience as it is declared: it would be good elsewhere."""
    with pytest.raises(OtherClient):
        oauth.token_request(PROVIDER, SECRETS, SERVICE, replace(presented, client=client), now=NOW, jti="j")


@pytest.mark.parametrize("client", [None, PROVIDER.client, ELSEWHERE])
def test_what_was_given_before_there_was_a_place_for_it_is_not_given_back(client: Client | None):
    provider = replace(PROVIDER, revocation_url="https://id.example/revoke")
    with pytest.raises(OtherClient):
        oauth.revocation(provider, SECRETS, replace(TOKEN, client=client), now=NOW, jti="j")


def test_a_place_for_giving_back_is_no_hindrance_to_asking():
    token = replace(TOKEN, client=replace(PROVIDER.client, revocation_url="https://id.example/revoke"))
    made = oauth.token_request(PROVIDER, SECRETS, SERVICE, token, now=NOW, jti="j")
    assert made is not None
    assert made.client == token.client


@pytest.mark.parametrize(
    "secrets",
    [
        ProviderSecrets(),
        ProviderSecrets(private_key=Secret("not a key")),
        ProviderSecrets(private_key=Secret("")),
    ],
)
@pytest.mark.parametrize("client_auth", [ClientAuth.BASIC, ClientAuth.BODY, ClientAuth.PRIVATE_KEY_JWT])
def test_a_missing_or_broken_secret_is_named_and_not_shown(secrets: ProviderSecrets, client_auth: ClientAuth):
    with pytest.raises(ConfigurationError) as caught:
        request(provider=replace(PROVIDER, client_auth=client_auth), secrets=secrets)
    assert "not a key" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "insecure_local", "allowed"),
    [
        ("https://id.example/token", False, True),
        ("https://10.0.0.7/token", False, True),
        ("http://id.example/token", False, False),
        ("https://localhost/token", False, False),
        ("https://127.0.0.1/token", False, False),
        ("https://[::1]/token", False, False),
        ("https://169.254.169.254/token", False, False),
        ("https://user:pw@id.example/token", False, False),
        ("https:///token", False, False),
        ("ftp://id.example/token", False, False),
        ("https://[broken/token", False, False),
        ("", False, False),
        ("http://127.0.0.1:8080/token", True, True),
        ("ftp://127.0.0.1/token", True, False),
    ],
)
def test_secrets_go_to_https_alone(url: str, insecure_local: bool, allowed: bool):
    """RFC 6749 §3.2."""
    provider = replace(PROVIDER, token_url=url, insecure_local=insecure_local)
    if allowed:
        assert request(provider=provider).url == url
    else:
        with pytest.raises(ConfigurationError):
            request(provider=provider)


def test_no_secret_shows_in_a_request_repr():
    text = repr(request(CODE, replace(PROVIDER, client_auth=ClientAuth.BODY)))
    assert not [secret for secret in ("c0de", "secret") if secret in text]
