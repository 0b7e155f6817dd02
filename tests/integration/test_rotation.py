import asyncio
from typing import Any

import pytest
from integration.refreshing import Vault

from dispenser.testing import Behaviour
from dispenser.testing.faults import (
    DropRefreshToken,
    ErrorAnswer,
    ErrorIn200,
    Hang,
    InvalidClient,
    RateLimited,
    ResetAfterProcessing,
    Status,
    Truncated,
)
from shared.envelope import open_credential
from shared.errors import StoreUnavailable
from shared.messages import Reason
from shared.model import EnrolmentState, GrantState, OnReuse, Owner, RefreshToken, Rotation
from shared.ports import Failure
from workers.answer import Answer
from workers.claims import Claims
from workers.providers import FRESH_SECONDS
from workers.spool_entry import Entry
from workers.token_endpoint import TokenEndpoint

GRACE = Rotation(grace_seconds=30, on_reuse=OnReuse.DENY)


@pytest.fixture
async def connected(vault: Vault) -> Vault:
    """A strictly rotating provider, a refresher, and a grant at generation 1. No call is counted yet."""
    await vault.declare()
    await vault.refresher()
    assert (await vault.connect()).state is EnrolmentState.DONE
    assert (await vault.grant()).generation == 1
    vault.events.clear()
    return vault


async def test_a_rotation_replaces_token_and_credential(connected: Vault):
    before, calls = await connected.token(), connected.emulator.token_calls
    parent = open_credential(connected.keys, await connected.grant())
    await connected.ask(1)
    grant, after = await connected.grant(), await connected.token()
    assert (grant.generation, grant.state, after.generation) == (2, GrantState.ACTIVE, 2)
    assert after.value != before.value
    assert open_credential(connected.keys, grant) != parent
    assert connected.emulator.token_calls == calls + 1
    assert connected.events == ["credential.refreshed"]
    assert await connected.actions() == ["grant.connected", "grant.refreshed"]
    assert connected.spooled() == []
    assert connected.waiting() == {}


async def test_repeated_events_cause_one_request(connected: Vault):
    calls = connected.emulator.token_calls
    await connected.ask(1, times=50)
    await connected.ask(1, times=50)
    assert connected.emulator.token_calls == calls + 1
    assert (await connected.grant()).generation == 2


async def test_two_refreshers_never_send_the_same_refresh_token(connected: Vault):
    await connected.refresher("refresher-2", spool="spool-2")
    for generation in range(1, 5):
        await connected.ask(generation, times=20)
    assert (await connected.grant()).generation == 5
    assert (connected.emulator.overlaps, connected.emulator.reuses) == (0, 0)


async def test_an_answer_that_the_database_did_not_take_is_replayed_by_the_next_process(connected: Vault):
    calls = connected.emulator.token_calls
    connected.rotations.commits_fail = True
    await connected.ask(1)
    assert (await connected.grant()).generation == 1
    assert len(connected.spooled()) == 1
    connected.rotations.commits_fail = False
    await connected.refresher()
    assert (await connected.grant()).generation == 2
    assert connected.emulator.token_calls == calls + 1
    assert connected.spooled() == []
    await connected.ask(2)
    assert (await connected.grant()).generation == 3
    assert connected.emulator.reuses == 0


async def test_an_answer_is_not_given_up_by_a_process_that_starts_while_the_database_refuses_it(
    connected: Vault,
):
    connected.rotations.commits_fail = True
    await connected.ask(1)
    await connected.refresher()
    assert len(connected.spooled()) == 1
    connected.rotations.commits_fail = False
    await connected.refresher()
    assert ((await connected.grant()).generation, connected.spooled()) == (2, [])


async def test_a_credential_is_not_sent_again_while_its_answer_waits_in_the_spool(connected: Vault):
    """Not even when the intent was taken over: of all refreshers this one knows better."""
    calls = connected.emulator.token_calls
    connected.rotations.commits_fail = True
    await connected.ask(1)
    [intent] = await connected.store.rotations.open_intents()
    await connected.store.rotations.release(intent, "holder_gone", connected.clock())
    await connected.refreshers[0]._replay.spooled()
    connected.rotations.commits_fail = False
    await connected.ask(1)
    assert connected.emulator.token_calls == calls + 1
    await connected.refreshers[0]._replay.spooled()
    assert ((await connected.grant()).generation, connected.emulator.reuses) == (2, 0)


