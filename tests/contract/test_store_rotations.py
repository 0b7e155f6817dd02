"""One refresher at a time, and a write that lands only where it belongs."""

import asyncio
from dataclasses import replace

import pytest
from contract.stores import NOW, a_renewal, an_event, claimed, granted, later, written_events
from sqlalchemy import text

from shared.adapters.sql.rotations import DONE, PARKED
from shared.adapters.sql.store import SqlStore
from shared.errors import VaultError
from shared.messages import LifecycleEvent
from shared.model import Grant, GrantId, GrantState, Intent, IntentId
from shared.ports import Claim, Failure, Store, Unclaimed

FAILING = Failure(state=GrantState.REFRESH_FAILING, error="server_error", refresh_at=later(30))


async def asked(store: Store, grant: Grant, holder: str, *, at: float = 0.0) -> Claim | Unclaimed:
    return await store.rotations.claim(
        grant.id, grant.generation, holder=holder, now=later(at), lease_until=later(at + 120)
    )


async def committed(
    store: Store,
    intent: Intent,
    *events: LifecycleEvent,
    generation: int = 1,
    fingerprint: bytes = b"fingerprint 1",
) -> Grant | None:
    return await store.rotations.commit(
        intent,
        expected_generation=generation,
        expected_fingerprint=fingerprint,
        renewal=a_renewal(),
        now=later(2),
        events=events,
    )


async def test_a_claim_names_the_credential_to_redeem(store: Store) -> None:
    grant = await granted(store)

    claim = await claimed(store, grant, "refresher-1")

    assert claim.grant == grant
    assert claim.intent == Intent(
        id=claim.intent.id,
        grant_id=grant.id,
        generation=1,
        fingerprint=b"fingerprint 1",
        holder="refresher-1",
        opened_at=NOW,
    )
    assert await store.rotations.intent(claim.intent.id) == (claim.intent, None)


async def test_of_concurrent_claims_exactly_one_wins(store: Store, other_store: Store) -> None:
    grant = await granted(store)

    answers = await asyncio.gather(
        *(asked((store, other_store)[number % 2], grant, f"refresher-{number}") for number in range(8))
    )

    refused = [answer.why for answer in answers if isinstance(answer, Unclaimed)]
    assert refused == ["busy"] * 7
    assert len(await store.rotations.open_intents()) == 1


async def test_of_one_refreshers_own_claims_exactly_one_wins(store: Store) -> None:
    grant = await granted(store)

    answers = await asyncio.gather(*(asked(store, grant, "refresher-1") for _ in range(4)))

    assert sum(isinstance(answer, Claim) for answer in answers) == 1


async def test_a_claim_on_an_older_or_newer_generation_is_stale(store: Store) -> None:
    grant = await granted(store, generation=5)

    for generation in (4, 6):
        answer = await store.rotations.claim(
            grant.id, generation, holder="r", now=NOW, lease_until=later(120)
        )
        assert answer == Unclaimed(why="stale", grant=grant)


@pytest.mark.parametrize("state", [GrantState.REAUTH_REQUIRED, GrantState.REVOKED])
async def test_a_grant_that_only_its_owner_can_help_is_not_claimed(store: Store, state: GrantState) -> None:
    grant = await granted(store, state=state)

    assert await asked(store, grant, "refresher-1") == Unclaimed(why="state", grant=grant)


async def test_an_unknown_grant_is_missing(store: Store) -> None:
    answer = await store.rotations.claim(GrantId("nothing"), 1, holder="r", now=NOW, lease_until=later(1))

    assert answer == Unclaimed(why="missing", grant=None)


async def test_an_open_intent_keeps_others_off_after_its_lease_has_ended(store: Store) -> None:
    """A refresher may be dead or merely slow: only an outcome tells."""
    grant = await granted(store)
    await claimed(store, grant)

    assert await asked(store, grant, "refresher-2", at=10_000) == Unclaimed(why="busy", grant=grant)


async def test_the_database_itself_refuses_a_second_open_intent(store: SqlStore) -> None:
    grant = await granted(store)
    await claimed(store, grant)
    again = (
        "INSERT INTO intents (id, grant_id, generation, fingerprint, holder, opened_at)"
        " SELECT 'other', grant_id, generation, fingerprint, holder, opened_at FROM intents"
    )

    with pytest.raises(VaultError):
        async with store._database.writing() as connection:
            await connection.execute(text(again))


