"""A revoked grant's credential waits for its provider to be told, and is gone then."""

from contract.stores import NOW, an_event, claimed, granted, later, written_events

from shared.adapters.sql.rotations import HANDED_BACK
from shared.model import Grant, GrantState, Handback, HandbackId, Owner, ServiceName
from shared.ports import Store

HOLDER = "refresher-1"


async def revoked(store: Store, **changes: object) -> HandbackId:
    grant = await granted(store, **changes)
    await store.grants.revoke(grant.id, NOW, [])
    [handback_id] = await store.handbacks.pending(NOW, 10)
    return handback_id


async def test_the_credential_is_handed_to_one_refresher_as_the_grant_had_it(store: Store) -> None:
    grant = await granted(store)
    await store.grants.revoke(grant.id, NOW, [])
    [handback_id] = await store.handbacks.pending(NOW, 10)
    taken = await store.handbacks.take(handback_id, holder=HOLDER, now=NOW, until=later(60))
    assert taken is not None
    assert (taken.grant_id, taken.service, taken.owner) == (grant.id, grant.service, grant.owner)
    assert (taken.sealed_credential, taken.generation) == (grant.sealed_credential, grant.generation)
    assert await store.handbacks.take(handback_id, holder="other", now=NOW, until=later(60)) is None
    assert await store.handbacks.pending(NOW, 10) == []


async def test_it_is_there_again_when_its_holder_has_gone_and_not_once_it_has_ended(store: Store) -> None:
    handback_id = await revoked(store)
    await store.handbacks.take(handback_id, holder=HOLDER, now=NOW, until=later(60))
    assert await store.handbacks.pending(later(60), 10) == [handback_id]
    assert await store.handbacks.take(handback_id, holder="other", now=later(60), until=later(120))
    await store.handbacks.end(handback_id)
    assert await store.handbacks.pending(later(600), 10) == []
    assert await store.handbacks.take(handback_id, holder=HOLDER, now=later(600), until=later(700)) is None


async def test_a_grant_without_a_credential_leaves_nothing_to_hand_back(store: Store) -> None:
    grant = await granted(store, sealed_credential=None)
    await store.grants.revoke(grant.id, NOW, [])
    assert await store.handbacks.pending(NOW, 10) == []


async def test_what_a_rotation_brought_once_its_grant_was_revoked_waits_too(store: Store) -> None:
    grant = await granted(store)
    intent = (await claimed(store, grant)).intent
    await store.grants.revoke(grant.id, NOW, [])
    [spent] = await store.handbacks.pending(NOW, 10)
    handback = Handback(
        id=HandbackId(intent.id),
        grant_id=grant.id,
        service=grant.service,
        owner=grant.owner,
        generation=grant.generation + 1,
        sealed_credential=b"sealed anew",
        created_at=later(1),
    )
    for _ in range(2):  # the first time's confirmation may be lost
        await store.rotations.hand_back(intent, handback, later(1))
    assert await store.handbacks.pending(later(1), 10) == [spent, handback.id]
    assert await store.handbacks.take(handback.id, holder=HOLDER, now=later(1), until=later(60)) == handback
    await store.rotations.hand_back(intent, handback, later(2))
    assert await store.handbacks.pending(later(2), 10) == [spent]
    assert await store.rotations.intent(intent.id) == (intent, HANDED_BACK)


async def three(store: Store) -> None:
    await granted(store)
    await granted(store, owner=Owner("grace"))
    await granted(store, service=ServiceName("slack-post"))


def state(grants: list[Grant]) -> set[tuple[str, str, GrantState]]:
    return {(grant.service, grant.owner, grant.state) for grant in grants}


async def test_all_of_an_owner_of_some_services_or_at_all_are_revoked_at_once(store: Store) -> None:
    await three(store)
    revoked = await store.grants.revoke_all(NOW, lambda grant: an_event(), owner=Owner("grace"))
    assert state(revoked) == {("time-tracker", "grace", GrantState.REVOKED)}
    names = [ServiceName("slack-post"), ServiceName("no-such")]
    revoked = await store.grants.revoke_all(NOW, lambda grant: an_event(), services=names)
    assert state(revoked) == {("slack-post", "ada", GrantState.REVOKED)}
    revoked = await store.grants.revoke_all(NOW, lambda grant: an_event())
    assert state(revoked) == {("time-tracker", "ada", GrantState.REVOKED)}
    assert await store.grants.revoke_all(NOW, lambda grant: an_event()) == []
    assert await store.grants.revoke_all(NOW, lambda grant: an_event(), services=[]) == []
    assert len(await store.handbacks.pending(NOW, 10)) == len(await written_events(store)) == 3
    assert all(grant.sealed_token is None for grant in await store.grants.select())