async def test_one_grant_is_asked_for_once_whyever_it_is(connected: Vault):
    hang = Hang()
    connected.emulator.faults.next(hang)
    asking = asyncio.create_task(connected.ask(1, reason=Reason.DUE))
    await hang.reached()
    [intent] = await connected.store.rotations.open_intents()
    await connected.store.rotations.release(intent, "holder_gone", connected.clock())
    again = asyncio.create_task(connected.ask(1, reason=Reason.MISS))
    await asyncio.sleep(0.1)
    hang.release()
    await asyncio.gather(asking, again)
    assert ((await connected.grant()).generation, connected.emulator.overlaps) == (2, 0)


async def test_a_commit_whose_answer_is_lost_is_not_made_twice(connected: Vault):
    connected.rotations.commits_lose_their_answer = True
    await connected.ask(1)
    connected.rotations.commits_lose_their_answer = False
    assert len(connected.spooled()) == 1
    await connected.refresher()
    assert (await connected.grant()).generation == 2
    assert (await connected.token()).generation == 2
    assert connected.spooled() == []


async def test_a_claim_whose_confirmation_is_lost_is_given_back_by_who_made_it(connected: Vault):
    calls = connected.emulator.token_calls
    connected.rotations.claims_lose_their_answer = True
    await connected.ask(1)
    connected.rotations.claims_lose_their_answer = False
    assert len(await connected.store.rotations.open_intents()) == 1
    assert connected.emulator.token_calls == calls
    await connected.ask(1)
    assert (await connected.grant()).generation == 2
    assert await connected.store.rotations.open_intents() == []


async def test_a_claim_after_which_the_database_fails_is_given_back_at_once(
    connected: Vault, monkeypatch: pytest.MonkeyPatch
):
    async def refused(_: str) -> bytes:
        raise StoreUnavailable("Made to fail.")

    calls = connected.emulator.token_calls
    with monkeypatch.context() as patched:
        patched.setattr(connected.store.catalogue, "provider_secrets", refused)
        connected.clock.advance(FRESH_SECONDS)
        await connected.ask(1)
    assert await connected.store.rotations.open_intents() == []
    assert connected.emulator.token_calls == calls


async def test_what_another_process_of_the_name_has_sent_is_not_given_back(connected: Vault):
    """Only what this very process claimed is known to be unsent."""
    grant, now = await connected.grant(), connected.clock()
    claims = Claims(connected.store.rotations, connected.clock, "refresher-1")
    await connected.store.rotations.claim(grant.id, 1, holder="refresher-1", now=now, lease_until=now)
    connected.rotations.claims_lose_their_answer = True
    with pytest.raises(StoreUnavailable):
        await claims.take(grant)
    await claims.give_back()
    assert len(await connected.store.rotations.open_intents()) == 1


async def test_a_refusal_of_a_stale_loser_changes_nothing(connected: Vault):
    hang = Hang()
    connected.emulator.faults.next(hang)
    asking = asyncio.create_task(connected.ask(1))
    await hang.reached()
    await connected.store.rotations.release(
        (await connected.store.rotations.open_intents())[0], "x", connected.clock()
    )
    await connected.refresher("refresher-2", spool="spool-2")
    winner = connected.refreshers[1]
    await winner._rotation.run((await connected.grant()).id, 1)
    assert (await connected.grant()).generation == 2
    hang.release()
    await asking
    grant = await connected.grant()
    assert (grant.generation, grant.state) == (2, GrantState.ACTIVE)
    assert "credential.reauth_required" not in connected.events


async def test_a_token_that_comes_after_the_grant_was_given_up_tells_that_the_trouble_is_over(
    connected: Vault,
):
    """The grant is not as it was when it was claimed, though its credential is."""
    hang = Hang()
    connected.emulator.faults.next(hang)
    asking = asyncio.create_task(connected.ask(1))
    await hang.reached()
    [intent] = await connected.store.rotations.open_intents()
    given_up = Failure(state=GrantState.REFRESH_FAILING, error="holder_gone", refresh_at=connected.clock())
    await connected.store.rotations.fail(intent, given_up, now=connected.clock(), events=())
    hang.release()
    await asking
    grant = await connected.grant()
    assert (grant.generation, grant.state) == (2, GrantState.ACTIVE)
    assert connected.events == ["credential.refreshed", "credential.recovered"]