async def test_a_commit_moves_the_generation_on_and_closes_the_intent(store: Store) -> None:
    grant = await granted(store, failures=3, last_error="server_error", state=GrantState.REFRESH_FAILING)
    claim = await claimed(store, grant)
    event = an_event()

    landed = await committed(store, claim.intent, event)

    renewal = a_renewal()
    assert landed == Grant(
        id=grant.id,
        service=grant.service,
        owner=grant.owner,
        state=GrantState.ACTIVE,
        generation=2,
        scopes=renewal.scopes,
        sealed_credential=renewal.sealed_credential,
        credential_fingerprint=renewal.credential_fingerprint,
        sealed_token=renewal.sealed_token,
        token_expires_at=renewal.token_expires_at,
        refresh_at=renewal.refresh_at,
        failures=0,
        last_error=None,
        created_at=grant.created_at,
        updated_at=later(2),
    )
    assert await store.grants.get(grant.id) == landed
    assert await store.rotations.intent(claim.intent.id) == (claim.intent, DONE)
    assert await written_events(store) == [event]
    assert isinstance(await asked(store, landed, "refresher-2"), Claim)


@pytest.mark.parametrize(
    ("generation", "fingerprint"), [(0, b"fingerprint 1"), (2, b"fingerprint 1"), (1, b"another")]
)
async def test_a_lost_swap_writes_nothing(store: Store, generation: int, fingerprint: bytes) -> None:
    grant = await granted(store)
    claim = await claimed(store, grant)

    landed = await committed(store, claim.intent, an_event(), generation=generation, fingerprint=fingerprint)

    assert landed is None
    assert await store.grants.get(grant.id) == grant
    assert await store.rotations.intent(claim.intent.id) == (claim.intent, None)
    assert await written_events(store) == []


async def test_a_swap_may_ask_for_the_state_too(store: Store) -> None:
    """Its events tell of it."""
    claim = await claimed(store, await granted(store, state=GrantState.REFRESH_FAILING))
    commits = [
        store.rotations.commit(
            claim.intent,
            expected_generation=1,
            expected_fingerprint=b"fingerprint 1",
            expected_state=state,
            renewal=a_renewal(),
            now=NOW,
            events=(),
        )
        for state in (GrantState.ACTIVE, GrantState.REFRESH_FAILING)
    ]

    assert [await commit is not None for commit in commits] == [False, True]


async def test_a_commit_repeated_lands_once(store: Store) -> None:
    """A spool may be replayed after a commit whose answer was lost."""
    claim = await claimed(store, await granted(store))
    landed = await committed(store, claim.intent)

    assert await committed(store, claim.intent) is None
    assert await store.grants.get(claim.grant.id) == landed


async def test_of_concurrent_commits_exactly_one_lands(store: Store, other_store: Store) -> None:
    claim = await claimed(store, await granted(store))

    landed = await asyncio.gather(
        *(committed((store, other_store)[number % 2], claim.intent, an_event()) for number in range(4))
    )

    assert sum(grant is not None for grant in landed) == 1
    assert len(await written_events(store)) == 1


async def test_a_rotation_that_was_given_up_still_lands(store: Store) -> None:
    """The provider has spent the old credential: its answer is the only one there is."""
    grant = await granted(store)
    claim = await claimed(store, grant)
    lost = Failure(state=GrantState.REAUTH_REQUIRED, error="ambiguous", refresh_at=None)
    await store.rotations.fail(claim.intent, lost, now=later(1), events=())

    landed = await committed(store, claim.intent)

    assert landed is not None
    assert (landed.state, landed.generation) == (GrantState.ACTIVE, 2)


async def test_a_grant_without_a_credential_is_renewed(store: Store) -> None:
    grant = await granted(store, sealed_credential=None, credential_fingerprint=b"")
    claim = await claimed(store, grant)

    landed = await store.rotations.commit(
        claim.intent,
        expected_generation=1,
        expected_fingerprint=b"",
        renewal=a_renewal(sealed_credential=None, credential_fingerprint=b"", token_expires_at=None),
        now=NOW,
        events=(),
    )

    assert landed is not None
    assert (landed.sealed_credential, landed.credential_fingerprint, landed.token_expires_at) == (
        None,
        b"",
        None,
    )


async def test_a_failure_counts_and_frees_the_grant(store: Store) -> None:
    grant = await granted(store)
    event = an_event()
    claim = await claimed(store, grant)

    failed = await store.rotations.fail(claim.intent, FAILING, now=later(1), events=[event])

    assert failed is not None
    assert (failed.state, failed.failures, failed.last_error) == (FAILING.state, 1, "server_error")
    assert (failed.refresh_at, failed.generation, failed.updated_at) == (later(30), 1, later(1))
    assert (failed.sealed_credential, failed.sealed_token) == (grant.sealed_credential, grant.sealed_token)
    assert await store.grants.get(grant.id) == failed
    assert await store.rotations.intent(claim.intent.id) == (claim.intent, FAILING.error)
    assert await written_events(store) == [event]
    again = await claimed(store, grant, "refresher-2")
    twice = await store.rotations.fail(again.intent, FAILING, now=later(2), events=())
    assert twice is not None
    assert twice.failures == 2


