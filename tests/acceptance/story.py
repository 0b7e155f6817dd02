"""All that happens in a vault's life, in a minute: whatever it does with a secret, it does here."""

import asyncio
import json
import os
import signal
import time
from base64 import b64decode
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from acceptance.browser import Browser
from acceptance.declared import declared
from acceptance.installation import Process
from acceptance.watched import PLANTED, Run, busy_memory_of, core_limit, keep_stores, unheard
from acceptance.working_agents import WorkingAgents, working
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from joserfc import jwt
from joserfc.jwk import ECKey
from redis import Redis
from services.server import wait_until
from vault_jwt import vault_jwt

from dispenser import Vault, VaultError
from dispenser.agent_key import from_pem
from dispenser.testing.emulator import Emulator
from dispenser.testing.faults import ErrorAnswer, Html, ResetAfterProcessing, Status

#: In every secret of the provider's, so that one search is for them all.
MARK = "c4naryXq7ZtLm2Kw"
VAULT, ADMIN, KEY, OTHERS = "vault token", "admin token", "key", "link or token of somebody else's"
#: What the audit has to tell of.
ACTIONS = (
    "token.dispensed",
    "token.denied",
    "token.rejected",
    "grant.connected",
    "grant.refreshed",
    "grant.handed_back",
    "vault_token.delegated",
    "vault_token.exchanged",
)
SERVICES = ("time-tracker", "slack-post", "calendar-read", "weather", "sheets", "code-host")
ENOUGH_TOKENS = 100
PATIENCE_SECONDS = 60.0
CRASHES = (signal.SIGABRT, signal.SIGQUIT, signal.SIGSEGV)
MORE = """
providers:
  own: {{grant: client_credentials, token_url: {token_url}, client_id: {client_id},
    client_secret: {{env: PROVIDER_SECRET}}, insecure_local: true}}
  account: {{grant: jwt_bearer, token_url: {token_url}, private_key: {{file: account.pem}},
    assertion_issuer: robot, insecure_local: true}}
  personal: {{grant: static}}
services:
  weather: {{provider: own, scopes: ["forecast:read"]}}
  sheets: {{provider: account, scopes: ["sheets:read"]}}
  code-host: {{provider: personal}}
issuers:
  cluster:
    issuer: https://oidc.cluster.example
    audience: vault
    keys: [{key}]
    rules: [{{claims: {{sub: "pod:tracker"}}, agent: tracker, owner: ada}}]
"""
EXCHANGE = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
}


