"""The HTTP door on a real socket: every route, with real refreshers and an emulated provider behind it."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from acceptance.browser import Browser
from builders import OTHER_KEYS, a_vault_token
from joserfc import jwt
from joserfc.jwk import KeySet

from dispenser.cli.embedded_vault import ADMIN_NAME, API_SCOPES, EmbeddedVault, embedded_vault
from dispenser.cli.processes import listening
from dispenser.http.problems import MEDIA_TYPE
from dispenser.revoke import revoke_agent
from dispenser.testing.behaviour import Behaviour
from dispenser.testing.emulator import Emulator
from dispenser.wiring.consent import connect_url
from shared.envelope import seal_provider_secrets
from shared.model import AgentName, ClientAuth, Owner, ProviderSecrets, ServiceName
from shared.ports import Declared
from shared.settings import Settings

DECLARED = """
agents:
  tracker: {description: "may have what its owner has"}
  intern: {description: "may have nothing"}
policies:
  - {name: trackers, effect: allow, agents: [tracker], services: ["*"], owners: ["$session"]}
"""
EXCHANGE = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
}


class Gateway:
    """The door, and who knocks at it."""

    def __init__(self, vault: EmbeddedVault, http: httpx.AsyncClient) -> None:
        self.vault = vault
        self.http = http
        self.provider = vault.provider
        self.tracker = vault.agent_token("tracker", "ada", seconds=600)
        self.intern = vault.agent_token("intern", "ada", seconds=600)

    async def ask(
        self, path: str = "time-tracker", *, token: str | None = None, agent: str = "tracker", **named: Any
    ) -> httpx.Response:
        url = f"/v1/agents/{agent}/credentials/{path}"
        return await self.http.get(
            url, headers=bearer(token or self.tracker) | named.pop("headers", {}), **named
        )

    async def put(
        self, body: Any, *, service: str = "time-tracker", token: str | None = None
    ) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = bearer(token or self.vault.admin_token) | {"Content-Type": "application/json"}
        return await self.http.put(f"/v1/credentials/{service}?owner=ada", content=content, headers=headers)

    def connect_path(self, service: str = "time-tracker", owner: str = "ada") -> str:
        parts = urlsplit(connect_url(self.vault.world)(ServiceName(service), Owner(owner)))
        return f"{parts.path}?{parts.query}"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def problem(response: httpx.Response) -> tuple[int, str]:
    """A problem document's status and code (RFC 9457)."""
    assert response.headers["content-type"].startswith(MEDIA_TYPE), response.text
    body = response.json()
    assert body["status"] == response.status_code
    assert body["detail"]
    return response.status_code, body["code"]


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    door = listening("127.0.0.1", 0)
    address = f"http://127.0.0.1:{door.getsockname()[1]}"
    settings = Settings(home=tmp_path, database_url=f"sqlite:///{tmp_path}/vault.db", public_url=address)
    behaviour = Behaviour(access_token_seconds=600)
    async with (
        Emulator(behaviour, api_scopes=API_SCOPES) as provider,
        embedded_vault(settings, provider, door, DECLARED) as vault,
        httpx.AsyncClient(base_url=address, trust_env=False, timeout=40) as http,
    ):
        yield Gateway(vault, http)


@pytest.fixture
async def connected(gateway: Gateway) -> Gateway:
    await gateway.vault.connect("time-tracker", "ada")
    return gateway


async def test_an_agent_gets_its_token(connected: Gateway) -> None:
    response = await connected.ask(params={"min_ttl": 60, "scope": "tasks:write", "purpose": "digest"})
    body = response.json()
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    assert (body["token_type"], body["scope"], body["service"], body["generation"]) == (
        "Bearer",
        "tasks:write",
        "time-tracker",
        1,
    )
    assert 590 < body["expires_in"] <= 600
    assert body["expires_at"].endswith("Z")
    api = await connected.http.get(
        f"{connected.provider.api_url}/time-tracker", headers=bearer(body["access_token"])
    )
    assert api.status_code == 200