async def test_a_failure_after_the_generation_moved_on_touches_no_grant(store: Store) -> None:
    grant = await granted(store)
    claim = await claimed(store, grant)
    replaced = await granted(store, id=grant.id, generation=7)

    assert await store.rotations.fail(claim.intent, FAILING, now=later(1), events=[an_event()]) == replaced

    assert await store.grants.get(grant.id) == replaced
    assert await store.rotations.intent(claim.intent.id) == (claim.intent, FAILING.error)
    assert await written_events(store) == []
    assert isinstance(await asked(store, replaced, "refresher-2"), Claim)


async def test_a_failure_of_an_intent_that_was_taken_over_touches_no_grant(store: Store) -> None:
    """Between a look at the intent and the write others may end it, and succeed."""
    grant = await granted(store)
    claim = await claimed(store, grant)
    await store.rotations.release(claim.intent, "holder_gone", later(1))

    assert await store.rotations.fail(claim.intent, FAILING, now=later(2), events=[an_event()]) is None

    assert await store.grants.get(grant.id) == grant
    assert await written_events(store) == []


async def test_a_doubt_stays_until_a_commit_ends_it(store: Store) -> None:
    grant = await granted(store)
    claim = await claimed(store, grant)
    doubtful = replace(FAILING, unsure_since=later(1))
    failed = await store.rotations.fail(claim.intent, doubtful, now=later(2), events=())
    assert failed is not None
    assert failed.unsure_since == later(1)

    landed = await committed(store, (await claimed(store, failed)).intent)

    assert landed is not None
    assert landed.unsure_since is None


async def test_a_released_claim_leaves_the_grant_as_it_was(store: Store) -> None:
    grant = await granted(store)
    claim = await claimed(store, grant)

    await store.rotations.release(claim.intent, "circuit open", later(1))

    assert await store.grants.get(grant.id) == grant
    assert await store.rotations.open_intents() == []
    assert isinstance(await asked(store, grant, "refresher-2"), Claim)


async def test_a_late_release_does_not_end_anothers_claim(store: Store) -> None:
    grant = await granted(store)
    first = await claimed(store, grant, "refresher-1")
    await store.rotations.release(first.intent, "not sent", later(1))
    second = await claimed(store, grant, "refresher-2")

    await store.rotations.release(first.intent, "again", later(2))

    assert await store.rotations.open_intents() == [second.intent]
    assert await asked(store, grant, "refresher-3") == Unclaimed(why="busy", grant=grant)


async def test_a_parked_answer_is_kept_and_never_purged(store: SqlStore) -> None:
    grant = await granted(store)
    claim = await claimed(store, grant)

    assert await store.rotations.park(claim.intent, b"sealed answer", later(1))
    await store.purge(later(10**8))

    assert await store.rotations.intent(claim.intent.id) == (claim.intent, PARKED)
    assert await store.grants.get(grant.id) == grant
    async with store._database.reading() as connection:
        kept = (await connection.execute(text("SELECT parked FROM intents"))).scalar_one()
    assert bytes(kept) == b"sealed answer"


async def test_an_answer_that_was_committed_is_not_parked(store: Store) -> None:
    """Nor does its replay end the lease that the same refresher has on the grant by now."""
    claim = await claimed(store, await granted(store))
    landed = await committed(store, claim.intent)
    assert landed is not None
    await claimed(store, landed)

    assert not await store.rotations.park(claim.intent, b"sealed answer", later(3))

    refused = await asked(store, landed, "refresher-3")
    assert isinstance(refused, Unclaimed)
    assert refused.why == "busy"


async def test_open_intents_are_found_by_holder(store: Store) -> None:
    first, second = [
        (await claimed(store, await granted(store, owner=owner), holder)).intent
        for owner, holder in (("ada", "refresher-1"), ("bob", "refresher-2"))
    ]

    assert {intent.id for intent in await store.rotations.open_intents()} == {first.id, second.id}
    assert await store.rotations.open_intents(holder="refresher-2") == [second]


async def test_an_unknown_intent_is_none(store: Store) -> None:
    assert await store.rotations.intent(IntentId("nothing")) is None
