"""`dispenser revoke`: what an admin takes back at the command line holds at the door, and is in the audit."""

import base64
import getpass
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from acceptance.laptop import Laptop
from services.server import wait_until

from dispenser.testing.emulator import Emulator

#: What an agent is told.
SERVED, VOID, GONE = (200, ""), (401, "unauthenticated"), (409, "reauth_required")


class Scene:
    """A vault on a laptop, with an agent at its door."""

    def __init__(self, laptop: Laptop) -> None:
        self.laptop = laptop
        self._admin = {"Authorization": f"Bearer {laptop('init')}"}
        laptop("apply", str(laptop.file))
        self._http = httpx.Client(base_url=laptop.environment["VAULT_URL"], trust_env=False, timeout=60)

    def answers(self) -> bool:
        with suppress(httpx.TransportError):
            return self._http.get("/healthz").is_success
        return False

    def connect(self, owner: str) -> None:
        """Two services, of two providers."""
        refresh_token = self.laptop.provider.issue_refresh_token(owner, ("tasks:write",))
        self._put("time-tracker", owner, refresh_token=refresh_token)
        self._put("code-host", owner, access_token="personal-access-token")

    def _put(self, service: str, owner: str, **brought: str) -> None:
        url = f"/v1/credentials/{service}"
        answer = self._http.put(url, params={"owner": owner}, json=brought, headers=self._admin)
        assert answer.status_code == 200, answer.text

    def minted(self, owner: str, session: str) -> str:
        wanted = {"owner": owner, "session": session}
        answer = self._http.post("/v1/agents/tracker/tokens", json=wanted, headers=self._admin)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])

    def renewed(self, token: str) -> str:
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "subject_token": token,
        }
        answer = self._http.post("/v1/token", data=form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def told(self, token: str, service: str) -> tuple[int, str]:
        answer = self._asked(token, service)
        return answer.status_code, answer.json().get("code", "")

    def access_token(self, token: str) -> str:
        return str(self._asked(token, "time-tracker").json()["access_token"])

    def _asked(self, token: str, service: str) -> httpx.Response:
        url = f"/v1/agents/tracker/credentials/{service}"
        return self._http.get(url, headers={"Authorization": f"Bearer {token}"})

    def audited(self, **wanted: str) -> list[dict[str, Any]]:
        answer = self._http.get("/v1/audit", params=wanted, headers=self._admin)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["records"]
        return found

    def live(self, access_token: str) -> bool:
        """What the provider says of it (RFC 7662)."""
        provider = self.laptop.provider
        answer = httpx.post(
            provider.introspection_url,
            data={"token": access_token},
            auth=(provider.client_id, provider.client_secret),
            trust_env=False,
        )
        return bool(answer.json()["active"])

    def close(self) -> None:
        self._http.close()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Emulator() as provider:
        laptop = Laptop(tmp_path_factory.mktemp("laptop"), provider)
        scene = Scene(laptop)
        with laptop.gateway():
            assert wait_until(scene.answers)
            yield scene
        scene.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Agents:
    """Vault tokens of one owner's and of another's."""

    owner: str
    mine: str
    #: The same session's.
    renewed: str
    #: Another session's.
    other: str
    #: Another owner's.
    others: str

    def told(self, scene: Scene, service: str) -> list[tuple[int, str]]:
        tokens = (self.mine, self.renewed, self.other, self.others)
        return [scene.told(token, service) for token in tokens]


@pytest.fixture
def agents(scene: Scene, request: pytest.FixtureRequest) -> Agents:
    """All of them are served."""
    owner = request.node.callspec.id
    for whose in (owner, f"not-{owner}"):
        scene.connect(whose)
    mine = scene.minted(owner, f"{owner}-1")
    agents = Agents(
        owner=owner,
        mine=mine,
        renewed=scene.renewed(mine),
        other=scene.minted(owner, f"{owner}-2"),
        others=scene.minted(f"not-{owner}", f"not-{owner}-1"),
    )
    assert agents.told(scene, "time-tracker") == agents.told(scene, "code-host") == [SERVED] * 4
    return agents


def vault_token_claims(token: str) -> dict[str, str]:
    payload = token.split(".")[1]
    claims: dict[str, str] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is revoked, and what comes of it."""

    arguments: tuple[str, ...]
    #: What each of the agents is told of a service at the revoked provider, and of another.
    refreshed: list[tuple[int, str]]
    static: list[tuple[int, str]]
    #: Whether the provider still takes the owner's access token, and another owner's.
    live: tuple[bool, bool]
    #: In the audit, beside the grants.
    record: dict[str, str]


CASES = {
    "token": Case(
        arguments=("token", "{jti}"),
        refreshed=[VOID, SERVED, SERVED, SERVED],
        static=[VOID, SERVED, SERVED, SERVED],
        live=(True, True),
        record={"action": "token.revoked", "request_id": "{jti}"},
    ),
    "session": Case(
        arguments=("session", "{sid}"),
        refreshed=[VOID, VOID, SERVED, SERVED],
        static=[VOID, VOID, SERVED, SERVED],
        live=(True, True),
        record={"action": "session.revoked", "session": "{sid}"},
    ),
    "owner": Case(
        arguments=("owner", "{own}", "--yes"),
        refreshed=[VOID, VOID, VOID, SERVED],
        static=[VOID, VOID, VOID, SERVED],
        live=(False, True),
        record={"action": "owner.revoked", "owner": "{own}"},
    ),
    "provider": Case(
        arguments=("provider", "refreshing", "--yes"),
        refreshed=[GONE] * 4,
        static=[SERVED] * 4,
        live=(False, False),
        record={"action": "provider.revoked", "reason": "provider refreshing"},
    ),
    "everything": Case(
        arguments=("everything", "--yes"),
        refreshed=[VOID] * 4,
        static=[VOID] * 4,
        live=(False, False),
        record={"action": "everything.revoked", "reason": "everything"},
    ),
}
#: Of the owner's grants, those that are revoked with it.
GRANTS = {"owner": {"time-tracker", "code-host"}, "provider": {"time-tracker"}}
GRANTS["everything"] = GRANTS["owner"]


@pytest.mark.parametrize("name", CASES)
def test_what_is_taken_back_is_refused_ended_at_its_provider_and_in_the_audit(
    scene: Scene, agents: Agents, name: str
) -> None:
    case, claims = CASES[name], vault_token_claims(agents.mine)
    tokens = [scene.access_token(token) for token in (agents.mine, agents.others)]
    scene.laptop("revoke", *(argument.format(**claims) for argument in case.arguments))

    assert wait_until(lambda: agents.told(scene, "time-tracker") == case.refreshed)
    assert agents.told(scene, "code-host") == case.static
    assert wait_until(lambda: tuple(map(scene.live, tokens)) == case.live)

    [record] = scene.audited(action=case.record["action"])
    expected = {field: text.format(**claims) for field, text in case.record.items()}
    assert record.items() >= (expected | {"door": "cli", "admin": getpass.getuser()}).items()
    of_grants = scene.audited(action="grant.revoked", owner=agents.owner)
    assert {grant["service"] for grant in of_grants} == GRANTS.get(name, set())
    assert all((grant["door"], grant["generation"]) == ("cli", 2) for grant in of_grants)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("everything",), 2, "add --yes"),
        (("owner", "ada"), 2, "add --yes"),
        (("provider", "nobody", "--yes"), 3, "dispenser provider list"),
    ],
)
def test_what_nobody_confirms_or_knows_is_not_taken_back(
    scene: Scene, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended = scene.laptop.ended("revoke", *arguments)
    assert (ended.returncode, said in " ".join(ended.stderr.split())) == (code, True), ended.stderr