async def test_each_refusal_is_a_problem_document_with_its_code(connected: Gateway) -> None:
    refusals = {
        (401, "unauthenticated"): await connected.http.get("/v1/agents/tracker/credentials/time-tracker"),
        (403, "denied"): await connected.ask(agent="intern", token=connected.intern),
        (404, "not_found"): await connected.ask("nothing"),
        (409, "reauth_required"): await connected.ask("slack-post"),
        (403, "insufficient_scope"): await connected.ask(params={"scope": "tasks:write tasks:read"}),
        (409, "ttl_unavailable"): await connected.ask(params={"min_ttl": 700}),
        (400, "invalid_request"): await connected.ask(params={"min_ttl": -1}),
    }
    assert {expected: problem(response) for expected, response in refusals.items()} == {
        expected: expected for expected in refusals
    }
    assert refusals[401, "unauthenticated"].headers["www-authenticate"].startswith("Bearer")
    assert refusals[403, "insufficient_scope"].json()["missing_scopes"] == ["tasks:read"]
    assert "/v1/connect/slack-post?" in refusals[409, "reauth_required"].json()["connect_url"]


async def test_without_rights_nothing_tells_what_exists(connected: Gateway) -> None:
    one = await connected.ask("time-tracker", agent="intern", token=connected.intern)
    other = await connected.ask("nothing", agent="intern", token=connected.intern)
    assert one.json() | {"service": ""} == other.json() | {"service": ""}


@pytest.mark.parametrize("token", ["garbage", a_vault_token(OTHER_KEYS), "ä", "x" * 5000])
async def test_a_token_that_is_not_ours_is_refused(connected: Gateway, token: str) -> None:
    headers = [(b"Authorization", b"Bearer " + token.encode())]
    response = await connected.http.get("/v1/agents/tracker/credentials/time-tracker", headers=headers)
    assert problem(response) == (401, "unauthenticated")


async def test_the_path_names_the_agent_that_asks(connected: Gateway) -> None:
    assert problem(await connected.ask(agent="intern", token=connected.tracker)) == (403, "denied")


async def test_a_provider_that_hangs_is_waited_for_as_long_as_preferred(connected: Gateway) -> None:
    connected.provider.behaviour = Behaviour(access_token_seconds=600, response_delay_seconds=5)
    url = "/v1/agents/tracker/credentials/time-tracker/rejected"
    headers = bearer(connected.tracker) | {"Prefer": "wait=1"}
    assert problem(await connected.http.post(url, headers=headers)) == (504, "deadline_exceeded")


@pytest.mark.parametrize("body", [None, {"generation": 1}])
async def test_a_rejected_token_is_refreshed_once(connected: Gateway, body: dict[str, int] | None) -> None:
    url = "/v1/agents/tracker/credentials/time-tracker/rejected"
    report = {"json": body} if body else {}
    responses = await asyncio.gather(
        *(connected.http.post(url, headers=bearer(connected.tracker), **report) for _ in range(10))
    )
    assert {response.status_code for response in responses} == {202}
    assert (await connected.ask()).json()["generation"] == 2
    assert connected.provider.refreshes == 1


async def test_a_rotation_job_hands_a_credential_in(gateway: Gateway) -> None:
    token = gateway.provider.issue_refresh_token("ada", ("tasks:write",))
    response = await gateway.put({"refresh_token": token})
    assert response.status_code == 200, response.text
    assert response.json()["generation"] == 1
    assert (await gateway.ask()).status_code == 200


async def test_a_slow_provider_leaves_the_rotation_job_with_an_enrolment(gateway: Gateway) -> None:
    gateway.provider.behaviour = Behaviour(response_delay_seconds=2)
    body = json.dumps({"refresh_token": gateway.provider.issue_refresh_token("ada", ("tasks:write",))})
    headers = bearer(gateway.vault.admin_token) | {"Prefer": "wait=0"}
    pending = await gateway.http.put("/v1/credentials/time-tracker?owner=ada", content=body, headers=headers)
    assert (pending.status_code, pending.json()["state"]) == (202, "pending")


