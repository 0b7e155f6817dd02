"""Keys of every use are rotated and retired under load: no request fails, and nothing old is left."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
import redis.asyncio
from acceptance.declared import SERVICES, declared
from acceptance.installation import Installation
from acceptance.working_agents import WorkingAgents, working

from dispenser import Unauthenticated, Vault
from dispenser.testing.behaviour import Behaviour
from dispenser.testing.emulator import Emulator
from dispenser.vault_token import Identity, mint
from shared import keyring
from shared.adapters.sql.tables import metadata
from shared.model import AgentName, Owner, SessionId

OWNERS = ("ada", "grace")
VAULT_TOKEN_SECONDS = 3600
LEAD = "10s"


class Scene:
    """A vault at work, each process with a file of its role's keys."""

    def __init__(self, vault: Installation, provider: Emulator) -> None:
        self.vault = vault
        self.provider = provider
        self.doors = (vault.broker, vault.environment["DISPENSER_PUBLIC_URL"])
        self.agents: WorkingAgents

    async def open(self) -> None:
        vault, provider = self.vault, self.provider
        self._admin_token = vault.done("init")
        vault.declare(
            declared(
                authorization_url=provider.authorization_url,
                token_url=provider.token_url,
                client_id=provider.client_id,
            ),
            PROVIDER_SECRET=provider.client_secret,
        )
        for worker in ("refresher", "scheduler", "janitor"):
            vault.start("work", worker)
        vault.start("serve", "--processes", "2")
        vault.start("gateway", "--port", str(vault.gateway_port))
        for owner in OWNERS:
            await self.connect(owner)

    async def connect(self, owner: str) -> None:
        """Bring grants of another owner in, through the gateway."""
        headers = {"Authorization": f"Bearer {self._admin_token}"}
        async with httpx.AsyncClient(base_url=self.doors[1], headers=headers, trust_env=False) as admin:
            for service in SERVICES:
                presented = {"refresh_token": self.provider.issue_refresh_token(owner)}
                answer = await admin.put(
                    f"/v1/credentials/{service}", params={"owner": owner}, json=presented, timeout=60
                )
                assert answer.is_success, answer.text

    async def connect_by_command(self, owner: str) -> None:
        """The same by the command line, with the gateway's keys: it can write a grant and read none."""
        for service in SERVICES:
            token = self.provider.issue_refresh_token(owner)
            arguments = ("grant", "import", service, "--owner", owner)
            keys = self.vault.role("gateway")["DISPENSER_KEYS"]
            await asyncio.to_thread(self.vault.done, *arguments, stdin=token, DISPENSER_KEYS=keys)

    async def done(self, *arguments: str) -> str:
        return await asyncio.to_thread(self.vault.done, *arguments)

    async def keys(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(await self.done("keys", "status", "--json"))
        return found

    def sessions(self) -> list[tuple[str, str, str]]:
        return [
            (door, self.vault_token(owner), service)
            for door in self.doors
            for owner in OWNERS
            for service in SERVICES
        ]

    def vault_token(self, owner: str) -> str:
        """As `dispenser agent token` makes it, without the second that a command takes."""
        keys = keyring.parse((self.vault.home / "vault" / "keys.json").read_text(), datetime.now(UTC))
        now = datetime.now(UTC)
        identity = Identity(
            agent=AgentName("tracker"),
            session=SessionId(f"session of {owner}"),
            owner=Owner(owner),
            token_id="token",
            issued_at=now,
            expires_at=now + timedelta(seconds=VAULT_TOKEN_SECONDS),
        )
        return mint(keys, identity, vault="vault")

    async def shown_keys(self) -> set[str]:
        """The key ids at `/.well-known/jwks.json`."""
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"{self.doors[1]}/.well-known/jwks.json")
        return {key["kid"] for key in answer.json()["keys"]}

    async def refreshed(self) -> None:
        """Every grant has been rotated once more."""
        wanted = self.provider.refreshes + len(OWNERS) * len(SERVICES)
        while self.provider.refreshes < wanted:  # noqa: ASYNC110 - the emulator is in a thread of its own
            await asyncio.sleep(0.05)

    async def traces(self, key_ids: set[str]) -> list[str]:
        """Where in the database or the cache something is sealed with one of these keys."""
        ids = [bytes.fromhex(key_id) for key_id in key_ids]
        return [
            place
            for place, value in [*await self._database(), *await self._cache()]
            if any(key_id in value for key_id in ids)
        ]

    async def _database(self) -> list[tuple[str, bytes]]:
        found: list[tuple[str, bytes]] = []
        async with await psycopg.AsyncConnection.connect(self.vault.database) as connection:
            for table in metadata.sorted_tables:
                rows = await (await connection.execute(f"SELECT * FROM {table.name}".encode())).fetchall()
                found += [(table.name, value) for row in rows for value in row if isinstance(value, bytes)]
        return found

    async def _cache(self) -> list[tuple[str, bytes]]:
        async with redis.asyncio.from_url(self.vault.cache) as client:
            keys = [key async for key in client.scan_iter("tok:*")]
            return [(key.decode(), value) for key in keys if (value := await client.get(key)) is not None]


@pytest.fixture
async def scene(installation: Installation) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(Emulator(Behaviour(access_token_seconds=8.0)))
        scene = Scene(installation, provider)
        await scene.open()
        yield scene


async def test_every_key_is_rotated_and_retired_while_agents_ask_and_grants_refresh(scene: Scene) -> None:
    async with working(*scene.sessions()) as agents:
        stolen = scene.vault_token("ada")
        await agents.go_on()
        old = {key["id"]: key["use"] for key in await scene.keys()}
        assert set(old.values()) == set(keyring.USES)
        assert await scene.traces(set(old))

        await scene.done("keys", "rotate", "--lead", LEAD)
        scene.vault.export_keys()
        await scene.connect("lin")  # in the middle of it
        await scene.done("keys", "rewrap")
        assert {key_id for key_id, use in old.items() if use == "signing"} < await scene.shown_keys()
        assert await scene.traces(set(old)) == []

        await scene.connect_by_command("mary")
        await agents.renew()
        await scene.done("keys", "retire", *old, "--now")
        scene.vault.export_keys()
        await agents.go_on(200)
        await scene.refreshed()
        await agents.go_on(200)

        assert set(agents.outcomes) == {"ok"}, agents.outcomes
    assert (scene.provider.reuses, scene.provider.overlaps) == (0, 0)
    grants = scene.vault.shown("grant", "list")
    assert [grant["state"] for grant in grants] == ["active"] * len(SERVICES) * (len(OWNERS) + 2)
    assert not await scene.shown_keys() & set(old)
    assert await scene.traces(set(old)) == []
    assert {key["id"] for key in await scene.keys() if key["state"] == "retired"} == set(old)
    for door in scene.doors:
        async with Vault(door, stolen) as agent:
            with pytest.raises(Unauthenticated):
                await agent.token("time-tracker")
