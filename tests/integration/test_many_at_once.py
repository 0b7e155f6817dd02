"""Tokens that expire together are refreshed ahead, under the provider's cap, and none is served late."""

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

from integration.refreshing import SERVICE, Vault

from dispenser.testing import Behaviour
from shared import expiry
from shared.model import EnrolmentState, Owner
from workers.scheduler import Scheduler

LIFE_SECONDS = 3600.0
MANY = 10_000
CAP = 3


def test_ten_thousand_tokens_issued_together_do_not_come_back_together():
    issued = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    ends, chance = issued + timedelta(seconds=LIFE_SECONDS), random.Random(1)
    moments = [expiry.refresh_at(issued, ends, chance.random()) for _ in range(MANY)]
    due = [(moment - issued).total_seconds() for moment in moments if moment is not None]
    assert len(due) == MANY
    # Spread over a tenth of their life, and with a quarter of it left at the least.
    assert max(Counter(int(second) for second in due).values()) < 2 * MANY / (0.1 * LIFE_SECONDS)
    assert max(due) <= 0.75 * LIFE_SECONDS


async def test_a_crowd_of_tokens_is_refreshed_under_the_cap_and_in_time(vault: Vault):
    owners = [Owner(f"owner-{number}") for number in range(96)]
    vault.emulator.behaviour = Behaviour(access_token_seconds=LIFE_SECONDS)
    await vault.declare(max_concurrency=CAP)
    await vault.refresher()
    for group in range(0, len(owners), CAP):
        connecting = (vault.connect(owner=owner) for owner in owners[group : group + CAP])
        enrolments = await asyncio.gather(*connecting)
        assert {enrolment.state for enrolment in enrolments} == {EnrolmentState.DONE}
    ends = {g.id: g.token_expires_at for g in await vault.store.grants.select(service=SERVICE)}
    # Slow enough that requests would pile up.
    vault.emulator.behaviour = Behaviour(access_token_seconds=LIFE_SECONDS, response_delay_seconds=0.1)
    vault.clock.advance(0.76 * LIFE_SECONDS)
    scheduler = Scheduler(store=vault.store, bus=vault.bus, clock=vault.clock, interval_seconds=0.5)
    assert await scheduler.announce() == len(owners)
    await vault.settled()
    refreshed = await vault.store.grants.select(service=SERVICE)
    assert {grant.generation for grant in refreshed} == {2}
    assert all((end := ends[g.id]) is not None and g.updated_at < end for g in refreshed)
    assert vault.emulator.most_at_once == CAP
    assert (vault.emulator.overlaps, vault.emulator.reuses) == (0, 0)
    assert vault.waiting() == {}