async def test_a_refusal_after_the_intent_was_taken_over_is_not_recorded(connected: Vault):
    """Another refresher may be at it by now: a loser's refusal says nothing about the winner's credential."""
    refusing = Hang()
    connected.emulator.faults.next(refusing)
    asking = asyncio.create_task(connected.ask(1))
    await refusing.reached()
    [intent] = await connected.store.rotations.open_intents()
    await connected.store.rotations.release(intent, "holder_gone", connected.clock())
    connected.emulator.revoke_all()
    refusing.release()
    await asking
    assert (await connected.grant()).state is GrantState.ACTIVE


async def test_an_omitted_refresh_token_keeps_the_old_one(connected: Vault):
    parent = open_credential(connected.keys, await connected.grant())
    connected.emulator.faults.next(DropRefreshToken())
    await connected.ask(1)
    grant = await connected.grant()
    assert grant.generation == 2
    assert open_credential(connected.keys, grant) == parent


@pytest.mark.parametrize("fault", [ErrorAnswer(), ErrorAnswer("invalid_grant", 403), ErrorIn200()])
async def test_a_dead_grant_asks_for_its_owner_and_is_left_alone(connected: Vault, fault: ErrorAnswer):
    connected.emulator.faults.next(fault)
    await connected.ask(1)
    grant, calls = await connected.grant(), connected.emulator.token_calls
    assert (grant.state, grant.generation) == (GrantState.REAUTH_REQUIRED, 1)
    assert connected.events == ["credential.reauth_required"]
    await connected.ask(1)
    assert connected.emulator.token_calls == calls


async def test_a_dead_grant_recovers_when_its_owner_connects_again(connected: Vault):
    connected.emulator.faults.next(ErrorAnswer())
    await connected.ask(1)
    before = await connected.grant()
    await connected.connect()
    grant = await connected.grant()
    assert (grant.id, grant.generation, grant.state) == (before.id, 2, GrantState.ACTIVE)
    assert connected.events[-1] == "credential.recovered"


async def test_a_refused_client_touches_no_grant_and_is_not_asked_again(connected: Vault):
    connected.emulator.faults.next(InvalidClient())
    before = await connected.grant()
    await connected.ask(1)
    assert await connected.grant() == before
    calls = connected.emulator.token_calls
    await connected.ask(1)
    assert connected.emulator.token_calls == calls
    assert "provider.client_refused" in await connected.actions()
    connected.clock.advance(61)
    await connected.ask(1)
    assert (await connected.grant()).generation == 2


async def test_a_provider_that_is_overloaded_changes_no_state(connected: Vault):
    connected.emulator.faults.next(Status(503))
    await connected.ask(1)
    grant = await connected.grant()
    assert (grant.state, grant.generation, grant.failures) == (GrantState.ACTIVE, 1, 1)
    assert (await connected.token()).generation == 1


async def test_retry_after_is_honoured_whoever_asks(connected: Vault):
    connected.emulator.faults.next(RateLimited(retry_after=100))
    await connected.ask(1)
    calls = connected.emulator.token_calls
    await connected.ask(1)
    assert connected.emulator.token_calls == calls
    connected.clock.advance(101)
    await connected.ask(1)
    assert (await connected.grant()).generation == 2


@pytest.mark.parametrize("fault", [ResetAfterProcessing(), Truncated(), Status(500, processed=True)])
async def test_a_lost_answer_of_a_strict_provider_is_told_and_tried_late(connected: Vault, fault: Status):
    connected.emulator.faults.next(fault)
    await connected.ask(1)
    grant = await connected.grant()
    assert grant.state is GrantState.UNKNOWN
    assert grant.refresh_at is not None
    assert grant.token_expires_at is not None
    assert (grant.token_expires_at - grant.refresh_at).total_seconds() == 60
    assert connected.events == ["credential.refresh_failed"]
    await connected.ask(1)
    assert connected.emulator.reuses == 0


