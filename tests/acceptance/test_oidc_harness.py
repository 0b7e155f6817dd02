"""The certified provider and the browser do what the acceptance tests rely on, without a vault."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import quote_plus, urlencode

import httpx
import pytest
from acceptance.browser import Browser
from acceptance.oidc_server import OidcServer

VERIFIER = "a-verifier-of-the-length-that-rfc-7636-asks-for"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
CALLBACK = "http://127.0.0.1:45678/callback"


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as client:
        yield client


def authorization(provider: OidcServer, **changes: str) -> str:
    query = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": CALLBACK,
        "scope": "openid tasks:write",
        "state": "st",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    return f"{provider.authorization_url}?{urlencode(query | changes)}"


async def post(http: httpx.AsyncClient, provider: OidcServer, url: str, **form: str) -> dict[str, Any]:
    client = (quote_plus(provider.client_id), quote_plus(provider.client_secret))
    return (await http.post(url, data=form, auth=client)).json()


async def refresh(http: httpx.AsyncClient, provider: OidcServer, refresh_token: str) -> dict[str, Any]:
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    return await post(http, provider, provider.token_url, **form)


async def connect(http: httpx.AsyncClient, provider: OidcServer) -> dict[str, Any]:
    """The tokens of a fresh consent."""
    callback = httpx.URL(await Browser(http, "ada").redirected(authorization(provider)))
    assert callback.params["state"] == "st"
    assert callback.params["iss"] == provider.issuer
    form = {"code": callback.params["code"], "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    return await post(http, provider, provider.token_url, grant_type="authorization_code", **form)


async def userinfo(http: httpx.AsyncClient, provider: OidcServer, access_token: str) -> httpx.Response:
    return await http.get(provider.userinfo_url, headers={"Authorization": f"Bearer {access_token}"})


async def test_consent_rotation_and_the_end_of_a_family_by_reuse(
    oidc_provider: OidcServer, http: httpx.AsyncClient
) -> None:
    first = await connect(http, oidc_provider)
    assert first["scope"] == "openid tasks:write"
    assert (await userinfo(http, oidc_provider, first["access_token"])).json()["sub"] == "ada"

    second = await refresh(http, oidc_provider, first["refresh_token"])
    third = await refresh(http, oidc_provider, second["refresh_token"])
    spent = {first["refresh_token"], second["refresh_token"], third["refresh_token"]}
    assert len(spent) == 3
    told = await post(http, oidc_provider, oidc_provider.introspection_url, token=third["access_token"])
    assert (told["active"], told["client_id"], told["sub"]) == (True, oidc_provider.client_id, "ada")

    assert (await refresh(http, oidc_provider, first["refresh_token"]))["error"] == "invalid_grant"
    assert (await refresh(http, oidc_provider, third["refresh_token"]))["error"] == "invalid_grant"
    told = await post(http, oidc_provider, oidc_provider.introspection_url, token=third["access_token"])
    assert told == {"active": False}
    assert (await userinfo(http, oidc_provider, third["access_token"])).status_code == 401


async def test_access_tokens_live_as_long_as_told(
    start_oidc_provider: Callable[..., OidcServer], http: httpx.AsyncClient
) -> None:
    provider = start_oidc_provider(access_token_seconds=7)
    assert (await connect(http, provider))["expires_in"] == 7


async def test_without_pkce_there_is_no_code(oidc_provider: OidcServer, http: httpx.AsyncClient) -> None:
    bare = authorization(oidc_provider, code_challenge="", code_challenge_method="")
    callback = httpx.URL(await Browser(http, "ada").redirected(bare))
    assert callback.params["error"] == "invalid_request"


async def test_the_browser_arrives_at_the_client(oidc_provider: OidcServer, http: httpx.AsyncClient) -> None:
    arrived: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.append((await reader.readline()).decode())
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nback")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        address = authorization(oidc_provider, redirect_uri=f"http://127.0.0.1:{port}/callback")
        assert (await Browser(http, "ada").consent(address)).text == "back"
    assert arrived[0].startswith("GET /callback?code=")
