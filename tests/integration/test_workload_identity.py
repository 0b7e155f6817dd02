"""A workload has a vault token for its own token, whose issuer is asked over HTTP for its keys."""

import asyncio
import json
import secrets
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from dispenser.agent_key import thumbprint
from dispenser.cli.embedded_vault import API_SCOPES, EmbeddedVault, embedded_vault
from dispenser.cli.processes import listening
from dispenser.client import credential, dpop
from dispenser.revoke import revoke_agent
from dispenser.testing.behaviour import Behaviour
from dispenser.testing.emulator import Emulator
from shared.model import AgentName
from shared.settings import Settings

DECLARED = """
agents:
  tracker: {{}}
  keeper: {{proof: required}}
policies:
  - {{name: all, effect: allow, agents: ["*"], services: ["*"]}}
issuers:
  cluster:
    issuer: {issuer}
    audience: vault
    insecure_local: true
    rules:
      - {{claims: {{sub: "pod:tracker"}}, agent: tracker, owner: {{claim: user}}}}
      - {{claims: {{sub: "pod:keeper"}}, agent: keeper, owner: ada}}
      - {{claims: {{sub: "pod:ghost"}}, agent: ghost, owner: ada}}
"""
KEY = Ed25519PrivateKey.generate()
EXCHANGE = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
}


class Cluster:
    """An OpenID provider for workloads."""

    def __init__(self) -> None:
        self.url = ""
        self.key = ECKey.generate_key("P-256", {"kid": "first"})
        self.instead: Response | None = None
        self.asked = 0

    def token(self, **claims: Any) -> str:
        now = int(time.time())
        told = {"iss": self.url, "aud": "vault", "sub": "pod:tracker", "user": "ada", "exp": now + 300}
        return jwt.encode({"alg": "ES256", "kid": self.key.kid}, told | claims, self.key)

    def application(self) -> Starlette:
        return Starlette(
            routes=[Route("/.well-known/openid-configuration", self._metadata), Route("/keys", self._keys)]
        )

    async def _metadata(self, _: Request) -> Response:
        return JSONResponse({"issuer": self.url, "jwks_uri": f"{self.url}/keys"})

    async def _keys(self, _: Request) -> Response:
        self.asked += 1
        return self.instead or JSONResponse({"keys": [self.key.as_dict(private=False)]})


class Gateway:
    def __init__(self, vault: EmbeddedVault, http: httpx.AsyncClient) -> None:
        self.vault = vault
        self.http = http

    async def exchange(
        self, token: str, *, key: Ed25519PrivateKey | None = None, **fields: str
    ) -> httpx.Response:
        headers = {} if key is None else {"DPoP": self.proof(key, "POST", "/v1/token", token)}
        return await self.http.post(
            "/v1/token", data=EXCHANGE | {"subject_token": token} | fields, headers=headers
        )

    def proof(self, key: Ed25519PrivateKey, method: str, path: str, token: str) -> str:
        url = f"{self.http.base_url}".rstrip("/") + path
        return dpop.proof(
            key, method=method, url=url, token=token, proof_id=secrets.token_hex(8), now=time.time()
        )

    async def asks(self, token: str, **headers: str) -> int:
        url = "/v1/agents/tracker/credentials/time-tracker"
        return (await self.http.get(url, headers={"Authorization": f"Bearer {token}"} | headers)).status_code

    def audited(self) -> list[tuple[str, str, str]]:
        folder = self.vault.world.settings.home / "audit"
        lines = [line for file in folder.glob("*") for line in file.read_text().splitlines()]
        records = [json.loads(line) for line in lines if "vault_token.exchanged" in line]
        return [(record["outcome"], record.get("agent", ""), record["reason"]) for record in records]


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    cluster = Cluster()
    with socket.create_server(("127.0.0.1", 0)) as door:
        cluster.url = f"http://127.0.0.1:{door.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(cluster.application(), log_level="warning", lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[door]))
        yield cluster
        server.should_exit = True
        await serving


@pytest.fixture
async def gateway(tmp_path: Path, cluster: Cluster) -> AsyncIterator[Gateway]:
    door = listening("127.0.0.1", 0)
    address = f"http://127.0.0.1:{door.getsockname()[1]}"
    settings = Settings(home=tmp_path, database_url=f"sqlite:///{tmp_path}/vault.db", public_url=address)
    declared = DECLARED.format(issuer=cluster.url)
    async with (
        Emulator(Behaviour(access_token_seconds=600), api_scopes=API_SCOPES) as provider,
        embedded_vault(settings, provider, door, declared) as vault,
        httpx.AsyncClient(base_url=address, trust_env=False, timeout=40) as http,
    ):
        await vault.connect("time-tracker", "ada")
        yield Gateway(vault, http)


