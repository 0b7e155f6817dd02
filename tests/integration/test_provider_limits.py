"""What a provider wishes of its clients holds for all grants at it, not for the one that was told."""

import asyncio

from integration.refreshing import OWNER, Vault

from dispenser.testing.faults import Hang, RateLimited
from shared.model import EnrolmentState, GrantState, Owner

BOB = Owner("bob")


async def connected(vault: Vault, *owners: Owner, **fields: int) -> None:
    await vault.declare(**fields)
    await vault.refresher()
    for owner in owners:
        assert (await vault.connect(owner=owner)).state is EnrolmentState.DONE


async def test_one_grants_429_pauses_the_provider_for_all(vault: Vault) -> None:
    await connected(vault, OWNER, BOB)
    vault.emulator.faults.next(RateLimited(retry_after=100))
    await vault.ask(1)
    calls = vault.emulator.token_calls
    await vault.ask(1, owner=BOB)
    assert vault.emulator.token_calls == calls
    untouched = await vault.grant(BOB)
    assert (untouched.state, untouched.failures) == (GrantState.ACTIVE, 0)
    vault.clock.advance(101)
    await vault.ask(1)
    await vault.ask(1, owner=BOB)
    assert [(await vault.grant(owner)).generation for owner in (OWNER, BOB)] == [2, 2]


async def test_a_pause_keeps_connections_waiting_instead_of_adding_to_the_crowd(vault: Vault) -> None:
    await connected(vault, OWNER)
    vault.emulator.faults.next(RateLimited(retry_after=1))
    await vault.ask(1)
    assert (await vault.connect(owner=BOB)).state is EnrolmentState.DONE
    assert vault.emulator.outcomes.get("too_many", 0) == 0


async def test_no_more_are_under_way_at_once_than_declared(vault: Vault) -> None:
    owners = [Owner(f"owner-{number}") for number in range(8)]
    await connected(vault, *owners, max_concurrency=2)
    hangs = [Hang(), Hang()]
    for hang in hangs:
        vault.emulator.faults.next(hang)
    asking = asyncio.gather(*(vault.ask(1, owner=owner) for owner in owners))
    for hang in hangs:
        await hang.reached()
    for hang in hangs:
        hang.release()
    await asking
    assert vault.emulator.most_at_once == 2
    assert [(await vault.grant(owner)).generation for owner in owners] == [2] * len(owners)
