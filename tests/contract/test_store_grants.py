"""Grants are found, announced once when due, and revoked for good."""

import asyncio

from contract.stores import NOW, a_renewal, an_event, claimed, granted, later, written_events
from sqlalchemy import text

from shared.adapters.sql.store import SqlStore, migrate
from shared.model import GrantId, GrantState, Owner, ServiceName
from shared.ports import Failure, Store, Unclaimed


async def test_a_grant_comes_back_as_it_was(store: Store) -> None:
    grant = await granted(store)

    assert await store.grants.get(grant.id) == grant
    assert await store.grants.find(grant.service, grant.owner) == grant


async def test_an_unknown_grant_is_none(store: Store) -> None:
    assert await store.grants.get(GrantId("nothing")) is None
    assert await store.grants.find(ServiceName("time-tracker"), Owner("nobody")) is None


async def test_grants_are_selected_by_service_and_owner(store: Store) -> None:
    tracker = await granted(store)
    slack = await granted(store, service=ServiceName("slack-post"))
    bobs = await granted(store, owner=Owner("bob"))

    assert await store.grants.select() == [slack, tracker, bobs]
    assert await store.grants.select(service=ServiceName("time-tracker")) == [tracker, bobs]
    assert await store.grants.select(owner=Owner("ada")) == [slack, tracker]
    assert await store.grants.select(service=ServiceName("slack-post"), owner=Owner("bob")) == []


async def test_due_grants_are_announced_oldest_first_and_once(store: Store) -> None:
    second = await granted(store, owner=Owner("second"), refresh_at=later(-10))
    first = await granted(store, owner=Owner("first"), refresh_at=later(-20))
    await granted(store, owner=Owner("not due"), refresh_at=later(1))
    await granted(store, owner=Owner("never due"), refresh_at=None)

    assert await store.grants.claim_due(NOW, later(60), 10) == [first, second]
    assert await store.grants.claim_due(later(0.5), later(60), 10) == []


async def test_only_refreshable_states_are_due(store: Store) -> None:
    for state in GrantState:
        await granted(store, owner=Owner(state.value), state=state)

    due = await store.grants.claim_due(NOW, later(60), 10)

    expected = {GrantState.ACTIVE, GrantState.REFRESH_FAILING, GrantState.UNKNOWN}
    assert {grant.state for grant in due} == expected


async def test_a_grant_is_announced_again_when_nothing_became_of_it(store: Store) -> None:
    grant = await granted(store)
    await store.grants.claim_due(NOW, later(60), 10)

    assert await store.grants.claim_due(later(60), later(120), 10) == [grant]


async def test_a_grant_in_doubt_is_announced_again_sooner(store: Store) -> None:
    sure = await granted(store, owner=Owner("sure"))
    unsure = await granted(store, owner=Owner("unsure"), unsure_since=later(-5))
    assert await store.grants.claim_due(NOW, later(60), 10, unsure_until=later(10)) == [sure, unsure]

    assert await store.grants.claim_due(later(10), later(120), 10) == [unsure]
    assert await store.grants.claim_due(later(60), later(120), 10) == [sure]


async def test_a_limit_leaves_the_rest_for_later(store: Store) -> None:
    for number in range(5):
        await granted(store, owner=Owner(f"owner-{number}"))

    batches = [len(await store.grants.claim_due(NOW, later(60), 2)) for _ in range(4)]

    assert batches == [2, 2, 1, 0]


async def test_schedulers_at_once_announce_each_grant_once(store: Store, other_store: Store) -> None:
    grants = [await granted(store, owner=Owner(f"owner-{number}")) for number in range(40)]

    batches = await asyncio.gather(
        *((store, other_store)[number % 2].grants.claim_due(NOW, later(60), 7) for number in range(8))
    )

    announced = [grant.id for batch in batches for grant in batch]
    remaining = [grant.id for grant in await store.grants.claim_due(NOW, later(60), 100)]
    assert sorted(announced + remaining) == sorted(grant.id for grant in grants)


