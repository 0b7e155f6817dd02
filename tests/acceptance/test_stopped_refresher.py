"""Two refreshers, one stopped in the middle of a rotation for longer than every lease, and then continued.

A provider that forgives nothing is asked once; one with a grace window perhaps twice, which does no harm.
What the stopped one brings is kept where it is new, and overwrites nothing that is newer.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import aio_pika
import psycopg
import pytest
from acceptance import hurried
from acceptance.declared import declared
from acceptance.installation import Installation, Process

from dispenser.testing.behaviour import Behaviour
from dispenser.testing.emulator import Emulator
from dispenser.testing.faults import Hang
from shared.adapters.sql.store import SqlStore
from shared.messages import ExpiryEvent, Reason, encode
from shared.model import Grant, GrantState, Intent, Owner, ServiceName
from shared.topology import REFRESH_EXCHANGE, URGENT_KEY, URGENT_QUEUE
from workers.providers import FRESH_SECONDS

SERVICE, OWNER = "time-tracker", "ada"
HOUR = 3600.0
#: Seconds of a token that ends soon after the takeover of what broke off.
SHORT = 240.0
#: Seconds of a provider's grace: none, shorter than a takeover takes, and longer.
GRACES = {"none": 0.0, "short": 100.0, "long": 3600.0}
#: For so long one is stopped: longer than a lease, a takeover and a request's time-out.
ABSENCE_SECONDS = 200.0
PATIENCE_SECONDS = 400.0
#: By how much the vault's own waits are shorter: once in seconds, once as they are.
PACES = (20.0, pytest.param(1.0, marks=pytest.mark.slow))


class Scene:
    """A vault with two refreshers, a provider and one grant."""

    def __init__(self, vault: Installation, provider: Emulator, pace: float) -> None:
        self.vault = vault
        self.provider = provider
        self.pace = pace
        self._command = (sys.executable, "-P", hurried.__file__, str(pace))
        self.refreshers = [self._start("refresher") for _ in range(2)]
        self._start("scheduler")
        self._start("janitor")
        self.store = SqlStore.open(vault.database)

    def connect(self, token_seconds: float) -> None:
        """Have a grant whose first token lives so long; every later one lives for an hour."""
        habits = self.provider.behaviour
        self.provider.behaviour = replace(habits, access_token_seconds=token_seconds)
        refresh_token = self.provider.issue_refresh_token(OWNER, ("tasks:write",))
        self.vault.done("grant", "import", SERVICE, "--owner", OWNER, stdin=refresh_token)
        self.provider.behaviour = replace(habits, access_token_seconds=HOUR)

    async def urge(self) -> None:
        """Ask for a rotation as dispensers do, so often that each refresher hears of it."""
        grant = await self.grant()
        event = ExpiryEvent(grant_id=grant.id, generation=grant.generation, reason=Reason.REJECTED)
        async with await aio_pika.connect(self.vault.broker) as connection:
            channel = await connection.channel()
            exchange = await channel.get_exchange(REFRESH_EXCHANGE)
            for _ in range(2 * len(self.refreshers)):
                await exchange.publish(aio_pika.Message(encode(event)), URGENT_KEY)

            async def consumed() -> bool:
                queue = await channel.declare_queue(URGENT_QUEUE, passive=True)
                return not queue.declaration_result.message_count

            await self.until(consumed)

    async def suspend_the_sender(self) -> tuple[Process, Process]:
        """Stop the refresher that has claimed the grant; which that is, and the other."""
        await self.until(self._claimed)
        [intent] = await self.store.rotations.open_intents()
        stopped = self.refreshers[_slot(intent)]
        stopped.suspend()
        [other] = [refresher for refresher in self.refreshers if refresher is not stopped]
        return stopped, other

    async def grant(self) -> Grant:
        grant = await self.store.grants.find(ServiceName(SERVICE), Owner(OWNER))
        assert grant is not None
        return grant

    async def comes_to(self, holds: Callable[[Grant], bool]) -> Grant:
        """The grant, once it is so."""

        async def is_so() -> bool:
            return holds(await self.grant())

        await self.until(is_so)
        return await self.grant()

    async def taken_over(self) -> None:
        """Returns once the broken-off rotation keeps nobody off any more."""

        async def is_free() -> bool:
            return not await self._claimed()

        await self.until(is_free)

    async def goes_on(self) -> None:
        """The credential that the vault has is the one that the provider accepts."""
        before = await self.grant()
        await self.urge()
        await self.comes_to(lambda grant: grant.generation > before.generation)
        assert (self.provider.reuses, self.provider.overlaps) == (0, 0)

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Returns once it holds."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await holds():  # noqa: ASYNC110 - a database tells nobody
                await asyncio.sleep(0.05)

    def audited(self) -> list[tuple[str, str]]:
        records: list[dict[str, Any]] = self.vault.shown("audit", "--service", SERVICE)
        return [(record["action"], record["reason"]) for record in reversed(records)]

    @contextmanager
    def secrets_out_of_reach(self) -> Iterator[None]:
        """Refreshers stop between claiming a grant and asking its provider."""
        with psycopg.connect(self.vault.database) as connection:
            connection.execute("LOCK TABLE providers IN ACCESS EXCLUSIVE MODE")
            # Those that were read before are good for as long.
            time.sleep(FRESH_SECONDS / self.pace)
            yield

    async def _claimed(self) -> bool:
        return bool(await self.store.rotations.open_intents())

    def _start(self, worker: str) -> Process:
        return self.vault.start("work", worker, command=self._command)


@pytest.fixture(params=PACES, ids="{}-times-faster".format)
def pace(request: pytest.FixtureRequest) -> float:
    return float(request.param)


@pytest.fixture
def grace() -> str:
    return "none"


@pytest.fixture
async def scene(installation: Installation, pace: float, grace: str) -> AsyncIterator[Scene]:
    grace_seconds = int(GRACES[grace] / pace)
    async with Emulator(Behaviour(grace_seconds=grace_seconds)) as provider:
        installation.declare(
            declared(
                authorization_url=provider.authorization_url,
                token_url=provider.token_url,
                client_id=provider.client_id,
                grace_seconds=grace_seconds,
            ),
            PROVIDER_SECRET=provider.client_secret,
        )
        scene = Scene(installation, provider, pace)
        yield scene
        await scene.store.close()


async def test_one_that_waits_for_the_answer_brings_it_home(scene: Scene) -> None:
    scene.connect(HOUR)
    hang = Hang(processed=True)
    scene.provider.faults.next(hang)
    asked = scene.provider.refreshes
    before = await scene.grant()
    await scene.urge()
    await hang.reached()
    stopped, other = await scene.suspend_the_sender()
    hang.release()

    in_doubt = await scene.comes_to(lambda grant: grant.state is GrantState.UNKNOWN)
    await scene.urge()
    assert await asyncio.to_thread(other.stop) == 0
    stopped.resume()
    after = await scene.comes_to(lambda grant: grant.state is GrantState.ACTIVE)

    assert in_doubt.generation == before.generation
    assert after.generation == before.generation + 1
    assert scene.provider.refreshes == asked + 1
    assert ("grant.refresh_failed", "unknown") in scene.audited()
    await scene.goes_on()


async def test_one_that_has_not_asked_yet_does_not_ask_any_more(scene: Scene) -> None:
    scene.connect(SHORT / scene.pace)
    asked = scene.provider.refreshes
    before = await scene.grant()
    with scene.secrets_out_of_reach():
        await scene.urge()
        stopped, _other = await scene.suspend_the_sender()

    after = await scene.comes_to(lambda grant: grant.generation > before.generation)
    stopped.resume()
    assert await asyncio.to_thread(stopped.stop) == 0

    assert await scene.grant() == after
    assert after.generation == before.generation + 1
    assert scene.provider.refreshes == asked + 1
    await scene.goes_on()


@pytest.mark.parametrize("grace", ["short", "long"])
async def test_a_grace_window_makes_a_second_request_harmless(scene: Scene, grace: str) -> None:
    """Whoever of the two is first: what is stored at last is what the provider accepts."""
    scene.connect(HOUR)
    hang = Hang(processed=True)
    scene.provider.faults.next(hang)
    asked = scene.provider.refreshes
    before = await scene.grant()
    await scene.urge()
    await hang.reached()
    stopped, _other = await scene.suspend_the_sender()
    hang.release()

    await scene.taken_over()
    await scene.urge()
    await asyncio.sleep(ABSENCE_SECONDS / scene.pace)
    stopped.resume()
    assert await asyncio.to_thread(stopped.stop) == 0

    await scene.comes_to(lambda grant: grant.generation > before.generation)
    assert scene.provider.refreshes <= asked + 2
    await scene.goes_on()


def _slot(intent: Intent) -> int:
    return int(intent.holder.rpartition("-")[2])
