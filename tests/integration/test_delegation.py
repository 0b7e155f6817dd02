"""A sub-agent gets a vault token that is narrower than its parent's, and with it no more than that."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dispenser import Denied, InvalidRequest, Vault
from dispenser.agent_key import public_jwk, thumbprint
from dispenser.cli.embedded_vault import API_SCOPES, EmbeddedVault, embedded_vault
from dispenser.cli.processes import listening
from dispenser.client import credential
from dispenser.revoke import revoke_agent, revoke_subject
from dispenser.testing.behaviour import Behaviour
from dispenser.testing.emulator import Emulator
from dispenser.vault_token import verify
from shared.model import AgentName, RevocationKind
from shared.settings import Settings

DECLARED = """
agents:
  tracker: {}
  helper: {}
  stranger: {}
policies:
  - {name: trackers, effect: allow, agents: [tracker], services: [time-tracker, slack-post]}
  - {name: helpers, effect: allow, agents: [helper], services: ["*"], owners: ["*"]}
"""
EXCHANGE = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
}


class Family:
    """A vault with a parent's token in hand."""

    def __init__(self, vault: EmbeddedVault, http: httpx.AsyncClient) -> None:
        self.vault = vault
        self.http = http
        self.url = str(http.base_url)
        self.parent = vault.agent_token("tracker", "ada", seconds=600)

    async def exchange(self, **fields: str) -> httpx.Response:
        return await self.http.post("/v1/token", data=EXCHANGE | {"subject_token": self.parent} | fields)

    async def asks(self, token: str, service: str, **query: str) -> tuple[int, str]:
        url = f"/v1/agents/tracker/credentials/{service}"
        answer = await self.http.get(url, params=query, headers={"Authorization": f"Bearer {token}"})
        return answer.status_code, answer.json().get("code", "")

    def audited(self, action: str = "vault_token.delegated") -> list[dict[str, Any]]:
        folder = self.vault.world.settings.home / "audit"
        lines = [line for file in folder.iterdir() for line in file.read_text().splitlines()]
        return [json.loads(line) for line in lines if f'"{action}"' in line]


@pytest.fixture
async def family(tmp_path: Path) -> AsyncIterator[Family]:
    door = listening("127.0.0.1", 0)
    address = f"http://127.0.0.1:{door.getsockname()[1]}"
    settings = Settings(home=tmp_path, database_url=f"sqlite:///{tmp_path}/vault.db", public_url=address)
    async with (
        Emulator(Behaviour(access_token_seconds=600), api_scopes=API_SCOPES) as provider,
        embedded_vault(settings, provider, door, DECLARED) as vault,
        httpx.AsyncClient(base_url=address, trust_env=False, timeout=40) as http,
    ):
        for service in ("time-tracker", "slack-post"):
            await vault.connect(service, "ada")
        yield Family(vault, http)


async def test_a_child_gets_what_it_is_for_and_nothing_else(family: Family) -> None:
    answer = await family.exchange(services="slack-post", actor="helper", ttl_seconds="60")
    child = answer.json()["access_token"]
    assert (answer.status_code, answer.json()["token_type"]) == (200, "Bearer")
    assert 55 <= answer.json()["expires_in"] <= 60
    assert await family.asks(child, "slack-post") == (200, "")
    assert await family.asks(child, "time-tracker") == (403, "denied")
    assert await family.asks(child, "slack-post", owner="grace") == (403, "denied")
    assert await family.asks(family.parent, "time-tracker") == (200, "")
    identity = verify(family.vault.world.keys, child, vault="vault", now=family.vault.world.clock())
    assert (identity.agent, identity.actors) == ("tracker", ("helper",))
    [record] = family.audited()
    assert (record["outcome"], record["agent"]) == ("ok", "tracker")
    assert "helper" in record["reason"]


