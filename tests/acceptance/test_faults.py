"""Agents at work while everything around them dies and comes back.

Each request ends in a token or a typed error, work goes on by itself, no grant is lost, and the strictest of
providers has nothing to complain of.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
import redis.asyncio
from acceptance.declared import SERVICES, declared
from acceptance.installation import Installation, Process
from acceptance.working_agents import WorkingAgents, working
from services.server import Server

from dispenser.testing.behaviour import Behaviour
from dispenser.testing.emulator import Emulator

OWNERS = ("ada", "grace")
PROCESSES = ("dispenser", "gateway", "refresher", "scheduler", "janitor")
ACCESS_TOKEN_SECONDS = 8.0


class Scene:
    """A vault with its provider, its processes, and agents that never rest."""

    def __init__(self, vault: Installation, provider: Emulator) -> None:
        self.vault = vault
        self.provider = provider
        self.agents: WorkingAgents
        self.dispenser: Process
        self.gateway: Process
        self.refresher: Process
        self.scheduler: Process
        self.janitor: Process

    async def survives(self, break_it: Callable[[], None], mend: Callable[[], None]) -> None:
        """Break something, mend it, and see that agents get tokens and grants rotate as before."""
        await asyncio.to_thread(break_it)
        await asyncio.to_thread(mend)
        await self.agents.go_on()
        refreshes = self.provider.refreshes
        await self._until(lambda: self.provider.refreshes > refreshes)
        await self.check()

    async def check(self) -> None:
        """No grant is lost; one whose request was under way is in doubt for as long as it may be."""
        while "unknown" in (states := await asyncio.to_thread(self._states)):  # noqa: ASYNC110 - a process is asked
            await asyncio.sleep(1.0)
        assert set(states) <= {"active", "refresh_failing"}, states
        assert (self.provider.reuses, self.provider.overlaps) == (0, 0)

    def _states(self) -> list[str]:
        grants = self.vault.shown("grant", "list")
        assert len(grants) == len(OWNERS) * len(SERVICES)
        return [grant["state"] for grant in grants]

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():  # noqa: ASYNC110 - the emulator is in a thread of its own
            await asyncio.sleep(0.05)


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(breakable: Installation) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(
            Emulator(Behaviour(access_token_seconds=ACCESS_TOKEN_SECONDS))
        )
        scene = Scene(breakable, provider)
        breakable.declare(
            declared(
                authorization_url=provider.authorization_url,
                token_url=provider.token_url,
                client_id=provider.client_id,
            ),
            PROVIDER_SECRET=provider.client_secret,
        )
        scene.refresher = breakable.start("work", "refresher")
        scene.scheduler = breakable.start("work", "scheduler")
        scene.dispenser = breakable.start("serve")
        scene.gateway = breakable.start("gateway", "--port", str(breakable.gateway_port))
        scene.janitor = breakable.start("work", "janitor")
        for owner in OWNERS:
            for service in SERVICES:
                token = provider.issue_refresh_token(owner)
                breakable.done("grant", "import", service, "--owner", owner, stdin=token)
        doors = (breakable.broker, breakable.environment["DISPENSER_PUBLIC_URL"])
        sessions = [
            (door, breakable.agent_token("tracker", owner), service)
            for door in doors
            for owner in OWNERS
            for service in SERVICES
        ]
        scene.agents = await stack.enter_async_context(working(*sessions))
        await scene.agents.go_on()
        yield scene
        print(dict(scene.agents.outcomes))


async def test_the_broker_is_killed(scene: Scene, broker: Server) -> None:
    await scene.survives(broker.kill, broker.start)


async def test_redis_is_killed(scene: Scene, redis_server: Server) -> None:
    await scene.survives(redis_server.kill, redis_server.start)


async def test_postgresql_is_killed(scene: Scene, postgresql_server: Server) -> None:
    await scene.survives(postgresql_server.kill, postgresql_server.start)


async def test_redis_is_flushed(scene: Scene, redis_server: Server) -> None:
    refused_before = scene.agents.outcomes.total() - scene.agents.outcomes["ok"]
    async with redis.asyncio.from_url(redis_server.url) as client:
        await client.flushall()
    await scene.agents.go_on(200)
    assert scene.agents.outcomes.total() - scene.agents.outcomes["ok"] == refused_before
    await scene.check()


@pytest.mark.parametrize("name", PROCESSES)
async def test_a_process_of_ours_is_killed(scene: Scene, name: str) -> None:
    process: Process = getattr(scene, name)
    await scene.survives(process.kill, process.start)


@pytest.mark.parametrize("name", PROCESSES)
async def test_a_process_of_ours_is_asked_to_end(scene: Scene, name: str) -> None:
    process: Process = getattr(scene, name)

    def stop() -> None:
        assert process.stop() == 0

    await scene.survives(stop, process.start)
