"""Ten thousand tokens that end together: refreshed in time, and no faster than their provider allows.

The vault's own code on virtual time, against a provider that takes a second for each answer and carries
sixteen at once. What decides is the ratio of the two, so an eighth of both stands for the whole here;
HERD=10000 runs all of it.
"""

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import pytest
from builders import KEYS, a_provider, a_service
from simulation.disk import Disk, spools_on_simulated_disks
from simulation.loop import SimulatedLoop
from simulation.memory_store import MemoryStore
from simulation.process import BEGINNING, Process

from dispenser.decision import DEFAULT_MIN_TTL_SECONDS
from shared import expiry
from shared.adapters.memory_bus import MemoryBus
from shared.adapters.memory_cache import MemoryCache
from shared.envelope import fingerprint, seal_credential, seal_provider_secrets, seal_token
from shared.model import (
    AccessToken,
    EnrolmentId,
    Grant,
    GrantId,
    GrantState,
    Owner,
    Provider,
    ProviderSecrets,
    RefreshToken,
)
from shared.ports import Declared, HttpRequest, HttpResponse
from shared.secret import Secret
from workers.refresher import Refresher
from workers.scheduler import Scheduler
from workers.spool import Spool

HERD: Final = int(os.environ.get("HERD", "1250"))
#: Requests that the provider carries at once, and that may begin in a second.
CAP: Final = HERD * 16 // 10_000
LIFE_SECONDS: Final = 3600.0
ANSWER_SECONDS: Final = 1.0
SCHEDULER_SECONDS: Final = 2.0
LOOK_SECONDS: Final = 5.0


@dataclass(slots=True)
class SlowProvider:
    """Takes its time for every answer, and counts."""

    under_way: int = 0
    most_at_once: int = 0
    answered: int = 0
    #: When each request came in.
    begun_at: list[float] = field(default_factory=list)
    #: How many of its next requests get 429, and for how many seconds it wants to be left alone then.
    too_many: int = 0
    retry_after: int = 0
    limited_at: list[float] = field(default_factory=list)

    async def send(self, _: HttpRequest) -> HttpResponse:
        self.begun_at.append(asyncio.get_running_loop().time())
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        await asyncio.sleep(ANSWER_SECONDS)
        self.under_way -= 1
        return self._limited() if self.too_many else self._issued()

    def _limited(self) -> HttpResponse:
        self.too_many -= 1
        self.limited_at.append(asyncio.get_running_loop().time())
        return HttpResponse(status=429, headers={"Retry-After": str(self.retry_after)}, body=b"{}")

    def _issued(self) -> HttpResponse:
        self.answered += 1
        body = {
            "access_token": f"at-{self.answered}",
            "refresh_token": f"rt-{self.answered}",
            "expires_in": LIFE_SECONDS,
        }
        return HttpResponse(status=200, headers={}, body=json.dumps(body).encode())

    async def close(self) -> None:
        """Nothing is open."""