async def test_a_lost_answer_of_a_provider_with_a_grace_window_is_asked_for_again(vault: Vault):
    vault.emulator.behaviour = Behaviour(grace_seconds=30)
    await vault.declare(GRACE)
    await vault.refresher()
    await vault.connect()
    vault.emulator.faults.next(ResetAfterProcessing())
    await vault.ask(1)
    assert (await vault.grant()).state is GrantState.ACTIVE
    vault.clock.advance(2)
    await vault.ask(1)
    assert (await vault.grant()).generation == 2
    assert vault.emulator.reuses == 0


async def test_a_caller_that_gives_up_does_not_take_the_rotation_along(connected: Vault):
    hang = Hang(processed=True)
    connected.emulator.faults.next(hang)
    asking = asyncio.create_task(connected.ask(1))
    await hang.reached()
    for task in asyncio.all_tasks():
        if "handle" in repr(task.get_coro()).lower():
            task.cancel()
    hang.release()
    await asking
    assert (await connected.grant()).generation == 2


async def test_drain_waits_for_the_rotation_in_flight(connected: Vault):
    hang = Hang(processed=True)
    connected.emulator.faults.next(hang)
    asking = asyncio.create_task(connected.ask(1))
    await hang.reached()
    draining = asyncio.create_task(connected.refreshers[0].drain())
    await asyncio.sleep(0)
    assert not draining.done()
    hang.release()
    await draining
    assert (await connected.grant()).generation == 2
    await asking


async def test_no_secret_lies_in_the_database_or_the_spool(connected: Vault):
    connected.rotations.commits_fail = True
    await connected.ask(1)
    credential = open_credential(connected.keys, await connected.grant())
    assert isinstance(credential, RefreshToken)
    secrets = [
        credential.value.reveal(),
        connected.emulator.client_secret,
        (await connected.token()).value.reveal(),
    ]
    for path in [*connected.spool_files(), *connected.database_files()]:
        content = path.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in content]


async def test_the_next_request_is_sent_while_the_last_answer_is_committed(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
):
    """Of a provider that bears one at once: it has answered, and the database is no concern of its."""
    await vault.declare(max_concurrency=1)
    await vault.refresher()
    owners = [Owner("ada"), Owner("bob")]
    for owner in owners:
        await vault.connect(owner=owner)
    calls, committed, commit = vault.emulator.token_calls, asyncio.Event(), vault.rotations.commit

    async def slow(*arguments: Any, **named: Any) -> Any:
        await committed.wait()
        return await commit(*arguments, **named)

    monkeypatch.setattr(vault.rotations, "commit", slow)
    asking = [asyncio.create_task(vault.ask(1, owner=owner)) for owner in owners]
    try:
        async with asyncio.timeout(30):
            while vault.emulator.token_calls < calls + 2:  # noqa: ASYNC110 - it answers in a thread of its own
                await asyncio.sleep(0.01)
    finally:
        committed.set()
        await asyncio.gather(*asking)
    assert [(await vault.grant(owner)).generation for owner in owners] == [2, 2]


async def test_a_429_is_heeded_before_it_is_on_disk(vault: Vault, monkeypatch: pytest.MonkeyPatch):
    """By who waits for the answer that is under way beside it, in a provider's two places."""
    await vault.declare(max_concurrency=2)
    await vault.refresher()
    owners = [Owner("ada"), Owner("bob"), Owner("cid"), Owner("dan")]
    for owner in owners:
        await vault.connect(owner=owner)
    calls, write = vault.emulator.token_calls, TokenEndpoint._keep
    limited, kept = asyncio.Event(), asyncio.Event()

    async def slow(endpoint: TokenEndpoint, entry: Entry, answer: Answer) -> None:
        if not answer.accepted:
            limited.set()
            await kept.wait()
        await write(endpoint, entry, answer)

    monkeypatch.setattr(TokenEndpoint, "_keep", slow)
    other = Hang(processed=True)
    vault.emulator.faults.next(other, RateLimited(retry_after=600))
    asking = [asyncio.create_task(vault.ask(1, owner=owner)) for owner in owners]
    try:
        async with asyncio.timeout(30):
            await asyncio.gather(limited.wait(), other.reached())
            other.release()
            while sum([(await vault.grant(owner)).generation for owner in owners]) < len(owners) + 1:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
    finally:
        kept.set()
        await asyncio.gather(*asking)
    assert vault.emulator.token_calls == calls + 2
