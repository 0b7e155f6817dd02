"""What has outlived its use goes, and nothing else."""

from dataclasses import replace
from datetime import timedelta

from contract.stores import NOW, an_enrolment, claimed, granted, later
from contract.test_store_access import CONSENT

from shared.adapters.sql.purge import ENROLMENTS_KEPT, INTENTS_KEPT, REVOCATIONS_KEPT
from shared.model import Revocation, RevocationKind
from shared.ports import Store


async def test_ended_and_expired_enrolments_go(store: Store) -> None:
    ended, expired, held, fresh = (an_enrolment(expires_at=later(s)) for s in (600, 60, 60, 86_400))
    for enrolment in (ended, expired, held, fresh):
        await store.enrolments.add(enrolment)
    await store.enrolments.fail(ended.id, "invalid_grant", NOW)
    await store.enrolments.take(held.id, holder="refresher-1", now=NOW, until=later(86_400))

    assert (await store.purge(later(59)))["enrolments"] == 0
    assert (await store.purge(later(60)))["enrolments"] == 1
    assert (await store.purge(NOW + ENROLMENTS_KEPT))["enrolments"] == 1
    assert await store.enrolments.get(held.id) == held
    assert await store.enrolments.get(fresh.id) == fresh


async def test_expired_consents_go(store: Store) -> None:
    await store.consents.add(CONSENT)
    await store.consents.add(replace(CONSENT, state_hash=b"fresh", expires_at=later(9000)))

    assert (await store.purge(CONSENT.expires_at))["consents"] == 1
    assert await store.consents.take(b"fresh", NOW) is not None


async def test_closed_intents_go_after_a_while_and_open_ones_never(store: Store) -> None:
    grant = await granted(store)
    await store.rotations.release((await claimed(store, grant)).intent, "not sent", NOW)
    still_open = await claimed(store, grant)

    assert (await store.purge(NOW + INTENTS_KEPT - timedelta(microseconds=1)))["intents"] == 0
    assert (await store.purge(NOW + INTENTS_KEPT))["intents"] == 1
    assert await store.rotations.open_intents() == [still_open.intent]


async def test_revocations_outlive_every_token_they_are_about(store: Store) -> None:
    await store.revocations.add(Revocation(kind=RevocationKind.ALL, subject="", revoked_at=NOW))

    assert (await store.purge(NOW + timedelta(days=30)))["revocations"] == 0
    assert (await store.purge(NOW + REVOCATIONS_KEPT))["revocations"] == 1