class Herd:
    """A refresher, a scheduler, and grants whose tokens end together."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.service = a_service(scopes=())
        self.store = MemoryStore()
        self.http = SlowProvider()
        self.bus = MemoryBus()
        self.process = Process("herd")
        self.chance = random.Random(11)

    async def run(self, *, left_seconds: float, due: Callable[[datetime, datetime, float], datetime]) -> None:
        """Until all are renewed, or their tokens have ended."""
        store: Any = self.store
        await self._lay(left_seconds, due)
        await self.bus.start()
        worker = Refresher(
            store=store,
            bus=self.bus,
            cache=MemoryCache(self.process.clock),
            http=self.http,
            keys=KEYS,
            spool=Spool(Disk("herd").folder),  # type: ignore[arg-type]
            clock=self.process.clock,
            entropy=self.chance.random,
            name="refresher-1",
        )
        await worker.start()
        scheduling = Scheduler(store, self.bus, self.process.clock, SCHEDULER_SECONDS).run()
        announcing = asyncio.create_task(scheduling)
        for _ in range(int(left_seconds / LOOK_SECONDS)):
            if len(self.renewed()) == HERD:
                break
            await asyncio.sleep(LOOK_SECONDS)
        announcing.cancel()
        await self.bus.drain()
        await worker.drain()

    def renewed(self) -> list[Grant]:
        rows = self.store.grants._tables.grants.values()
        return [row.grant for row in rows if row.grant.generation == 2]

    def late(self, left_seconds: float) -> list[Grant]:
        """Those that an agent had to wait for: their old token was too short before the new one came."""
        needed_by = BEGINNING + timedelta(seconds=left_seconds - DEFAULT_MIN_TTL_SECONDS)
        return [grant for grant in self.renewed() if grant.updated_at > needed_by]

    async def _lay(self, left_seconds: float, due: Callable[[datetime, datetime, float], datetime]) -> None:
        sealed = seal_provider_secrets(KEYS, self.provider, ProviderSecrets(client_secrets=(Secret("s"),)))
        await self.store.catalogue.apply(
            Declared(providers=[(self.provider, sealed)], services=[self.service]), BEGINNING
        )
        ends = BEGINNING + timedelta(seconds=left_seconds)
        issued = ends - timedelta(seconds=LIFE_SECONDS)
        for number in range(HERD):
            grant = self._grant(number, issued, ends, due(issued, ends, self.chance.random()))
            await self.store.enrolments.succeed(EnrolmentId("none"), grant, BEGINNING, ())

    def _grant(self, number: int, issued: datetime, ends: datetime, due: datetime) -> Grant:
        owner, grant_id = Owner(f"owner-{number}"), GrantId(f"grant-{number}")
        credential = RefreshToken(value=Secret(f"first-{number}"), client=self.provider.client)
        token = AccessToken(
            value=Secret("old"),
            token_type="Bearer",
            scopes=(),
            issued_at=issued,
            expires_at=ends,
            generation=1,
            grant_id=grant_id,
        )
        return Grant(
            id=grant_id,
            service=self.service.name,
            owner=owner,
            state=GrantState.ACTIVE,
            generation=1,
            scopes=(),
            sealed_credential=seal_credential(KEYS, grant_id, owner, 1, credential),
            credential_fingerprint=fingerprint(grant_id, credential),
            sealed_token=seal_token(KEYS, self.service.name, owner, token),
            token_expires_at=ends,
            refresh_at=due,
            failures=0,
            last_error=None,
            created_at=issued,
            updated_at=issued,
        )


@pytest.fixture
def simulate() -> Iterator[Callable[[Herd, Awaitable[None]], None]]:
    """Runs a course in virtual time."""
    with ExitStack() as stack:
        stack.enter_context(spools_on_simulated_disks())

        def run(herd: Herd, course: Awaitable[None]) -> None:
            loop = SimulatedLoop(random.Random(5).random, herd.process)
            stack.callback(loop.dispose)
            task = loop.create_task(course, context=herd.process.context)  # type: ignore[arg-type]
            loop.run_until_complete(task)

        yield run


def jittered(issued: datetime, ends: datetime, entropy: float) -> datetime:
    """As the vault sets it when a token is issued."""
    moment = expiry.refresh_at(issued, ends, entropy)
    assert moment is not None
    return moment


def overdue(_issued: datetime, _ends: datetime, _entropy: float) -> datetime:
    """As after an outage of the vault itself: all at once, and at once."""
    return BEGINNING


def test_a_herd_is_refreshed_in_time_and_the_cap_holds(simulate: Callable[..., None]) -> None:
    herd = Herd(a_provider(max_concurrency=CAP))
    simulate(herd, herd.run(left_seconds=LIFE_SECONDS, due=jittered))
    assert len(herd.renewed()) == herd.http.answered == HERD
    assert herd.http.most_at_once == CAP
    assert herd.late(LIFE_SECONDS) == []


def test_a_herd_that_is_overdue_all_at_once_is_worked_off_at_the_cap(simulate: Callable[..., None]) -> None:
    """A sixth longer than the provider needs at the very least."""
    left = 730.0 + DEFAULT_MIN_TTL_SECONDS
    herd = Herd(a_provider(max_concurrency=CAP))
    simulate(herd, herd.run(left_seconds=left, due=overdue))
    assert len(herd.renewed()) == HERD
    assert herd.http.most_at_once == CAP
    assert herd.late(left) == []


def test_a_herd_goes_no_faster_than_the_requests_per_second_that_are_declared(
    simulate: Callable[..., None],
) -> None:
    herd = Herd(a_provider(max_concurrency=10 * CAP, max_requests_per_second=CAP))
    simulate(herd, herd.run(left_seconds=LIFE_SECONDS, due=jittered))
    assert len(herd.renewed()) == HERD
    assert max(Counter(int(at) for at in herd.http.begun_at).values()) <= CAP + 1
    within = zip(herd.http.begun_at, herd.http.begun_at[CAP:], strict=False)
    assert all(last - first > 0.99 for first, last in within)
    assert herd.late(LIFE_SECONDS) == []


def test_a_herd_stops_for_a_429_and_is_in_time_all_the_same(simulate: Callable[..., None]) -> None:
    herd = Herd(a_provider(max_concurrency=CAP))
    herd.http.too_many, herd.http.retry_after = CAP, 100
    simulate(herd, herd.run(left_seconds=LIFE_SECONDS, due=jittered))
    assert len(herd.renewed()) == HERD
    first = herd.http.limited_at[0]
    # Those that were under way with the first.
    assert len(herd.http.limited_at) == CAP
    assert [at for at in herd.http.begun_at if first <= at < first + herd.http.retry_after] == []
    assert herd.late(LIFE_SECONDS) == []