async def test_a_credential_that_the_provider_refuses_changes_nothing(connected: Gateway) -> None:
    assert problem(await connected.put({"refresh_token": "made-up"})) == (422, "invalid_grant")
    assert (await connected.ask()).json()["generation"] == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b"null", 400),
        (b'{"refresh_token": ["canary"], "more": "canary"}', 400),
        (b'{"refresh_token": ""}', 400),
        (b'{"refresh_token": "' + b"x" * 20_000 + b'"}', 413),
        (b"\xff\xfe", 400),
    ],
)
async def test_a_body_that_is_none_is_refused_and_never_repeated(
    connected: Gateway, body: bytes, status: int
) -> None:
    response = await connected.put(body)
    assert problem(response)[0] == status
    assert "canary" not in response.text
    assert (await connected.ask()).json()["generation"] == 1


@pytest.mark.parametrize("token", ["wrong", ""])
async def test_admins_alone_hand_in_mint_and_read_the_audit(gateway: Gateway, token: str) -> None:
    mine = token or gateway.tracker
    assert problem(await gateway.put({"refresh_token": "x"}, token=mine)) == (401, "unauthenticated")
    minting = await gateway.http.post(
        "/v1/agents/tracker/tokens", json={"owner": "ada"}, headers=bearer(mine)
    )
    assert problem(minting) == (401, "unauthenticated")
    assert problem(await gateway.http.get("/v1/audit", headers=bearer(mine))) == (401, "unauthenticated")


async def test_an_admin_mints_vault_tokens_for_agents_that_live(connected: Gateway) -> None:
    admin = bearer(connected.vault.admin_token)
    minted = await connected.http.post(
        "/v1/agents/tracker/tokens", json={"owner": "ada", "ttl_seconds": 60}, headers=admin
    )
    assert minted.status_code == 201
    assert (await connected.ask(token=minted.json()["token"])).status_code == 200
    unknown = await connected.http.post("/v1/agents/nobody/tokens", json={"owner": "ada"}, headers=admin)
    assert problem(unknown) == (404, "not_found")
    world = connected.vault.world
    await revoke_agent(world.store, world.cache, AgentName("tracker"), world.clock())
    revoked = await connected.http.post("/v1/agents/tracker/tokens", json={"owner": "ada"}, headers=admin)
    assert problem(revoked) == (409, "agent_revoked")
    assert problem(await connected.ask(token=minted.json()["token"])) == (401, "unauthenticated")


async def test_a_vault_token_is_renewed_by_an_exchange(connected: Gateway) -> None:
    renewed = await connected.http.post("/v1/token", data=EXCHANGE | {"subject_token": connected.tracker})
    assert renewed.status_code == 200
    assert renewed.json()["issued_token_type"] == EXCHANGE["subject_token_type"]
    assert (await connected.ask(token=renewed.json()["access_token"])).status_code == 200


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"subject_token": "garbage"}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"scope": "more"}, "invalid_scope"),
        ({"audience": "elsewhere"}, "invalid_target"),
        ({"subject_token_type": "urn:x"}, "invalid_request"),
    ],
)
async def test_any_other_exchange_is_refused_as_oauth_has_it(
    gateway: Gateway, changes: dict[str, str], error: str
) -> None:
    form = EXCHANGE | {"subject_token": gateway.tracker} | changes
    refused = await gateway.http.post("/v1/token", data=form)
    assert (refused.status_code, refused.json()["error"]) == (400, error)


async def test_the_audit_tells_who_got_what(connected: Gateway) -> None:
    await connected.ask(params={"purpose": "digest"})
    admin = bearer(connected.vault.admin_token)
    found: list[dict[str, Any]] = []
    while not found:  # the shipping takes its time
        answer = await connected.http.get(
            "/v1/audit", params={"agent": "tracker", "service": "time-tracker"}, headers=admin
        )
        found = [record for record in answer.json()["records"] if record["action"] == "token.dispensed"]
        await asyncio.sleep(0.05)
    assert (found[0]["purpose"], found[0]["door"], found[0]["owner"]) == ("digest", "http", "ada")
    by_token = {
        name: found[0][name] for name in ("fingerprint", "session", "generation", "action", "outcome")
    }
    asked = await connected.http.get("/v1/audit", params=by_token, headers=admin)
    assert asked.json()["records"] == found[:1]
    for other in (
        {"agent": "nobody"},
        by_token | {"outcome": "denied"},
        by_token | {"until": found[0]["at"]},
    ):
        none = await connected.http.get("/v1/audit", params=other, headers=admin)
        assert none.json() == {"records": []}


