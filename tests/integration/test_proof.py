"""A vault token that is bound to a key is worth nothing without it, at any route of the HTTP door."""

import json
import secrets
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from dispenser import Vault
from dispenser.agent_key import public_jwk, thumbprint
from dispenser.cli.embedded_vault import API_SCOPES, EmbeddedVault, embedded_vault
from dispenser.cli.processes import listening
from dispenser.client import dpop
from dispenser.testing.behaviour import Behaviour
from dispenser.testing.emulator import Emulator
from dispenser.vault_token import Identity, mint
from dispenser.wiring.world import new_id
from shared.model import AgentName, Owner, SessionId
from shared.settings import Settings

DECLARED = """
agents:
  tracker: {description: "may prove a key"}
  keeper: {description: "has to", proof: required}
policies:
  - {name: all, effect: allow, agents: ["*"], services: ["*"], owners: ["$session"]}
"""
KEY = Ed25519PrivateKey.generate()
THIEF = Ed25519PrivateKey.generate()
PATH = "/v1/agents/tracker/credentials/time-tracker"
EXCHANGE = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
}


class Gateway:
    """The door, an agent with a key, and a thief with the agent's vault token."""

    def __init__(self, vault: EmbeddedVault, http: httpx.AsyncClient) -> None:
        self.vault = vault
        self.http = http
        self.bound = self.token("tracker", thumbprint(KEY.public_key()))
        self.bearer = self.token("tracker", None)

    def token(self, agent: str, key: str | None) -> str:
        now = self.vault.world.clock()
        identity = Identity(
            agent=AgentName(agent),
            session=SessionId(new_id()),
            owner=Owner("ada"),
            token_id=new_id(),
            issued_at=now,
            expires_at=now + timedelta(minutes=10),
            key=key,
        )
        return mint(self.vault.world.keys, identity, vault="vault")

    def proof(self, method: str, path: str, key: Ed25519PrivateKey = KEY, **changes: Any) -> str:
        values = {"token": self.bound, "proof_id": secrets.token_hex(8), "now": time.time()} | changes
        return dpop.proof(key, method=method, url=f"{self.http.base_url}".rstrip("/") + path, **values)

    async def get(self, scheme: str, token: str, *proofs: str) -> httpx.Response:
        headers = [("Authorization", f"{scheme} {token}"), *(("DPoP", proof) for proof in proofs)]
        return await self.http.get(PATH, headers=headers)

    async def renew(self, token: str, *proofs: str) -> httpx.Response:
        headers = [("DPoP", proof) for proof in proofs]
        return await self.http.post("/v1/token", data=EXCHANGE | {"subject_token": token}, headers=headers)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    door = listening("127.0.0.1", 0)
    address = f"http://127.0.0.1:{door.getsockname()[1]}"
    settings = Settings(home=tmp_path, database_url=f"sqlite:///{tmp_path}/vault.db", public_url=address)
    async with (
        Emulator(Behaviour(access_token_seconds=600), api_scopes=API_SCOPES) as provider,
        embedded_vault(settings, provider, door, DECLARED) as vault,
        httpx.AsyncClient(base_url=address, trust_env=False, timeout=40) as http,
    ):
        await vault.connect("time-tracker", "ada")
        yield Gateway(vault, http)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "agent.pem"
    file.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return file


async def test_the_client_library_proves_its_key_by_itself_and_again_after_renewal(
    gateway: Gateway, key_file: Path
) -> None:
    async with Vault(str(gateway.http.base_url), gateway.bound, key=key_file) as vault:
        token = await vault.token("time-tracker")
        await vault.rejected(token)
        assert (await vault.token("time-tracker")).generation == token.generation + 1
    renewed = await gateway.renew(gateway.bound, gateway.proof("POST", "/v1/token"))
    assert renewed.json()["token_type"] == "DPoP"
    async with Vault(str(gateway.http.base_url), renewed.json()["access_token"], key=key_file) as vault:
        await vault.token("time-tracker")


