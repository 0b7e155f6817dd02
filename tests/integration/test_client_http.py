"""Agents get their tokens through the HTTP door as they do over a broker."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import uvicorn
from integration.silence import silent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from vault_jwt import vault_jwt

from dispenser import (
    Closed,
    DeadlineExceeded,
    Denied,
    InsufficientScope,
    ReauthorizationRequired,
    Vault,
    VaultError,
    VaultUnreachable,
)

TOKEN = vault_jwt("tracker")


@dataclass
class Gateway:
    """An HTTP door in a few lines, and an API that takes one generation's token. Knows what was asked."""

    url: str = ""
    generation: int = 1
    seen: list[Request] = field(default_factory=list)
    #: What the API got: the body and the header.
    posted: list[tuple[bytes, str]] = field(default_factory=list)
    #: Answers given instead of tokens, in turn.
    instead: list[Response] = field(default_factory=list)
    #: The generation of the token that the API takes.
    taken: int = 1
    renewed: str = field(default_factory=lambda: vault_jwt("tracker", serial=1))
    forms: list[dict[str, Any]] = field(default_factory=list)

    async def credential(self, request: Request) -> Response:
        self.seen.append(request)
        if self.instead:
            return self.instead.pop(0)
        return JSONResponse(
            {
                "access_token": f"token-{self.generation}",
                "token_type": "Bearer",
                "expires_in": 3600,
                "expires_at": "2096-10-02T07:06:40Z",
                "scope": "read post",
                "service": request.path_params["service"],
                "generation": self.generation,
            }
        )

    async def rejected(self, request: Request) -> Response:
        self.seen.append(request)
        if (await request.json())["generation"] == self.generation:
            self.generation += 1
        return JSONResponse({"code": "ok"}, status_code=202)

    async def exchange(self, request: Request) -> Response:
        self.forms.append(dict(httpx.QueryParams((await request.body()).decode())))
        return JSONResponse({"access_token": self.renewed, "token_type": "Bearer", "expires_in": 900})

    async def api(self, request: Request) -> Response:
        self.posted.append((await request.body(), request.headers["Authorization"]))
        taken = request.headers["Authorization"] == f"Bearer token-{self.taken}"
        return PlainTextResponse("done" if taken else "no", status_code=200 if taken else 401)

    def application(self) -> Starlette:
        path = "/v1/agents/{agent}/credentials/{service}"
        return Starlette(
            routes=[
                Route(path, self.credential),
                Route(f"{path}/rejected", self.rejected, methods=["POST"]),
                Route("/v1/token", self.exchange, methods=["POST"]),
                Route("/api", self.api, methods=["GET", "POST"]),
            ]
        )