async def test_health_readiness_metrics_keys_and_schema(connected: Gateway) -> None:
    await connected.ask()
    assert (await connected.http.get("/healthz")).json() == {"status": "ok"}
    assert (await connected.http.get("/readyz")).json() == {"store": "ok", "cache": "ok", "bus": "ok"}
    metrics = (await connected.http.get("/metrics")).text
    assert 'dispenser_replies_total{code="ok",door="http"} 1.0' in metrics
    assert "ada" not in metrics
    keys = KeySet.import_key_set((await connected.http.get("/.well-known/jwks.json")).json())
    assert jwt.decode(connected.tracker, keys, algorithms=["EdDSA"]).claims["sub"] == "tracker"
    schema = (await connected.http.get("/openapi.json")).json()
    assert "/v1/agents/{agent}/credentials/{service}" in schema["paths"]


async def test_a_database_that_is_down_makes_it_unready_and_not_dead(connected: Gateway) -> None:
    await connected.vault.world.store.close()
    unready = await connected.http.get("/readyz")
    assert unready.status_code == 503
    assert unready.json()["store"] != "ok"
    assert (await connected.http.get("/healthz")).status_code == 200
    assert (await connected.ask()).status_code == 200


async def test_a_database_that_is_down_is_said_to_be_down_and_when_to_ask_again(gateway: Gateway) -> None:
    await gateway.vault.world.store.close()
    refused = await gateway.put({"refresh_token": "x"})
    assert problem(refused) == (503, "store_unavailable")
    assert refused.headers["retry-after"] == "1"


async def test_what_is_not_there_is_a_problem_document_too(gateway: Gateway) -> None:
    assert problem(await gateway.http.get("/nowhere"))[0] == 404
    assert problem(await gateway.http.delete("/v1/audit"))[0] == 405


@pytest.mark.parametrize("text", ["a%00b", "%ff%fe", "a%0ab", "..%2f..", "%ed%a0%80", "x" * 3000])
async def test_no_text_in_an_address_is_a_fault_of_ours(connected: Gateway, text: str) -> None:
    admin = bearer(connected.vault.admin_token)
    for response in (
        await connected.http.get(f"/v1/agents/tracker/credentials/{text}", headers=bearer(connected.tracker)),
        await connected.http.get(
            f"/v1/agents/tracker/credentials/time-tracker?owner={text}", headers=bearer(connected.tracker)
        ),
        await connected.http.get(f"/v1/agents/{text}/credentials/x", headers=bearer(connected.tracker)),
        await connected.http.get(f"/v1/audit?agent={text}", headers=admin),
        await connected.http.post(f"/v1/agents/{text}/tokens", json={"owner": "a"}, headers=admin),
        await connected.http.get(f"/v1/connect/{text}?owner={text}&ticket={text}"),
        await connected.http.get(f"/v1/oauth/callback?state={text}&code={text}"),
    ):
        assert response.status_code < 500, response.text


async def test_an_owner_consents_in_a_browser(gateway: Gateway) -> None:
    page = await Browser(gateway.http, "ada").consent(str(gateway.http.base_url.join(gateway.connect_path())))
    assert page.status_code == 200
    assert "connected" in page.text.lower()
    assert (await gateway.ask()).status_code == 200
    for header in ("content-security-policy", "x-frame-options", "referrer-policy"):
        assert page.headers[header]


async def test_scopes_that_the_owner_withheld_are_named(gateway: Gateway) -> None:
    gateway.provider.behaviour = Behaviour(access_token_seconds=600, withheld_scopes=("tasks:write",))
    page = await Browser(gateway.http, "ada").consent(str(gateway.http.base_url.join(gateway.connect_path())))
    assert "tasks:write" in page.text


async def begun(gateway: Gateway, **headers: str) -> str:
    """The provider's address that "Continue" leads to."""
    path = gateway.connect_path()
    await gateway.http.get(path)
    query = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
    response = await gateway.http.post(urlsplit(path).path, data=query, headers=headers)
    assert response.status_code == 303, response.text
    return response.headers["location"]


