"""A refresh token that may be spent is sent again inside its grace, and else when there is little to lose."""

import asyncio

import pytest
from integration.refreshing import OWNER, Vault

from dispenser.testing import Behaviour
from dispenser.testing.faults import Fault, Hang, ResetAfterProcessing, Status
from shared.messages import Reason
from shared.model import Grant, GrantState, OnReuse, Owner, Rotation

BOB = Owner("bob")
GRACE = Rotation(grace_seconds=30, on_reuse=OnReuse.REVOKE_FAMILY)


async def in_grace(vault: Vault) -> None:
    vault.emulator.behaviour = Behaviour(grace_seconds=GRACE.grace_seconds)
    await vault.declare(GRACE)
    await vault.refresher()
    await vault.connect()


async def failed_again(vault: Vault) -> Grant:
    """The grant after the next try, which comes when its time has."""
    grant = await vault.grant()
    if grant.refresh_at is not None and grant.failures:
        vault.clock.advance(max(0.0, (grant.refresh_at - vault.clock()).total_seconds()) + 0.1)
    await vault.ask(grant.generation)
    return await vault.grant()


async def test_a_doubt_that_outlives_the_grace_makes_its_provider_a_strict_one(vault: Vault):
    await in_grace(vault)
    vault.emulator.faults.always(ResetAfterProcessing())
    began = vault.clock()
    for _ in range(10):
        if (await failed_again(vault)).state is GrantState.UNKNOWN:
            break
    assert (await vault.grant()).state is GrantState.UNKNOWN
    assert (vault.clock() - began).total_seconds() < GRACE.grace_seconds
    vault.emulator.faults.clear()
    calls = vault.emulator.token_calls
    vault.clock.advance(60)
    await vault.ask(1)
    assert (vault.emulator.token_calls, vault.emulator.reuses) == (calls, 0)


async def test_a_retry_that_nobody_made_in_time_is_not_made_too_late(vault: Vault):
    """All refreshers were away when the grace ended: the access token is still good, and lives on."""
    await in_grace(vault)
    vault.emulator.faults.next(ResetAfterProcessing())
    assert (await failed_again(vault)).state is GrantState.ACTIVE
    vault.clock.advance(600)
    calls = vault.emulator.token_calls
    await vault.ask(1)
    assert (vault.emulator.token_calls, vault.emulator.reuses) == (calls, 0)


async def test_a_doubt_ends_with_a_token(vault: Vault):
    await in_grace(vault)
    vault.emulator.faults.next(ResetAfterProcessing())
    assert (await failed_again(vault)).unsure_since is not None
    after = await failed_again(vault)
    assert (after.generation, after.unsure_since) == (2, None)


@pytest.mark.parametrize("fault", [ResetAfterProcessing(), Status(503)], ids=["doubt", "overload"])
async def test_an_event_that_waited_for_its_turn_does_not_outrun_a_failure(vault: Vault, fault: Fault):
    """The clock's event and an agent's are one piece of work, and what waits for its turn is done once."""
    await vault.declare(max_concurrency=1)
    await vault.refresher()
    for owner in (OWNER, BOB):
        await vault.connect(owner=owner)
    hang = Hang()
    vault.emulator.faults.next(hang, fault)
    other = asyncio.create_task(vault.ask(1, owner=BOB))
    await hang.reached()
    asking = [asyncio.create_task(vault.ask(1, reason=reason)) for reason in (Reason.DUE, Reason.MISS)]
    standing = next(iter(vault.refreshers[0]._rotation._bench.providers._standings.values()))
    async with asyncio.timeout(10):
        while standing.in_hand < 2:  # noqa: ASYNC110 - it waits for its turn behind the other owner's
            await asyncio.sleep(0)
    hang.release()
    await asyncio.gather(other, *asking)
    grant = await vault.grant()
    assert (grant.generation, grant.failures, vault.emulator.reuses) == (1, 1, 0)