async def test_a_workload_gets_a_vault_token_that_does_not_outlive_its_own(
    gateway: Gateway, cluster: Cluster
) -> None:
    own = cluster.token()
    answer = await gateway.exchange(own)
    assert (answer.status_code, answer.json()["token_type"]) == (200, "Bearer")
    token = answer.json()["access_token"]
    assert await gateway.asks(token) == 200
    ends = credential.read(own).expires_at
    assert credential.read(token).expires_at == ends
    renewed = await gateway.exchange(token)
    assert credential.read(renewed.json()["access_token"]).expires_at == ends
    short = await gateway.exchange(own, ttl_seconds="30")
    assert short.json()["expires_in"] <= 30
    outcomes = gateway.audited()
    assert [(outcome, agent) for outcome, agent, _ in outcomes] == [("ok", "tracker")] * 2
    assert outcomes[0][2] == "For pod:tracker of cluster."


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        ({"sub": "pod:other"}, "No rule"),
        ({"user": None}, "No rule"),
        ({"aud": "elsewhere"}, "audience"),
        ({"exp": 1}, "expired"),
        ({"iss": "https://elsewhere.example"}, "No issuer"),
        ({"sub": "pod:ghost"}, "not declared"),
        ({"sub": "pod:keeper"}, "bound to a key"),
        ({"cnf": {"jkt": thumbprint(KEY.public_key())}}, "bound to a key"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_anything_else_is_refused_told_and_audited(
    gateway: Gateway, cluster: Cluster, claims: dict[str, Any], says: str
) -> None:
    refused = await gateway.exchange(cluster.token(**claims))
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
    assert says in refused.json()["error_description"]
    assert [outcome for outcome, _, _ in gateway.audited()] == ["unauthenticated"]


async def test_a_forged_token_is_refused(gateway: Gateway, cluster: Cluster) -> None:
    forger = Cluster()
    forger.url = cluster.url
    refused = await gateway.exchange(forger.token())
    assert "not signed" in refused.json()["error_description"]


async def test_keys_that_are_replaced_are_found(
    gateway: Gateway, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await gateway.exchange(cluster.token())).status_code == 200
    cluster.key = ECKey.generate_key("P-256", {"kid": "second"})
    monkeypatch.setattr("dispenser.issuer_keys.BETWEEN_SECONDS", 0.0)
    assert (await gateway.exchange(cluster.token())).status_code == 200
    assert cluster.asked == 2


@pytest.mark.parametrize(
    "instead",
    [
        Response(status_code=500),
        RedirectResponse("http://127.0.0.1:1/keys"),
        Response(b"{" * 100_000),
        JSONResponse({"keys": 7}),
    ],
    ids=["fails", "leads elsewhere", "too long", "no keys"],
)
async def test_an_issuer_whose_keys_cannot_be_had_is_told_as_passing(
    gateway: Gateway, cluster: Cluster, instead: Response
) -> None:
    cluster.instead = instead
    refused = await gateway.exchange(cluster.token())
    assert (refused.status_code, refused.json()["error"]) == (503, "temporarily_unavailable")
    assert "Retry-After" in refused.headers
    assert [outcome for outcome, _, _ in gateway.audited()] == ["overloaded"]


async def test_a_proof_sent_along_binds_the_vault_token(gateway: Gateway, cluster: Cluster) -> None:
    own = cluster.token(cnf={"jkt": thumbprint(KEY.public_key())})
    assert (await gateway.exchange(own, key=Ed25519PrivateKey.generate())).status_code == 400
    answer = (await gateway.exchange(own, key=KEY)).json()
    assert answer["token_type"] == "DPoP"
    assert await gateway.asks(answer["access_token"]) == 401
    kept = await gateway.exchange(cluster.token(sub="pod:keeper"), key=KEY)
    assert kept.status_code == 200


async def test_a_revoked_agent_gets_none(gateway: Gateway, cluster: Cluster) -> None:
    world = gateway.vault.world
    token = (await gateway.exchange(cluster.token())).json()["access_token"]
    await revoke_agent(world.store, world.cache, AgentName("tracker"), world.clock())
    assert await gateway.asks(token) == 401
    async with asyncio.timeout(10):
        while (await gateway.exchange(cluster.token())).status_code == 200:
            pass  # until the door has seen it


async def test_a_workloads_own_token_is_not_narrowed(gateway: Gateway, cluster: Cluster) -> None:
    refused = await gateway.exchange(cluster.token(), services="time-tracker")
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
