"""Who an agent is, with processes of their own: by a key it holds, and by a certified provider's word."""

import json
import time
from collections.abc import Callable

import httpx
import pytest
from acceptance.installation import Installation
from acceptance.oidc_server import OidcServer
from acceptance.test_oidc_harness import connect
from services.server import free_port

from dispenser import Denied, Misconfigured, Vault
from dispenser.agent_key import from_jwk, from_pem, thumbprint
from dispenser.client import credential, dpop

DECLARED = """
agents:
  tracker: {proof: required}
services:
  note: {provider: static}
providers:
  static: {grant: static}
policies:
  - {name: all, effect: allow, agents: [tracker], services: ["*"], owners: ["$session"]}
"""
ISSUERS = """
issuers:
  certified:
    issuer: {issuer}
    audience: {client_id}
    insecure_local: true
    rules:
      - {{claims: {{sub: "*"}}, agent: tracker, owner: {{claim: sub}}}}
"""
PATH = "/v1/agents/tracker/credentials/note"


def start(installation: Installation, declared: str, *ports: int) -> None:
    installation.declare(declared)
    installation.start("work", "refresher")
    installation.done("grant", "import", "note", "--owner", "ada", stdin="a-static-token")
    for port in ports:
        installation.start("gateway", "--port", str(port))


async def test_an_agent_makes_its_key_and_no_other_gateway_takes_its_proof_again(
    installation: Installation,
) -> None:
    here, elsewhere = installation.gateway_port, free_port()
    start(installation, DECLARED, here, elsewhere)
    url = installation.environment["DISPENSER_PUBLIC_URL"]
    file = installation.home / "agent.pem"
    public = installation.done("agent", "key", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    assert installation.cli("agent", "key", str(file)).returncode == 3
    assert installation.cli("agent", "token", "tracker", "--owner", "ada").returncode == 3
    bound = installation.done("agent", "token", "tracker", "--owner", "ada", "--key", public)
    assert credential.read(bound).key == thumbprint(from_jwk(json.loads(public)))

    environment = {"VAULT_URL": url, "VAULT_AGENT_TOKEN": bound}
    assert installation.cli("token", "note", **environment).returncode == 2
    got = installation.done("token", "note", **environment, VAULT_AGENT_KEY=str(file))
    assert got == "a-static-token"

    proof = dpop.proof(
        from_pem(file.read_bytes()),
        method="GET",
        url=f"{url}{PATH}",
        token=bound,
        proof_id="once",
        now=time.time(),
    )
    headers = {"Authorization": f"DPoP {bound}", "DPoP": proof}
    async with httpx.AsyncClient() as http:
        answers = [
            await http.get(f"http://127.0.0.1:{port}{PATH}", headers=headers)
            for port in (here, elsewhere, here)
        ]
    assert [answer.status_code for answer in answers] == [200, 401, 401]


async def test_a_bound_agents_sub_agent_works_over_rabbitmq_with_a_key_and_services_of_its_own(
    installation: Installation,
) -> None:
    start(
        installation, DECLARED.replace("  note: {provider", "  memo: {provider: static}\n  note: {provider")
    )
    installation.start("serve")
    files = [installation.home / "parent.pem", installation.home / "child.pem"]
    parents, childs = (installation.done("agent", "key", str(file)) for file in files)
    bound = installation.done("agent", "token", "tracker", "--owner", "ada", "--key", parents)
    async with Vault(installation.broker, bound, key=files[0]) as vault:
        child = await vault.child(services=["note"], ttl=60, key=json.loads(childs))
        with pytest.raises(Denied):
            await vault.child(services=["nothing"])
    with pytest.raises(Misconfigured):
        Vault(installation.broker, child.value, key=files[0])
    async with Vault(installation.broker, child.value, key=files[1]) as vault:
        assert (await vault.token("note")).value == "a-static-token"
        with pytest.raises(Denied):
            await vault.token("memo")
        with pytest.raises(Denied):
            await vault.child(services=["memo"])


async def test_a_vault_token_is_had_for_an_id_token_of_a_certified_provider(
    installation: Installation, start_oidc_provider: Callable[..., OidcServer]
) -> None:
    provider = start_oidc_provider()
    issuers = ISSUERS.format(issuer=provider.issuer, client_id=provider.client_id)
    declared = DECLARED.replace("{proof: required}", "{}") + issuers
    start(installation, declared, installation.gateway_port)
    url = installation.environment["DISPENSER_PUBLIC_URL"]
    async with httpx.AsyncClient() as http:
        own = (await connect(http, provider))["id_token"]
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
            "subject_token": own,
        }
        answer = (await http.post(f"{url}/v1/token", data=form)).json()
        damaged = await http.post(f"{url}/v1/token", data=form | {"subject_token": own[:-8] + "AAAAAAAA"})
    assert damaged.json()["error"] == "invalid_request"
    async with Vault(url, answer["access_token"]) as vault:
        assert (await vault.token("note")).value == "a-static-token"
        child = await vault.child(services=["note"], ttl=60)
    async with Vault(url, child.value) as vault:
        assert (await vault.token("note")).value == "a-static-token"