async def test_a_rotation_and_a_failure_let_a_grant_be_announced_again(store: Store) -> None:
    grant = await granted(store)
    await store.grants.claim_due(NOW, later(1000), 10)
    failure = Failure(state=GrantState.REFRESH_FAILING, error="server_error", refresh_at=later(10))
    await store.rotations.fail((await claimed(store, grant)).intent, failure, now=NOW, events=())
    assert [found.id for found in await store.grants.claim_due(later(10), later(1000), 10)] == [grant.id]

    await store.rotations.commit(
        (await claimed(store, grant)).intent,
        expected_generation=1,
        expected_fingerprint=b"fingerprint 1",
        renewal=a_renewal(refresh_at=later(20)),
        now=NOW,
        events=(),
    )
    assert [found.id for found in await store.grants.claim_due(later(20), later(1000), 10)] == [grant.id]


async def test_a_due_grant_is_found_by_its_index(store: SqlStore, store_url: str) -> None:
    """Without it a scheduler would read every grant there is, every second."""
    query = (
        "SELECT id FROM grants WHERE state IN ('active', 'refresh_failing', 'unknown')"
        " AND refresh_at <= '2026-01-01 00:00:00' ORDER BY refresh_at LIMIT 10"
    )
    explain = "EXPLAIN QUERY PLAN " if store_url.startswith("sqlite") else "EXPLAIN "
    async with store._database.reading() as connection:
        plan = (await connection.execute(text(explain + query))).all()

    assert "ix_grants_refresh_at" in str(plan)


async def test_a_revoked_grant_keeps_no_secret_and_is_never_due(store: Store) -> None:
    grant = await granted(store)
    event = an_event()

    revoked = await store.grants.revoke(grant.id, later(1), [event])

    assert revoked is not None
    assert (revoked.state, revoked.generation) == (GrantState.REVOKED, grant.generation + 1)
    assert (revoked.sealed_credential, revoked.credential_fingerprint, revoked.sealed_token) == (
        None,
        b"",
        None,
    )
    assert (revoked.token_expires_at, revoked.refresh_at, revoked.updated_at) == (None, None, later(1))
    assert await store.grants.get(grant.id) == revoked
    assert await written_events(store) == [event]


async def test_grants_are_counted_by_state(store: Store) -> None:
    assert await store.grants.count() == {}
    revoked = await granted(store)
    await store.grants.revoke(revoked.id, NOW, [])
    await granted(store, id=GrantId("another"), owner=Owner("grace"))
    assert await store.grants.count() == {GrantState.REVOKED: 1, GrantState.ACTIVE: 1}


async def test_revoked_grants_are_found_by_when_they_were_revoked(store: Store) -> None:
    grant = await granted(store)
    assert await store.grants.revoked_since(NOW) == []
    revoked = await store.grants.revoke(grant.id, later(1), [])
    assert await store.grants.revoked_since(later(1)) == [revoked]
    assert await store.grants.revoked_since(later(2)) == []


async def test_a_grant_is_revoked_once(store: Store) -> None:
    grant = await granted(store)
    revoked = await store.grants.revoke(grant.id, NOW, [an_event()])

    assert await store.grants.revoke(grant.id, NOW, [an_event()]) is None
    assert await store.grants.revoke(GrantId("nothing"), NOW, [an_event()]) is None
    assert await store.grants.get(grant.id) == revoked
    assert len(await written_events(store)) == 1


async def test_a_revocation_beats_the_rotation_under_way(store: Store) -> None:
    grant = await granted(store)
    claim = await claimed(store, grant)
    revoked = await store.grants.revoke(grant.id, NOW, [])

    landed = await store.rotations.commit(
        claim.intent,
        expected_generation=grant.generation,
        expected_fingerprint=grant.credential_fingerprint,
        renewal=a_renewal(),
        now=NOW,
        events=[],
    )

    assert landed is None
    assert await store.grants.get(grant.id) == revoked
    refused = await store.rotations.claim(grant.id, 2, holder="r", now=later(500), lease_until=later(600))
    assert isinstance(refused, Unclaimed)
    assert refused.why == "state"


async def test_a_scheduler_does_not_wait_for_another(database_url: str) -> None:
    """PostgreSQL alone: SQLite has one writer at a time, and no row locks to skip."""
    migrate(database_url)
    store = SqlStore.open(database_url)
    held = await granted(store, owner=Owner("held"))
    free = await granted(store, owner=Owner("free"))

    async with store._database.writing() as connection:
        lock = text("SELECT id FROM grants WHERE id = :id FOR UPDATE")
        await connection.execute(lock, {"id": held.id})
        async with asyncio.timeout(5):
            due = await store.grants.claim_due(NOW, later(60), 10)

    await store.close()
    assert due == [free]