async def test_who_acts_for_an_agent_is_in_the_audit(family: Family) -> None:
    child = (await family.exchange(services="slack-post", actor="helper")).json()["access_token"]
    await family.asks(family.parent, "slack-post")
    await family.asks(child, "slack-post")
    await family.asks(child, "time-tracker")
    await family.exchange(subject_token=child, actor="tracker")
    assert [record.get("actors") for record in family.audited("token.dispensed")] == [None, ["helper"]]
    assert [record.get("actors") for record in family.audited("token.denied")] == [["helper"]]
    assert [record.get("actors") for record in family.audited()] == [None, ["helper"]]


@pytest.mark.parametrize(
    "fields",
    [
        {"services": "calendar-read"},
        {"services": "slack-post calendar-read"},
        {"services": "nothing"},
        {"scope": "calendar:read"},
        {"services": "slack-post", "scope": "tasks:write"},
        {"services": "slack-post", "owner": "grace"},
        {"services": "slack-post", "actor": "stranger"},
        {"actor": "nobody"},
        {"services": "slack-post", "dpop_jkt": "short"},
    ],
    ids=str,
)
async def test_what_would_be_wider_is_refused_and_in_the_audit(
    family: Family, fields: dict[str, str]
) -> None:
    refused = await family.exchange(**fields)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_scope")
    assert [record["outcome"] for record in family.audited()] == ["denied"]


@pytest.mark.parametrize(
    "fields", [{"services": " "}, {"ttl_seconds": "0"}, {"ttl_seconds": "soon"}], ids=str
)
async def test_what_makes_no_sense_is_told(family: Family, fields: dict[str, str]) -> None:
    refused = await family.exchange(**fields)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")


async def test_a_grandchild_is_within_its_parent_and_ends_with_it(family: Family) -> None:
    async with Vault(family.url, family.parent) as vault:
        child = await vault.child(services=["slack-post"], ttl=60)
        assert child.value not in repr(child)
    async with Vault(family.url, child.value) as vault:
        grandchild = await vault.child(services=["slack-post"], ttl=3600)
        assert grandchild.expires_at == child.expires_at
        with pytest.raises(Denied):
            await vault.child(services=["time-tracker"])
    assert await family.asks(grandchild.value, "time-tracker") == (403, "denied")
    renewed = await family.exchange(subject_token=grandchild.value)
    assert credential.read(renewed.json()["access_token"]).expires_at == child.expires_at.timestamp()


@pytest.mark.parametrize("whom", ["session", "parent", "actor"])
async def test_revoking_the_parents_session_or_anyone_in_the_chain_revokes_the_child(
    family: Family, whom: str
) -> None:
    answer = await family.exchange(services="slack-post", actor="helper")
    child = answer.json()["access_token"]
    world = family.vault.world
    if whom == "session":
        session = verify(world.keys, child, vault="vault", now=world.clock()).session
        await revoke_subject(world.store, world.cache, RevocationKind.SESSION, session, world.clock())
    else:
        name = AgentName("tracker" if whom == "parent" else "helper")
        await revoke_agent(world.store, world.cache, name, world.clock())
    assert await family.asks(child, "slack-post") == (401, "unauthenticated")
    assert (await family.exchange(subject_token=child, services="slack-post")).status_code == 400


async def test_a_child_may_be_bound_to_a_key_of_its_own(family: Family, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    async with Vault(family.url, family.parent) as vault:
        child = await vault.child(services=["slack-post"], key=public_jwk(key.public_key()))
    assert credential.read(child.value).key == thumbprint(key.public_key())
    assert await family.asks(child.value, "slack-post") == (401, "unauthenticated")


async def test_the_client_asks_for_no_child_that_is_not_narrower_or_good_for_nothing(family: Family) -> None:
    async with Vault(family.url, family.parent) as vault:
        with pytest.raises(InvalidRequest, match="narrower"):
            await vault.child()
        with pytest.raises(InvalidRequest, match="services"):
            await vault.child(services=[])
        with pytest.raises(InvalidRequest, match="private key"):
            await vault.child(ttl=60, key={"kty": "OKP", "crv": "Ed25519", "x": "A" * 43, "d": "secret"})
