"""Cached tokens are served while the provider hangs, the database is down or every refresher is dead."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import redis.asyncio
from acceptance.declared import declared
from acceptance.installation import Installation
from services.server import Server

from dispenser import Unauthenticated, Vault, VaultError
from dispenser.testing.behaviour import Behaviour
from dispenser.testing.emulator import Emulator
from dispenser.testing.faults import Hang

#: Each has to be answered within so many seconds: none can have waited for anything that is down.
DEADLINE_SECONDS = 2.0
REQUESTS = 300
#: Longer than anything in the vault that is polled or kept for a while.
OUTAGE_SECONDS = 8.0
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

    async def served(self, vault_token: str) -> None:
        """Every request is answered with a token, at both doors, in time."""
        for door in self.doors:
            async with Vault(door, vault_token) as asking:
                for _ in range(REQUESTS):
                    token = await asking.token("time-tracker", deadline=DEADLINE_SECONDS)
                    assert token.value
                    forget(asking)

    async def refused(self, vault_token: str) -> None:
        """Within a second no door hands out anything more."""
        await asyncio.sleep(1.0)  # the promise: at most one second
        for door in self.doors:
            async with Vault(door, vault_token) as asking:
                with pytest.raises(Unauthenticated):
                    await asking.token("time-tracker")


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
        token = provider.issue_refresh_token("ada", ("tasks:write",))
        breakable.done("grant", "import", "time-tracker", "--owner", "ada", stdin=token)
        yield scene


async def test_while_the_provider_hangs(scene: Scene) -> None:
    vault_token = scene.vault.agent_token("tracker", "ada")
    hang = Hang()
    scene.provider.faults.next(hang)
    async with Vault(scene.doors[0], vault_token) as asking:
        token = await asking.token("time-tracker")
        reporting = asyncio.create_task(asking.rejected(token, deadline=30))
        await hang.reached()
        await scene.served(vault_token)
        hang.release()
        # The provider hangs up without an answer, or has answered after all.
        [outcome] = await asyncio.gather(reporting, return_exceptions=True)
        assert outcome is None or isinstance(outcome, VaultError)


async def test_while_the_database_is_down(scene: Scene, postgresql_server: Server) -> None:
    vault_token = scene.vault.agent_token("tracker", "ada")
    await scene.served(vault_token)
    await asyncio.to_thread(postgresql_server.kill)
    try:
        await asyncio.sleep(OUTAGE_SECONDS)
        await scene.served(vault_token)
    finally:
        await asyncio.to_thread(postgresql_server.start)


async def test_while_every_refresher_is_dead(scene: Scene) -> None:
    vault_token = scene.vault.agent_token("tracker", "ada")
    await asyncio.to_thread(scene.refresher.kill)
    try:
        await scene.served(vault_token)
    finally:
        await asyncio.to_thread(scene.refresher.start)


async def test_a_revoked_session_is_refused_within_a_second_whatever_the_cache_forgets(
    scene: Scene, redis_server: Server
) -> None:
    vault = scene.vault
    vault_token = vault.done("agent", "token", "tracker", "--owner", "ada", "--session", "s-1")
    await scene.served(vault_token)
    vault.done("agent", "revoke", "--session", "s-1")
    await scene.refused(vault_token)
    async with redis.asyncio.from_url(redis_server.url) as client:
        await client.flushall()
    await scene.refused(vault_token)


async def test_a_revoked_agent_is_refused_within_a_second_and_works_again_once_restored(scene: Scene) -> None:
    vault_token = scene.vault.agent_token("tracker", "ada")
    scene.vault.done("agent", "revoke", "tracker")
    await scene.refused(vault_token)
    scene.vault.done("agent", "restore", "tracker")
    await scene.served(scene.vault.agent_token("tracker", "ada"))


async def test_every_vault_token_is_void_within_a_second(scene: Scene) -> None:
    vault_token = scene.vault.agent_token("tracker", "ada")
    scene.vault.done("agent", "revoke", "--all")
    await scene.refused(vault_token)
    await scene.served(scene.vault.agent_token("tracker", "ada"))