async def returned(gateway: Gateway) -> httpx.URL:
    """Where the provider sends the owner back to."""
    answer = await gateway.http.get(await begun(gateway))
    return httpx.URL(answer.headers["location"])


async def test_a_callback_without_the_cookie_of_the_browser_that_began_is_refused(gateway: Gateway) -> None:
    callback = await returned(gateway)
    async with httpx.AsyncClient(trust_env=False) as stranger:
        assert (await stranger.get(callback)).status_code == 403
    assert problem(await gateway.ask()) == (409, "reauth_required")


async def test_a_callback_with_another_browsers_cookie_is_refused(gateway: Gateway) -> None:
    callback = await returned(gateway)
    async with httpx.AsyncClient(trust_env=False) as other:
        await other.get(str(gateway.http.base_url.join(gateway.connect_path(owner="grace"))))
        assert len(other.cookies) == 1
        assert (await other.get(callback)).status_code == 403
    assert gateway.provider.token_calls == 0
    assert (await gateway.http.get(callback)).status_code == 400, "the state was used up"


async def test_continue_leads_on_only_from_the_page_that_was_shown(gateway: Gateway) -> None:
    parts = urlsplit(gateway.connect_path())
    form = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert (await gateway.http.post(parts.path, data=form)).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
async def test_another_sites_form_leads_nowhere(gateway: Gateway, site: str) -> None:
    """Not even a neighbouring subdomain's, whose requests bring the cookie along."""
    path = gateway.connect_path()
    await gateway.http.get(path)
    form = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
    refused = await gateway.http.post(urlsplit(path).path, data=form, headers={"Sec-Fetch-Site": site})
    assert refused.status_code == 403
    assert await begun(gateway, **{"Sec-Fetch-Site": "same-origin"})


async def test_nothing_that_a_browser_sends_leads_the_owner_elsewhere(gateway: Gateway) -> None:
    """No open redirector (RFC 9700 §4.11.1): whatever is asked for, it leads to the declared provider."""
    path = gateway.connect_path()
    await gateway.http.get(path)
    form = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
    evil = dict.fromkeys(("redirect_uri", "next", "url", "return_to", "state"), "https://evil.example")
    response = await gateway.http.post(urlsplit(path).path, params=evil, data=form | evil)
    assert response.headers["location"].startswith(gateway.provider.authorization_url)
    assert "evil.example" not in response.headers["location"]
    callback = (await returned(gateway)).copy_merge_params({**evil, "state": "another"})
    refused = await gateway.http.get(callback)
    assert "location" not in refused.headers
    assert "evil.example" not in refused.text


@pytest.mark.parametrize("path", ["", "&ticket=x"])
async def test_every_page_is_kept_nowhere_framed_nowhere_and_tells_no_other_site_its_address(
    gateway: Gateway, path: str
) -> None:
    for page in (
        await gateway.http.get(gateway.connect_path() + path),
        await gateway.http.get("/v1/oauth/callback?state=x&code=y"),
        await gateway.http.get("/v1/connect/nothing?owner=ada"),
        await gateway.http.request("TRACE", "/v1/oauth/callback"),
    ):
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["referrer-policy"] == "no-referrer"
        assert page.headers["x-frame-options"] == "DENY"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert "script-src" not in page.headers["content-security-policy"]


async def test_the_page_says_who_connects_what_and_where_and_runs_nothing(gateway: Gateway) -> None:
    page = await gateway.http.get(gateway.connect_path(owner='<script>alert("ada")</script>'))
    for told in ("time-tracker", "tasks:write", urlsplit(gateway.provider.issuer).netloc, "&lt;script&gt;"):
        assert told in page.text
    assert "<script" not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy


async def test_a_browser_keeps_its_cookie_so_that_two_tabs_both_work(gateway: Gateway) -> None:
    one, other = await begun(gateway), await begun(gateway)
    for location in (one, other):
        back = await gateway.http.get(location)
        assert (await gateway.http.get(back.headers["location"])).status_code == 200


async def test_an_admin_opens_the_page_without_a_ticket(gateway: Gateway) -> None:
    page = await gateway.http.get(
        "/v1/connect/time-tracker?owner=ada", headers=bearer(gateway.vault.admin_token)
    )
    assert page.status_code == 200


