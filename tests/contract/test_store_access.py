"""Consents, revocations and admin tokens: who may come in."""

import asyncio
from dataclasses import replace

from contract.stores import NOW, later

from shared.model import Owner, Revocation, RevocationKind, ServiceName
from shared.ports import Consent, Store

CONSENT = Consent(
    state_hash=b"\x00hash of state",
    service=ServiceName("slack-post"),
    owner=Owner("ada"),
    sealed_verifier=b"sealed verifier",
    redirect_uri="https://vault.example/v1/oauth/callback",
    browser_hash=b"hash of cookie",
    expires_at=later(600),
)


async def test_a_consent_is_taken_once(store: Store) -> None:
    await store.consents.add(CONSENT)

    assert await store.consents.take(CONSENT.state_hash, NOW) == CONSENT
    assert await store.consents.take(CONSENT.state_hash, NOW) is None


async def test_of_concurrent_callbacks_exactly_one_gets_the_consent(store: Store, other_store: Store) -> None:
    await store.consents.add(CONSENT)

    found = await asyncio.gather(
        *((store, other_store)[n % 2].consents.take(CONSENT.state_hash, NOW) for n in range(6))
    )

    assert [consent for consent in found if consent is not None] == [CONSENT]


async def test_an_expired_or_unknown_consent_is_none(store: Store) -> None:
    await store.consents.add(CONSENT)

    assert await store.consents.take(CONSENT.state_hash, CONSENT.expires_at) is None
    assert await store.consents.take(b"nothing", NOW) is None


async def test_the_later_of_two_revocations_stays(store: Store) -> None:
    early = Revocation(kind=RevocationKind.AGENT, subject="tracker", revoked_at=NOW)
    late = replace(early, revoked_at=later(0.000001))

    for revocation in (early, late, early):
        await store.revocations.add(revocation)

    assert await store.revocations.since(NOW) == [late]


async def test_revocations_are_told_since_a_moment_oldest_first(store: Store) -> None:
    everything = Revocation(kind=RevocationKind.ALL, subject="", revoked_at=later(2))
    session = Revocation(kind=RevocationKind.SESSION, subject="tracker", revoked_at=later(1))
    agent = Revocation(kind=RevocationKind.AGENT, subject="tracker", revoked_at=NOW)
    for revocation in (everything, session, agent):
        await store.revocations.add(revocation)

    assert await store.revocations.since(NOW) == [agent, session, everything]
    assert await store.revocations.since(later(1)) == [session, everything]
    assert await store.revocations.since(later(2.5)) == []


async def test_an_admin_token_is_known_by_its_hash_alone(store: Store) -> None:
    assert not await store.admins.any()

    await store.admins.add("first", b"\x01hash", NOW)
    await store.admins.add("first", b"\x01hash", NOW)

    assert await store.admins.any()
    assert await store.admins.named(b"\x01hash") == "first"
    assert await store.admins.named(b"\x01has") is None