class Story:
    """Told once; each secret is a canary of the run's from when it is known."""

    def __init__(self, run: Run, provider: Emulator, http: httpx.AsyncClient) -> None:
        self._run, self._provider, self._http = run, provider, http
        self._vault, self._canaries = run.secured.vault, run.canaries
        #: With TLS, where vault tokens are passwords; in the simple mode, without; and over HTTP.
        self._doors = (run.secured.url(), run.secured.broker.url, str(http.base_url).rstrip("/"))
        self._workload = ECKey.generate_key("P-256", {"kid": "workload"})
        self._admin: dict[str, str] = {}

    async def tell(self) -> None:
        self._canaries.add("what the provider issued", MARK)
        await self._set_up()
        refresher, serve, *others = await self._started()
        await self._grants_come_in()
        async with working(*await self._sessions()) as agents:
            await agents.go_on(ENOUGH_TOKENS)
            await asyncio.gather(*(self._work_at(door) for door in self._doors))
            await self._key_and_workload()
            await self._refusals()
            await self._renewal(agents)
            await self._revocations()
            await self._bad_days(refresher, agents)
            self._run.memory = await busy_memory_of(serve, f"at_{MARK}", self._run.folder, agents)
        await self._questions_of_an_admin()
        for process, number in zip((refresher, serve, *others), cycle(CRASHES), strict=False):
            await self._crash(process, number)
        keep_stores(self._run)

    async def _set_up(self) -> None:
        home = self._vault.home
        (home / "account.pem").write_text(self._account_key())
        first, second = home / "declared.yaml", home / "more.yaml"
        at = {"token_url": self._provider.token_url, "client_id": self._provider.client_id}
        first.write_text(
            declared(
                authorization_url=self._provider.authorization_url,
                revocation_url=self._provider.revocation_url,
                redirect_uri=f"{self._doors[-1]}/v1/oauth/callback",
                **at,
            )
        )
        second.write_text(MORE.format(key=json.dumps(self._workload.as_dict(private=False)), **at))
        admin_token = await asyncio.to_thread(self._vault.done, "init")
        self._admin = {"Authorization": f"Bearer {admin_token}"}
        self._canaries.add(ADMIN, admin_token)
        self._canaries.add(KEY, *keys_of(self._vault.home / "vault/keys.json"))
        secret = {"PROVIDER_SECRET": self._provider.client_secret}
        await asyncio.to_thread(self._vault.done, "apply", str(first), str(second), **secret)

    def _account_key(self) -> str:
        key = generate_private_key(65537, 2048)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self._provider.register_service_account("robot", public.decode())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        self._canaries.add(KEY, pem.splitlines()[8])
        return pem

    async def _started(self) -> list[Process]:
        """One of each, and then a refresher and a dispenser whose words to RabbitMQ and Redis can be read."""
        gateway = ("gateway", "--port", str(self._vault.gateway_port))
        at_work, serving = ("work", "refresher"), ("serve",)
        secured = [at_work, serving, gateway, ("work", "scheduler"), ("work", "janitor")]
        first = await asyncio.gather(*(self._start(*arguments) for arguments in secured))
        plain = self._run.secured.without_tls
        second = await asyncio.gather(
            self._start(*at_work, **plain("refresher")), self._start(*serving, **plain("serve"))
        )
        return [*first, *second]

    async def _start(self, *arguments: str, **environment: str) -> Process:
        return await asyncio.to_thread(self._vault.start, *arguments, **environment)

    async def _grants_come_in(self) -> None:
        """By each of their ways: a browser, a rotation job, imports, and accounts of the vault's own."""
        await self._consent()
        put = await self._http.put(
            "/v1/credentials/slack-post?owner=ada",
            json={"refresh_token": self._provider.issue_refresh_token("ada", ("chat:write",))},
            headers=self._admin,
        )
        assert put.status_code == 200, put.text
        imported = self._provider.issue_refresh_token("ada", ("calendar:read",))
        static = f"pat_{MARK}{os.urandom(20).hex()}"
        await asyncio.gather(
            self._cli("grant", "import", "calendar-read", "--owner", "ada", stdin=imported),
            self._cli("grant", "import", "code-host", "--owner", "ada", stdin=static),
            *(self._cli("connect", service, "--owner", "ada") for service in ("weather", "sheets")),
        )

    async def _consent(self) -> None:
        token = await self._minted("tracker")
        refusal = await self._http.get(
            "/v1/agents/tracker/credentials/time-tracker", headers={"Authorization": f"Bearer {token}"}
        )
        address = refusal.json()["connect_url"]
        self._canaries.add(OTHERS, *parse_qs(urlsplit(address).query)["ticket"])
        with unheard("httpx", "httpcore"):  # an owner's browser may know its addresses
            consented = await Browser(self._http, "ada").consent(address)
        assert consented.status_code == 200, consented.text

    async def _sessions(self) -> list[tuple[str, str, str]]:
        asking = (("tracker", "time-tracker"), ("summarizer", "slack-post"))
        return [
            (door, await self._minted(agent), service) for door in self._doors for agent, service in asking
        ]

    async def _minted(self, agent: str, **fields: Any) -> str:
        """A vault token, which is a canary from here on."""
        answer = await self._http.post(
            f"/v1/agents/{agent}/tokens", json={"owner": "ada", **fields}, headers=self._admin
        )
        token = str(answer.json()["token"])
        self._know(token)
        return token

    def _know(self, *vault_tokens: str) -> None:
        """By its signature, whatever else of it is seen: that is what nobody else could write."""
        self._canaries.add(VAULT, *(token.rpartition(".")[2] for token in vault_tokens))

    async def _work_at(self, door: str) -> None:
        """Single and in a batch, a token that its API refused, a sub-agent."""
        patient: Any = {"deadline": PATIENCE_SECONDS}
        async with Vault(door, await self._minted("tracker")) as agent:
            await agent.token("weather", purpose=PLANTED, **patient)
            await asyncio.gather(*(agent.token(service, **patient) for service in SERVICES))
            await agent.rejected(await agent.token("sheets", **patient), **patient)
            child = await agent.child(services=["weather"], ttl=300, **patient)
        self._know(child.value)
        async with Vault(door, child.value) as sub_agent:
            await sub_agent.token("weather", **patient)

    async def _key_and_workload(self) -> None:
        """A vault token for a key of the agent's, and one for a workload's own token."""
        file = self._vault.home / "agent.pem"
        public = json.loads(await self._cli("agent", "key", str(file)))
        self._canaries.add(KEY, from_pem(file.read_bytes()).private_bytes_raw())
        bound = await self._minted("tracker", key=public)
        for door in self._doors:
            async with Vault(door, bound, key=file) as agent:
                await agent.token("weather", deadline=PATIENCE_SECONDS)
        claims = {"iss": "https://oidc.cluster.example", "aud": "vault", "sub": "pod:tracker"}
        header = {"alg": "ES256", "kid": "workload"}
        workloads = jwt.encode(header, {**claims, "exp": int(time.time()) + 600}, self._workload)
        self._canaries.add(OTHERS, workloads.rpartition(".")[2])
        answer = await self._http.post("/v1/token", data={**EXCHANGE, "subject_token": workloads})
        assert answer.status_code == 200, answer.text
        self._know(answer.json()["access_token"])

    async def _refusals(self) -> None:
        """A stranger's token, an agent without rights, a refresh token of nobody's."""
        foreign, intern = vault_jwt(agent="tracker"), await self._minted("intern")
        self._know(foreign)
        for door in self._doors:
            for token in (intern, foreign):
                async with Vault(door, token) as asking:
                    with pytest.raises(VaultError):
                        await asking.token("time-tracker", deadline=5)
        nobodys = f"{MARK}-never-issued"
        await asyncio.gather(
            self._cli("grant", "import", "calendar-read", "--owner", "eve", stdin=nobodys, code=3),
            self._cli("grant", "show", PLANTED, "--owner", "eve", code=3),
        )

    async def _renewal(self, agents: WorkingAgents) -> None:
        await agents.renew()
        self._know(*agents.vault_tokens())

    async def _revocations(self) -> None:
        """A grant's, whose refresh token goes back to the provider (RFC 7009), and a session's."""
        await self._cli("grant", "revoke", "calendar-read", "--owner", "ada")
        assert await asyncio.to_thread(wait_until, self._handed_back)
        answer = await self._http.post(
            "/v1/revocations", json={"kind": "session", "subject": "nobody's"}, headers=self._admin
        )
        assert answer.status_code == 200, answer.text

    def _handed_back(self) -> bool:
        return any(request.endpoint == "revoke" for request in self._provider.requests)

    async def _bad_days(self, refresher: Process, agents: WorkingAgents) -> None:
        """The provider fails in several ways, Redis forgets, and a refresher dies twice."""
        self._provider.faults.next(
            Status(500), Html(), ErrorAnswer(error="temporarily_unavailable"), ResetAfterProcessing()
        )
        await agents.go_on(ENOUGH_TOKENS)
        with Redis.from_url(self._run.secured.cache.url) as cache:
            cache.flushall()
        for number in CRASHES[1:]:
            await self._crash(refresher, number)
            await asyncio.to_thread(refresher.start)
        await agents.go_on(ENOUGH_TOKENS)

    async def _crash(self, process: Process, number: signal.Signals) -> None:
        name = f"{' '.join(process.arguments)}, {number.name}"
        self._run.core_limits.append((name, core_limit(process)))
        self._run.crashes.append((name, await asyncio.to_thread(process.crash, number)))

    async def _questions_of_an_admin(self) -> None:
        await self._cli("agent", "revoke", "tracker")
        await asyncio.gather(
            self._cli("audit", "export", "--form", "otel"),
            self._cli("config"),
            self._cli("grant", "list", "--json"),
        )
        await self._http.get("/metrics")
        asked = ("service=weather", *(f"action={action}" for action in ACTIONS))
        told = [await self._http.get(f"/v1/audit?limit=1000&{each}", headers=self._admin) for each in asked]
        (self._run.folder / "audit.json").write_text("\n".join(answer.text for answer in told))

    async def _cli(self, *arguments: str, stdin: str = "", code: int = 0) -> str:
        """What a command prints; all that it says is kept."""
        ended = await asyncio.to_thread(self._vault.cli, *arguments, stdin=stdin)
        assert ended.returncode == code, ended.stdout + ended.stderr
        with (self._run.folder / "commands.out").open("a") as said:
            said.write(ended.stdout + ended.stderr)
        return ended.stdout


def keys_of(file: Path) -> Iterator[bytes]:
    """Whatever in a keyring's file is not public."""
    for key in json.loads(file.read_text())["keys"]:
        yield from (b64decode(text) for part, text in key.items() if part in ("private", "secret"))
