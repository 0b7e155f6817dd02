"""What holds whatever is down: cached tokens are served at the usual speed, and what is revoked is refused.

No request may wait for what is down: each has a deadline shorter than every time-out of the vault.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import psycopg
import pytest
import pytest_asyncio
import redis.asyncio
from acceptance.declared import declared
from acceptance.installation import Installation
from services.server import Server

from dispenser import ReauthorizationRequired, Unauthenticated, Vault, VaultError
from dispenser.testing.behaviour import Behaviour
from dispenser.testing.emulator import Emulator
from dispenser.testing.faults import Hang
from shared.adapters.sql.tables import metadata

SERVICE = "time-tracker"
DEADLINE_SECONDS = 4.0
#: Of each agent, while something is down. There are so many agents at each door.
REQUESTS = 250
AGENTS = 4
#: Longer than anything in the vault that is polled or kept for a while.
OUTAGE_SECONDS = 15.0
pytestmark = pytest.mark.asyncio(loop_scope="module")


class Scene:
    """A vault at work, with one grant whose token lives an hour."""

    def __init__(self, vault: Installation, provider: Emulator) -> None:
        self.vault = vault
        self.provider = provider
        self.refresher = vault.start("work", "refresher")
        vault.start("work", "scheduler")
        vault.start("work", "janitor")
        vault.start("serve")
        vault.start("gateway", "--port", str(vault.gateway_port))
        self.doors = (vault.broker, vault.environment["DISPENSER_PUBLIC_URL"])

    async def serves(self, vault_token: str, *, requests: int = 1, seconds: float = 0.0) -> None:
        """Agents at both doors ask so often, and for so long, and always get a token in time."""
        ends = asyncio.get_running_loop().time() + seconds
        async with asyncio.TaskGroup() as group:
            for door in self.doors:
                for _ in range(AGENTS):
                    group.create_task(_asks(door, vault_token, requests, ends))

    async def refuses(self, vault_token: str, refusal: type[VaultError] = Unauthenticated) -> None:
        """Within a second no door hands out anything more."""
        await asyncio.sleep(1.0)  # the promise: at most one second
        for door in self.doors:
            async with Vault(door, vault_token) as asking:
                with pytest.raises(refusal):
                    await asking.token(SERVICE)

    @asynccontextmanager
    async def provider_hangs(self, vault_token: str) -> AsyncIterator[None]:
        """A refresher waits for an answer that does not come, and an agent for the refresher."""
        hang = Hang()
        self.provider.faults.next(hang)
        async with Vault(self.doors[0], vault_token) as asking:
            token = await asking.token(SERVICE)
            reporting = asyncio.create_task(asking.rejected(token, deadline=60))
            await hang.reached()
            yield
            hang.release()
            # The provider hangs up without an answer, or has answered after all.
            [outcome] = await asyncio.gather(reporting, return_exceptions=True)
            assert outcome is None or isinstance(outcome, VaultError)

    @asynccontextmanager
    async def refreshers_are_dead(self) -> AsyncIterator[None]:
        await asyncio.to_thread(self.refresher.kill)
        try:
            yield
        finally:
            await asyncio.to_thread(self.refresher.start)

    def connect(self, owner: str) -> None:
        token = self.provider.issue_refresh_token(owner, ("tasks:write",))
        self.vault.done("grant", "import", SERVICE, "--owner", owner, stdin=token)


async def _asks(door: str, vault_token: str, requests: int, ends: float) -> None:
    asked = 0
    async with Vault(door, vault_token) as asking:
        await asking.token(SERVICE)  # connects, which may take longer
        while asked < requests or asyncio.get_running_loop().time() < ends:
            forget(asking)
            assert (await asking.token(SERVICE, deadline=DEADLINE_SECONDS)).value
            asked += 1


@asynccontextmanager
async def database_is_down(server: Server) -> AsyncIterator[None]:
    await asyncio.to_thread(server.kill)
    try:
        yield
    finally:
        await asyncio.to_thread(server.start)


@contextmanager
def database_hangs(database_url: str) -> Iterator[None]:
    """Every statement on every table waits, as it does for a server that has stopped."""
    with psycopg.connect(database_url) as connection:
        connection.execute(f"LOCK TABLE {', '.join(metadata.tables)} IN ACCESS EXCLUSIVE MODE")
        yield


def forget(asking: Vault) -> None:
    """So that every call is a question to the vault."""
    assert asking._holder is not None
    asking._holder._memory._kept.clear()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(breakable: Installation) -> AsyncIterator[Scene]:
    async with Emulator(Behaviour(access_token_seconds=3600)) as provider:
        breakable.declare(
            declared(
                authorization_url=provider.authorization_url,
                token_url=provider.token_url,
                client_id=provider.client_id,
            ),
            PROVIDER_SECRET=provider.client_secret,
        )
        scene = Scene(breakable, provider)
        scene.connect("ada")
        yield scene


async def test_while_the_provider_hangs(scene: Scene) -> None:
    vault_token = scene.vault.agent_token("tracker", "ada")
    async with scene.provider_hangs(vault_token):
        await scene.serves(vault_token, requests=REQUESTS)


async def test_while_every_refresher_is_dead(scene: Scene) -> None:
    vault_token = scene.vault.agent_token("tracker", "ada")
    async with scene.refreshers_are_dead():
        await scene.serves(vault_token, requests=REQUESTS)


async def test_while_the_database_is_down(scene: Scene, postgresql_server: Server) -> None:
    vault_token = scene.vault.agent_token("tracker", "ada")
    await scene.serves(vault_token)
    async with database_is_down(postgresql_server):
        await scene.serves(vault_token, requests=REQUESTS, seconds=OUTAGE_SECONDS)


async def test_while_the_database_hangs(scene: Scene) -> None:
    vault_token = scene.vault.agent_token("tracker", "ada")
    await scene.serves(vault_token)
    with database_hangs(scene.vault.database):
        await scene.serves(vault_token, requests=REQUESTS, seconds=OUTAGE_SECONDS)


async def test_while_all_of_that_is_down_at_once(scene: Scene, postgresql_server: Server) -> None:
    vault_token = scene.vault.agent_token("tracker", "ada")
    async with (
        scene.provider_hangs(vault_token),
        scene.refreshers_are_dead(),
        database_is_down(postgresql_server),
    ):
        await scene.serves(vault_token, requests=REQUESTS)


async def test_a_revoked_session_is_refused_within_a_second_whatever_the_cache_forgets(
    scene: Scene, redis_server: Server
) -> None:
    vault = scene.vault
    vault_token = vault.done("agent", "token", "tracker", "--owner", "ada", "--session", "s-1")
    await scene.serves(vault_token)
    vault.done("agent", "revoke", "--session", "s-1")
    await scene.refuses(vault_token)
    async with redis.asyncio.from_url(redis_server.url) as client:
        await client.flushall()
    await scene.refuses(vault_token)


async def test_a_revoked_agent_is_refused_within_a_second_and_works_again_once_restored(scene: Scene) -> None:
    vault_token = scene.vault.agent_token("tracker", "ada")
    scene.vault.done("agent", "revoke", "tracker")
    await scene.refuses(vault_token)
    scene.vault.done("agent", "restore", "tracker")
    await scene.serves(scene.vault.agent_token("tracker", "ada"))


async def test_every_vault_token_is_void_within_a_second(scene: Scene) -> None:
    vault_token = scene.vault.agent_token("tracker", "ada")
    scene.vault.done("agent", "revoke", "--all")
    await scene.refuses(vault_token)
    await scene.serves(scene.vault.agent_token("tracker", "ada"))


async def test_a_revoked_grant_is_refused_within_a_second_whatever_the_cache_forgets(
    scene: Scene, redis_server: Server
) -> None:
    scene.connect("grace")
    vault_token = scene.vault.agent_token("tracker", "grace")
    await scene.serves(vault_token)
    scene.vault.done("grant", "revoke", SERVICE, "--owner", "grace")
    await scene.refuses(vault_token, ReauthorizationRequired)
    async with redis.asyncio.from_url(redis_server.url) as client:
        await client.flushall()
    await scene.refuses(vault_token, ReauthorizationRequired)