async def test_a_stolen_vault_token_gets_nothing_without_its_key(gateway: Gateway) -> None:
    used = gateway.proof("GET", PATH)
    assert (await gateway.get("DPoP", gateway.bound, used)).status_code == 200
    attempts = [
        await gateway.get("Bearer", gateway.bound),
        await gateway.get("DPoP", gateway.bound),
        await gateway.get("Bearer", gateway.bound, gateway.proof("GET", PATH)),
        await gateway.get("DPoP", gateway.bound, gateway.proof("GET", PATH, THIEF)),
        await gateway.get("DPoP", gateway.bound, used),
        await gateway.get("DPoP", gateway.bound, gateway.proof("GET", PATH), gateway.proof("GET", PATH)),
        await gateway.get("DPoP", gateway.bound, gateway.proof("POST", PATH)),
        await gateway.get("DPoP", gateway.bound, gateway.proof("GET", f"{PATH}/rejected")),
        await gateway.get("DPoP", gateway.bound, gateway.proof("GET", PATH, token=gateway.bearer)),
        await gateway.get("DPoP", gateway.bound, gateway.proof("GET", PATH, now=time.time() - 600)),
        await gateway.http.post(f"{PATH}/rejected", headers={"Authorization": f"Bearer {gateway.bound}"}),
    ]
    for refused in attempts:
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
        assert 'DPoP error="invalid_' in refused.headers["www-authenticate"]
        assert 'algs="Ed25519 EdDSA"' in refused.headers["www-authenticate"]
    exchanges = [
        await gateway.renew(gateway.bound),
        await gateway.renew(gateway.bound, gateway.proof("POST", "/v1/token", THIEF)),
        await gateway.renew(gateway.bound, used),
        await gateway.renew(gateway.bound, gateway.proof("POST", "/v1/token", token="another")),
    ]
    assert [refused.status_code for refused in exchanges] == [400] * 4
    assert {refused.json()["error"] for refused in exchanges} == {"invalid_request", "invalid_dpop_proof"}


async def test_who_tries_a_stolen_vault_token_is_in_the_audit(gateway: Gateway) -> None:
    await gateway.get("DPoP", gateway.bound, gateway.proof("GET", PATH, THIEF))
    journals = [file.read_text() for file in (gateway.vault.world.settings.home / "audit").iterdir()]
    lines = [json.loads(line) for journal in journals for line in journal.splitlines() if "refused" in line]
    assert [(line["action"], line["agent"], line["door"]) for line in lines] == [
        ("request.refused", "tracker", "http")
    ]


async def test_a_bearer_token_is_no_bound_one(gateway: Gateway) -> None:
    assert (await gateway.get("Bearer", gateway.bearer)).status_code == 200
    proof = gateway.proof("GET", PATH, token=gateway.bearer)
    refused = await gateway.get("DPoP", gateway.bearer, proof)
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
    assert "bound to no key" in refused.json()["detail"]


async def test_an_agent_that_has_to_prove_a_key_gets_no_vault_token_without_and_nothing_for_an_old_one(
    gateway: Gateway,
) -> None:
    async def issued(**body: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {gateway.vault.admin_token}"}
        return await gateway.http.post(
            "/v1/agents/keeper/tokens", json={"owner": "ada"} | body, headers=headers
        )

    assert (await issued()).json()["code"] == "key_required"
    old = gateway.token("keeper", None)
    path = PATH.replace("tracker", "keeper", 1)
    headers = {"Authorization": f"Bearer {old}"}
    assert (await gateway.http.get(path, headers=headers)).status_code == 401
    assert (await gateway.renew(old)).status_code == 400

    bound = (await issued(key=public_jwk(KEY.public_key()))).json()
    assert bound["token_type"] == "DPoP"
    headers = {
        "Authorization": f"DPoP {bound['token']}",
        "DPoP": gateway.proof("GET", path, token=bound["token"]),
    }
    assert (await gateway.http.get(path, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "key", [{}, {"kty": "RSA", "n": "AQAB"}, public_jwk(KEY.public_key()) | {"d": "AAAA"}, "key"]
)
async def test_what_is_no_public_key_binds_nothing(gateway: Gateway, key: object) -> None:
    headers = {"Authorization": f"Bearer {gateway.vault.admin_token}"}
    body = {"owner": "ada", "key": key}
    refused = await gateway.http.post("/v1/agents/tracker/tokens", json=body, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")
