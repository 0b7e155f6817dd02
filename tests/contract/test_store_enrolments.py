"""A credential is redeemed by one refresher, and a grant never goes back."""

import asyncio
from datetime import datetime

import pytest
from contract.stores import NOW, a_grant, an_enrolment, an_event, claimed, granted, later, written_events

from shared.errors import VaultError
from shared.model import Enrolment, EnrolmentId, EnrolmentState, GrantId, GrantState, Owner
from shared.ports import Claim, Store


async def presented(store: Store, **changes: object) -> Enrolment:
    enrolment = an_enrolment(**changes)
    await store.enrolments.add(enrolment)
    return enrolment


async def taken(
    store: Store, enrolment: Enrolment, holder: str, *, at: float = 0.0, over: datetime | None = None
) -> Enrolment | None:
    return await store.enrolments.take(
        enrolment.id, holder=holder, now=later(at), until=later(at + 60), over=over
    )


async def test_an_enrolment_comes_back_as_it_was(store: Store) -> None:
    enrolment = await presented(store)

    assert await store.enrolments.get(enrolment.id) == enrolment
    assert await store.enrolments.get(EnrolmentId("nothing")) is None


async def test_an_enrolment_is_added_once(store: Store) -> None:
    enrolment = await presented(store)

    with pytest.raises(VaultError):
        await store.enrolments.add(enrolment)


async def test_of_concurrent_takers_exactly_one_gets_it(store: Store, other_store: Store) -> None:
    enrolment = await presented(store)

    found = await asyncio.gather(
        *(taken((store, other_store)[n % 2], enrolment, f"refresher-{n}") for n in range(8))
    )

    assert [got for got in found if got is not None] == [enrolment]


async def test_one_refresher_does_not_take_it_twice_at_once(store: Store) -> None:
    """A message may be delivered twice, and a code redeemed twice is refused with all it gave."""
    enrolment = await presented(store)

    assert await taken(store, enrolment, "refresher-1") == enrolment
    assert await taken(store, enrolment, "refresher-1") is None


async def test_an_enrolment_is_taken_again_by_its_holder_after_its_lease(store: Store) -> None:
    enrolment = await presented(store)
    await taken(store, enrolment, "refresher-1")

    assert await taken(store, enrolment, "refresher-1", at=59) is None
    assert await taken(store, enrolment, "refresher-1", at=60) == enrolment


async def test_others_take_it_once_its_lease_is_known_to_be_over(store: Store) -> None:
    """Its holder may have an answer that the database did not take yet."""
    enrolment = await presented(store)
    await taken(store, enrolment, "refresher-1")

    assert await store.enrolments.lapsed(later(59)) == {}
    assert await store.enrolments.lapsed(later(60)) == {enrolment.id: later(60)}
    assert await taken(store, enrolment, "refresher-2", at=60) is None
    assert await taken(store, enrolment, "refresher-2", at=60, over=later(61)) is None
    assert await taken(store, enrolment, "refresher-2", at=60, over=later(60)) == enrolment


async def test_an_expired_or_unknown_enrolment_is_not_taken(store: Store) -> None:
    enrolment = await presented(store, expires_at=later(10))

    assert await taken(store, enrolment, "refresher-1", at=10) is None
    assert await taken(store, an_enrolment(), "refresher-1") is None


async def test_pending_are_those_that_nobody_holds_oldest_first(store: Store) -> None:
    young = await presented(store, created_at=later(-1))
    old = await presented(store, created_at=later(-2))
    await presented(store, created_at=later(-3), expires_at=NOW)
    held = await presented(store, created_at=later(-4))
    await taken(store, held, "refresher-1")
    ended = await presented(store)
    await store.enrolments.fail(ended.id, "invalid_grant", NOW)

    assert await store.enrolments.pending(NOW, 10) == [old.id, young.id]
    assert await store.enrolments.pending(NOW, 1) == [old.id]
    assert await store.enrolments.pending(later(60), 10) == [held.id, old.id, young.id]