async def test_a_state_works_once(gateway: Gateway) -> None:
    callback = await returned(gateway)
    assert (await gateway.http.get(callback)).status_code == 200
    assert (await gateway.http.get(callback)).status_code == 400
    assert gateway.provider.token_calls == 1


async def test_a_code_goes_to_the_client_whose_consent_was_begun(gateway: Gateway) -> None:
    """Whatever is declared by the time that the owner comes back: that one may be a thief's."""
    callback, store = await returned(gateway), gateway.vault.world.store
    catalogue = await store.catalogue.load()
    provider = catalogue.providers[catalogue.services[ServiceName("time-tracker")].provider]
    with Emulator() as thief:
        altered = replace(provider, token_url=thief.token_url, client_auth=ClientAuth.NONE)
        his = seal_provider_secrets(gateway.vault.world.keys, altered, ProviderSecrets())
        await store.catalogue.apply(Declared(providers=[(altered, his)]), gateway.vault.world.clock())
        refused = await gateway.http.get(callback)
        assert not thief.requests
    assert refused.status_code == 400
    assert "other_client" in refused.text
    assert gateway.provider.token_calls == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "another"},
        {"iss": "https://evil.example"},
        {"code": ""},
        {"error": "access_denied"},
        {"code": ["one", "two"]},
    ],
)
async def test_a_callback_that_was_tampered_with_connects_nothing(
    gateway: Gateway, changes: dict[str, str | list[str]]
) -> None:
    callback = await returned(gateway)
    refused = await gateway.http.get(callback.copy_merge_params(changes))
    assert refused.status_code in (400, 403)
    assert gateway.provider.token_calls == 0


async def test_the_host_that_a_browser_names_does_not_lead_the_provider_elsewhere(gateway: Gateway) -> None:
    location = await begun(gateway, **{"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"})
    [redirect_uri] = parse_qs(urlsplit(location).query)["redirect_uri"]
    assert redirect_uri == f"{gateway.vault.world.settings.public_url}/v1/oauth/callback"


@pytest.mark.parametrize(
    "change", [("ticket=", "ticket=x"), ("owner=ada", "owner=grace"), ("time-tracker", "slack-post")]
)
async def test_a_link_is_for_one_service_and_owner(gateway: Gateway, change: tuple[str, str]) -> None:
    assert (await gateway.http.get(gateway.connect_path().replace(*change))).status_code in (401, 403)


async def test_a_link_without_a_ticket_is_explained_on_a_page(gateway: Gateway) -> None:
    page = await gateway.http.get("/v1/connect/time-tracker?owner=ada")
    assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (401, "text/html")


async def test_the_two_scripts_of_the_story_work_with_plain_curl(gateway: Gateway) -> None:
    token = gateway.provider.issue_refresh_token("ada", ("tasks:write",))
    put = await curl(
        *("-X", "PUT", "-H", f"Authorization: Bearer {gateway.vault.admin_token}"),
        *("-d", json.dumps({"refresh_token": token})),
        f"{gateway.vault.url}/v1/credentials/time-tracker?owner=ada",
    )
    assert put["state"] == "active"
    got = await curl(
        *("-H", f"Authorization: Bearer {gateway.tracker}"),
        f"{gateway.vault.url}/v1/agents/tracker/credentials/time-tracker?min_ttl=60",
    )
    assert (got["service"], got["generation"], bool(got["access_token"])) == ("time-tracker", 1, True)


async def curl(*arguments: str) -> dict[str, Any]:
    ended = await asyncio.to_thread(
        subprocess.run, ["curl", "--silent", "--noproxy", "*", *arguments], capture_output=True, check=True
    )
    return dict(json.loads(ended.stdout))


