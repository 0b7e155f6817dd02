from typing import Any

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from integration.emulator.oauth_client import Client, Clock
from joserfc import jwt
from joserfc.jwk import import_key

from dispenser.testing import Behaviour


async def test_a_client_with_the_wrong_secret_is_refused_and_its_token_not_spent(client: Client) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": client.provider.issue_refresh_token("ada")}
    wrong = (client.provider.client_id, "wrong")
    refused = await client.http.post(client.provider.token_url, data=form, auth=wrong)
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    assert refused.headers["www-authenticate"] == "Basic"
    assert (await client.refresh(form["refresh_token"])).status_code == 200


async def test_basic_credentials_are_form_encoded_first(client: Client) -> None:
    client.provider.register_client("an:odd id", "100%+/: secret")
    form = {"grant_type": "client_credentials"}
    encoded = ("an%3Aodd+id", "100%25%2B%2F%3A+secret")
    assert (await client.http.post(client.provider.token_url, data=form, auth=encoded)).status_code == 200


async def test_only_the_registered_way_of_authentication_is_taken(client: Client) -> None:
    provider = client.provider
    secret = {"client_id": provider.client_id, "client_secret": provider.client_secret}
    form = {"grant_type": "client_credentials"}
    assert (await client.http.post(provider.token_url, data=form | secret)).status_code == 401
    provider.behaviour = Behaviour(client_auth="body")
    assert (await client.http.post(provider.token_url, data=form | secret)).status_code == 200
    assert (await client.token(**form)).status_code == 401
    provider.behaviour = Behaviour(client_auth="none")
    public = {"client_id": provider.client_id}
    assert (await client.http.post(provider.token_url, data=form | public)).status_code == 200
    assert [r.client_auth for r in provider.requests] == ["body", "body", "basic", "none"]


class Signer:
    """A private key and what it signs."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def public_key(self) -> str:
        kind = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_key().public_bytes(serialization.Encoding.PEM, kind).decode()

    def sign(self, **claims: Any) -> str:
        private = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return jwt.encode({"alg": "ES256"}, claims, import_key(private, "EC"))


async def test_a_client_may_prove_itself_by_its_key_once_per_assertion(client: Client, clock: Clock) -> None:
    provider, signer = client.provider, Signer()
    provider.behaviour = Behaviour(client_auth="private_key_jwt")
    provider.register_client("keyed", public_key=signer.public_key)
    claims = {"iss": "keyed", "sub": "keyed", "aud": provider.token_url, "exp": clock.now + 60, "jti": "1"}

    async def status(assertion: str) -> int:
        kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        proof = {"client_assertion_type": kind, "client_assertion": assertion}
        form = {"grant_type": "client_credentials"} | proof
        return (await client.http.post(provider.token_url, data=form)).status_code

    good = signer.sign(**claims)
    assert await status(good) == 200
    assert await status(good) == 401
    assert await status(signer.sign(**claims | {"jti": "2", "aud": "https://elsewhere.example"})) == 401
    assert await status(signer.sign(**claims | {"jti": "3", "exp": clock.now})) == 401
    assert await status(signer.sign(**claims | {"jti": "4", "sub": "another"})) == 401
    assert await status(Signer().sign(**claims | {"jti": "5"})) == 401


async def test_a_service_account_gets_tokens_for_its_signature(client: Client, clock: Clock) -> None:
    provider, signer = client.provider, Signer()
    provider.register_service_account("robot", signer.public_key)
    claims = {"iss": "robot", "aud": provider.issuer, "exp": clock.now + 60, "scope": "tasks:write"}

    async def answer(assertion: str) -> httpx.Response:
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
        return await client.http.post(provider.token_url, data=form)

    tokens = (await answer(signer.sign(**claims))).json()
    assert "refresh_token" not in tokens
    assert await client.call(tokens["access_token"], "tasks") == 200
    assert (await answer(Signer().sign(**claims))).json()["error"] == "invalid_grant"
    assert (await answer(signer.sign(**claims | {"iss": "nobody"}))).json()["error"] == "invalid_grant"
    assert (await answer("no JWT")).json()["error"] == "invalid_grant"


async def test_client_credentials_buy_an_access_token_alone(client: Client) -> None:
    tokens = (await client.token(grant_type="client_credentials", scope="tasks:write")).json()
    assert tokens["scope"] == "tasks:write"
    assert "refresh_token" not in tokens


async def test_the_token_endpoint_reads_json_too(client: Client) -> None:
    form = {"grant_type": "client_credentials"}
    answer = await client.http.post(client.provider.token_url, json=form, auth=client.auth)
    assert answer.status_code == 200