@asynccontextmanager
async def served(application: Starlette, port: int = 0) -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", port)) as listening:
        server = uvicorn.Server(uvicorn.Config(application, log_level="warning", lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    gateway = Gateway()
    async with served(gateway.application()) as url:
        gateway.url = url
        yield gateway


@pytest.fixture
async def vault(gateway: Gateway) -> AsyncIterator[Vault]:
    async with Vault(gateway.url, TOKEN) as opened:
        yield opened


def problem(status: int, code: str, **members: object) -> Response:
    document = {"type": "about:blank", "status": status, "code": code, "detail": "Because.", **members}
    return JSONResponse(document, status_code=status, media_type="application/problem+json")


async def test_an_agent_gets_a_token(gateway: Gateway, vault: Vault) -> None:
    token = await vault.token("slack-post")
    assert (token.value, token.authorization, token.generation) == ("token-1", "Bearer token-1", 1)
    assert token.scopes == ("read", "post")
    assert token.expires_at is not None
    assert token.expires_at.isoformat() == "2096-10-02T07:06:40+00:00"
    [request] = gateway.seen
    assert request.url.path == "/v1/agents/tracker/credentials/slack-post"
    assert dict(request.query_params) == {}
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"


async def test_what_is_asked_for_is_in_the_query_and_the_deadline_in_a_preference(
    gateway: Gateway, vault: Vault
) -> None:
    await vault.token(
        "slack-post", owner="ada b", min_ttl=60, scopes="read post", purpose="a & b", deadline=7
    )
    [request] = gateway.seen
    assert dict(request.query_params) == {
        "owner": "ada b",
        "min_ttl": "60",
        "scope": "read post",
        "purpose": "a & b",
    }
    assert request.headers["Prefer"] == "wait=7"


async def test_a_services_name_cannot_lead_elsewhere(gateway: Gateway, vault: Vault) -> None:
    with pytest.raises(VaultError):
        await vault.token("../../../../v1/token")
    assert not gateway.seen
    await vault.token("a?min_ttl=1#b")
    assert gateway.seen[0].path_params["service"] == "a?min_ttl=1#b"


async def test_tokens_are_held_and_calls_joined(gateway: Gateway, vault: Vault) -> None:
    tokens = await asyncio.gather(*(vault.token("slack-post") for _ in range(20)))
    assert await vault.token("slack-post") is tokens[0]
    assert len(gateway.seen) == 1


@pytest.mark.parametrize(
    ("answer", "kind", "attributes"),
    [
        (problem(403, "denied"), Denied, {}),
        (
            problem(409, "reauth_required", connect_url="https://vault/connect"),
            ReauthorizationRequired,
            {"connect_url": "https://vault/connect"},
        ),
        (
            problem(403, "insufficient_scope", missing_scopes=["a"]),
            InsufficientScope,
            {"missing_scopes": ("a",), "connect_url": None},
        ),
    ],
)
async def test_a_problem_is_an_error_of_its_kind(
    gateway: Gateway, vault: Vault, answer: Response, kind: type[VaultError], attributes: dict[str, object]
) -> None:
    gateway.instead = [answer]
    with pytest.raises(kind, match="slack-post: Because") as caught:
        await vault.token("slack-post")
    assert {name: getattr(caught.value, name) for name in attributes} == attributes


async def test_an_overload_that_passes_is_waited_for(gateway: Gateway, vault: Vault) -> None:
    gateway.instead = [
        problem(429, "rate_limited", retry_after=0.01),
        PlainTextResponse("a proxy's page", status_code=503, headers={"Retry-After": "0"}),
    ]
    assert (await vault.token("slack-post", deadline=20)).value == "token-1"


async def test_a_page_instead_of_an_answer_is_told_and_not_shown(gateway: Gateway, vault: Vault) -> None:
    gateway.instead = [PlainTextResponse("welcome, secret", status_code=302)]
    with pytest.raises(VaultError, match="VAULT_URL") as caught:
        await vault.token("slack-post")
    assert "secret" not in str(caught.value)


async def test_a_gateway_that_is_down_is_told_at_the_deadline_and_one_that_comes_up_is_found() -> None:
    gateway = Gateway()
    with socket.create_server(("127.0.0.1", 0)) as placeholder:
        port = placeholder.getsockname()[1]
    async with Vault(f"http://127.0.0.1:{port}", TOKEN) as vault:
        with pytest.raises(VaultUnreachable):
            await vault.token("slack-post", deadline=0.3)
        waiting = asyncio.create_task(vault.token("slack-post", deadline=20))
        async with served(gateway.application(), port):
            assert (await waiting).value == "token-1"


@asynccontextmanager
async def silence() -> AsyncIterator[str]:
    """A server that takes requests and says nothing."""
    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_silence_is_told_at_the_deadline() -> None:
    async with silence() as url, Vault(url, TOKEN) as vault:
        with pytest.raises(DeadlineExceeded):
            await vault.token("slack-post", deadline=0.3)


async def test_closing_ends_calls_that_wait() -> None:
    async with silence() as url:
        async with Vault(url, TOKEN) as vault:
            waiting = asyncio.create_task(vault.token("slack-post", deadline=60))
            await asyncio.sleep(0)
        with pytest.raises(Closed):
            await waiting


async def test_the_vault_token_is_renewed_by_token_exchange(gateway: Gateway) -> None:
    old = vault_jwt("tracker", life_seconds=900, age_seconds=800)
    async with Vault(gateway.url, old) as vault:
        await vault.token("slack-post")
    assert gateway.forms == [
        {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": old,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        }
    ]
    assert gateway.seen[0].headers["Authorization"] == f"Bearer {gateway.renewed}"


async def test_the_vault_token_is_renewed_in_the_background(gateway: Gateway) -> None:
    renewed = asyncio.Event()
    exchange = gateway.exchange

    async def noticed(request: Request) -> Response:
        renewed.set()
        return await exchange(request)

    gateway.exchange = noticed  # type: ignore[method-assign]
    old = vault_jwt("tracker", life_seconds=900, age_seconds=800)
    async with served(gateway.application()) as url, Vault(url, old), asyncio.timeout(20):
        await renewed.wait()


async def uploaded() -> AsyncIterator[bytes]:
    yield b"one "
    yield b"two"


Send = Callable[[httpx.AsyncClient, str], Awaitable[httpx.Response]]


@pytest.mark.parametrize(
    ("send", "body"),
    [
        (lambda http, url: http.get(url), b""),
        (lambda http, url: http.post(url, json={"text": "hi"}), b'{"text":"hi"}'),
        (lambda http, url: http.post(url, content=uploaded()), b"one two"),
    ],
    ids=["no body", "json", "a stream"],
)
async def test_a_request_refused_with_401_is_sent_again_with_a_fresh_token(
    gateway: Gateway, vault: Vault, send: Send, body: bytes
) -> None:
    gateway.taken = 2
    async with httpx.AsyncClient(auth=vault.auth("slack-post")) as http:
        response = await send(http, f"{gateway.url}/api")
    assert (response.status_code, response.text) == (200, "done")
    assert gateway.posted == [(body, "Bearer token-1"), (body, "Bearer token-2")]


async def test_a_request_refused_twice_stays_refused(gateway: Gateway, vault: Vault) -> None:
    gateway.taken = 99
    async with httpx.AsyncClient(auth=vault.auth("slack-post")) as http:
        response = await http.get(f"{gateway.url}/api")
    assert response.status_code == 401
    assert len(gateway.posted) == 2


async def test_many_requests_refused_at_once_cause_one_refresh(gateway: Gateway, vault: Vault) -> None:
    gateway.taken = 2
    async with httpx.AsyncClient(auth=vault.auth("slack-post")) as http:
        responses = await asyncio.gather(*(http.get(f"{gateway.url}/api") for _ in range(20)))
    assert {response.status_code for response in responses} == {200}
    assert gateway.generation == 2


async def test_a_token_that_cannot_be_had_is_the_requests_error(gateway: Gateway, vault: Vault) -> None:
    gateway.instead = [problem(403, "denied")]
    async with httpx.AsyncClient(auth=vault.auth("slack-post", owner="bob", scopes=["post"])) as http:
        with pytest.raises(Denied):
            await http.get(f"{gateway.url}/api")
    assert dict(gateway.seen[0].query_params) == {"owner": "bob", "scope": "post"}
    assert not gateway.posted


def test_a_client_that_cannot_wait_is_told(gateway: Gateway) -> None:
    vault = Vault("http://127.0.0.1:1", TOKEN)
    with (
        httpx.Client(auth=vault.auth("slack-post")) as http,
        pytest.raises(RuntimeError, match="AsyncClient"),
    ):
        http.get("http://127.0.0.1:1/")