@pytest.mark.parametrize(
    ("kind", "subject", "grants", "status"),
    [
        ("session", "another", 0, 200),
        ("token", "another", 0, 200),
        ("grant", "time-tracker", 1, 409),
        ("owner", "ada", 1, 401),
        ("provider", "emulated", 1, 409),
        ("everything", "", 1, 401),
        ("agent", "tracker", 0, 401),
    ],
)
async def test_an_admin_takes_rights_back_from_the_next_request_on(
    connected: Gateway, kind: str, subject: str, grants: int, status: int
) -> None:
    gateway = connected
    wanted = {"kind": kind, "subject": subject} | ({"owner": "ada"} if kind == "grant" else {})
    revoked = await gateway.http.post(
        "/v1/revocations", json=wanted, headers=bearer(gateway.vault.admin_token)
    )
    assert (revoked.status_code, revoked.json()["grants"]) == (200, grants), revoked.text
    assert (await gateway.ask()).status_code == status


@pytest.mark.parametrize(
    ("kind", "subject", "record", "grants"),
    [
        ("session", "s-1", {"session": "s-1"}, 0),
        ("token", "t-1", {"request_id": "t-1"}, 0),
        ("agent", "tracker", {"agent": "tracker"}, 0),
        ("owner", "ada", {"owner": "ada", "reason": "owner ada"}, 1),
        ("provider", "emulated", {"reason": "provider emulated"}, 1),
        ("everything", "", {"reason": "everything"}, 1),
        ("grant", "time-tracker", {"service": "time-tracker", "owner": "ada"}, 1),
    ],
)
async def test_what_an_admin_takes_back_over_http_is_in_the_audit(
    connected: Gateway, kind: str, subject: str, record: dict[str, Any], grants: int
) -> None:
    admin = bearer(connected.vault.admin_token)
    wanted = {"kind": kind, "subject": subject} | ({"owner": "ada"} if kind == "grant" else {})
    await connected.http.post("/v1/revocations", json=wanted, headers=admin)
    found = await audited(connected, f"{kind}.revoked", 1)
    assert {field: found[0][field] for field in record} == record
    of_grants = await audited(connected, "grant.revoked", grants) if grants else []
    assert [(one["service"], one["owner"], one["generation"]) for one in of_grants] == [
        ("time-tracker", "ada", 2)
    ] * grants
    said = {(one["door"], one["outcome"], one["admin"]) for one in [*found, *of_grants]}
    assert said == {("http", "ok", ADMIN_NAME)}


async def test_what_an_admin_hands_in_and_mints_over_http_is_in_the_audit(gateway: Gateway) -> None:
    await gateway.put({"refresh_token": gateway.provider.issue_refresh_token("ada", ("tasks:write",))})
    await gateway.http.post(
        "/v1/agents/tracker/tokens", json={"owner": "ada"}, headers=bearer(gateway.vault.admin_token)
    )
    [presented] = await audited(gateway, "grant.presented", 1)
    [issued] = await audited(gateway, "vault_token.issued", 1)
    assert (presented["admin"], presented["service"], presented["owner"]) == (
        ADMIN_NAME,
        "time-tracker",
        "ada",
    )
    assert (issued["admin"], issued["agent"], issued["owner"]) == (ADMIN_NAME, "tracker", "ada")


async def audited(gateway: Gateway, action: str, count: int) -> list[dict[str, Any]]:
    """The records of an action, once there are so many: the shipping takes its time."""
    admin, found = bearer(gateway.vault.admin_token), list[dict[str, Any]]()
    async with asyncio.timeout(60):
        while len(found) < count:
            answer = await gateway.http.get("/v1/audit", params={"action": action}, headers=admin)
            found = answer.json()["records"]
    return found


async def test_nobody_else_takes_rights_back_and_nothing_unknown_is(gateway: Gateway) -> None:
    mine = await gateway.http.post(
        "/v1/revocations", json={"kind": "everything"}, headers=bearer(gateway.tracker)
    )
    assert problem(mine)[0] == 401
    for wanted, status in (
        ({"kind": "agent", "subject": "nobody"}, 404),
        ({"kind": "provider", "subject": "nobody"}, 404),
        ({"kind": "grant", "subject": "time-tracker", "owner": "nobody"}, 404),
        ({"kind": "everything", "subject": "ada"}, 400),
        ({"kind": "owner"}, 400),
    ):
        refused = await gateway.http.post(
            "/v1/revocations", json=wanted, headers=bearer(gateway.vault.admin_token)
        )
        assert problem(refused)[0] == status