async def test_success_stores_the_grant_and_wipes_what_was_presented(store: Store) -> None:
    enrolment, grant, event = await presented(store), a_grant(), an_event()
    await taken(store, enrolment, "refresher-1")

    assert await store.enrolments.succeed(enrolment.id, grant, NOW, [event])

    assert await store.grants.get(grant.id) == grant
    ended = await store.enrolments.get(enrolment.id)
    assert ended is not None
    assert (ended.state, ended.sealed, ended.error) == (EnrolmentState.DONE, None, None)
    assert await written_events(store) == [event]
    assert await taken(store, enrolment, "refresher-2", at=300) is None


async def test_success_replaces_the_grant_of_the_same_service_and_owner_whole(store: Store) -> None:
    before = await granted(store, state=GrantState.REAUTH_REQUIRED, failures=9, last_error="invalid_grant")
    await store.grants.claim_due(NOW, later(1000), 10)
    after = a_grant(id=before.id, generation=2, sealed_token=b"new", created_at=later(1))

    assert await store.enrolments.succeed((await presented(store)).id, after, NOW, ())

    assert await store.grants.select() == [after]
    assert await store.grants.claim_due(NOW, later(60), 10) == [after]


@pytest.mark.parametrize("generation", [4, 5])
async def test_a_grant_never_goes_back(store: Store, generation: int) -> None:
    before = await granted(store, generation=5)
    enrolment = await presented(store)
    stale = a_grant(id=before.id, generation=generation, sealed_token=b"stale")

    assert not await store.enrolments.succeed(enrolment.id, stale, NOW, [an_event()])

    assert await store.grants.get(before.id) == before
    assert await store.enrolments.get(enrolment.id) == enrolment
    assert await written_events(store) == []


async def test_a_grant_keeps_its_id(store: Store) -> None:
    before = await granted(store)

    assert not await store.enrolments.succeed((await presented(store)).id, a_grant(generation=2), NOW, ())
    assert await store.grants.select() == [before]


async def test_an_id_is_of_one_service_and_owner(store: Store) -> None:
    before = await granted(store)

    with pytest.raises(VaultError):
        await store.enrolments.succeed(
            EnrolmentId("none"), a_grant(id=before.id, owner=Owner("bob"), generation=2), NOW, ()
        )
    assert await store.grants.select() == [before]


async def test_of_concurrent_first_connections_exactly_one_makes_the_grant(
    store: Store, other_store: Store
) -> None:
    grants = [a_grant(id=GrantId(f"rival-{number}")) for number in range(6)]
    enrolments = [await presented(store) for _ in grants]

    won = await asyncio.gather(
        *(
            (store, other_store)[number % 2].enrolments.succeed(enrolment.id, grant, NOW, ())
            for number, (enrolment, grant) in enumerate(zip(enrolments, grants, strict=True))
        )
    )

    assert await store.grants.select() == [grants[won.index(True)]]
    assert sum(won) == 1


async def test_a_connection_ends_the_lease_of_the_rotation_it_overtakes(store: Store) -> None:
    grant = await granted(store)
    overtaken = await claimed(store, grant, "refresher-1")
    replaced = await granted(store, id=grant.id, generation=2)
    await store.rotations.park(overtaken.intent, b"sealed answer", NOW)

    assert isinstance(await claimed(store, replaced, "refresher-2"), Claim)


async def test_failure_wipes_what_was_presented_and_leaves_the_grant(store: Store) -> None:
    grant, enrolment = await granted(store), await presented(store)

    await store.enrolments.fail(enrolment.id, "invalid_grant", NOW)

    ended = await store.enrolments.get(enrolment.id)
    assert ended is not None
    assert (ended.state, ended.sealed, ended.error) == (EnrolmentState.FAILED, None, "invalid_grant")
    assert await store.grants.get(grant.id) == grant


async def test_what_a_provider_issued_is_kept_though_the_enrolment_was_given_up(store: Store) -> None:
    enrolment, grant = await presented(store), a_grant()
    await store.enrolments.fail(enrolment.id, "invalid_grant", NOW)

    assert await store.enrolments.succeed(enrolment.id, grant, NOW, ())

    await store.enrolments.fail(enrolment.id, "late", NOW)
    ended = await store.enrolments.get(enrolment.id)
    assert ended is not None
    assert (ended.state, ended.error) == (EnrolmentState.DONE, None)
    assert await store.grants.get(grant.id) == grant
