"""Bringing everything under new keys loses nothing, overwrites nothing newer, and may be interrupted."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from builders import a_provider
from contract.stores import NOW, a_grant, an_enrolment, claimed
from integration.refreshing import Vault

from dispenser import rewrap
from dispenser.rewrap import BATCH_ROWS, cached_by_key, rewrap_cache, rewrap_column
from dispenser.testing import Emulator
from shared import envelope, keyring
from shared.adapters.memory_cache import MemoryCache
from shared.adapters.sql.store import SqlStore, migrate
from shared.cache_keys import TOMBSTONE, token_key
from shared.errors import KeyMissing
from shared.keyring import Keyring
from shared.model import (
    AccessToken,
    EnrolmentId,
    EnrolmentState,
    Grant,
    GrantId,
    Owner,
    ProviderSecrets,
    RefreshToken,
    SealedColumn,
)
from shared.ports import Consent, Declared
from shared.secret import Secret

MOMENT = datetime(2026, 11, 24, 8, tzinfo=UTC)
SEALED = RefreshToken(value=Secret("rt"), client=a_provider().client)


class Keys:
    """A keyring before, during and after a rotation of every use."""

    def __init__(self) -> None:
        before = keyring.generate(MOMENT)
        later = MOMENT + timedelta(hours=1)
        fresh = [keyring.new_key(use, made=MOMENT, current_from=later) for use in keyring.USES]
        self.old = keyring.parse(json.dumps(before))
        self.both = keyring.parse(json.dumps({**before, "keys": [*before["keys"], *fresh]}))
        self.new = keyring.parse(json.dumps({**before, "keys": fresh}))


@pytest.fixture(scope="module")
def keys() -> Keys:
    return Keys()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    url = f"sqlite:///{tmp_path / 'vault.db'}"
    migrate(url)
    store = SqlStore.open(url)
    yield store
    await store.close()


@pytest.fixture
def cache() -> MemoryCache:
    return MemoryCache(lambda: MOMENT)


def a_token(grant: Grant) -> AccessToken:
    return AccessToken(
        value=Secret(f"token of {grant.owner}"),
        token_type="Bearer",
        scopes=("tasks:write",),
        issued_at=MOMENT,
        expires_at=None,
        generation=grant.generation,
        grant_id=grant.id,
    )


async def put_grant(store: SqlStore, keys: Keyring, owner: str) -> Grant:
    grant = a_grant(id=GrantId(f"grant-{owner}"), owner=Owner(owner), generation=3)
    grant = replace(
        grant,
        sealed_credential=envelope.seal_credential(keys, grant.id, grant.owner, 3, SEALED),
        sealed_token=envelope.seal_token(keys, grant.service, grant.owner, a_token(grant)),
    )
    assert await store.enrolments.succeed(EnrolmentId("none"), grant, MOMENT, ())
    return grant


async def put_grants(store: SqlStore, keys: Keyring, number: int) -> list[Grant]:
    return [await put_grant(store, keys, f"owner-{one:04}") for one in range(number)]


async def put_one_of_each(store: SqlStore, keys: Keyring) -> Grant:
    provider, enrolment = a_provider(), an_enrolment(id=EnrolmentId("e"))
    sealed = envelope.seal_provider_secrets(keys, provider, ProviderSecrets(client_secrets=(Secret("cs"),)))
    await store.catalogue.apply(Declared(providers=[(provider, sealed)]), MOMENT)
    grant = await put_grant(store, keys, "ada")
    parked = envelope.seal_spooled(keys, grant.id, grant.owner, 3, b"answer")
    await store.rotations.park((await claimed(store, grant)).intent, parked, NOW)
    presented = envelope.seal_enrolment(keys, enrolment.id, enrolment.service, enrolment.owner, SEALED)
    await store.enrolments.add(replace(enrolment, sealed=presented))
    consent = Consent(
        state_hash=b"state",
        service=grant.service,
        owner=grant.owner,
        sealed_verifier=envelope.seal_verifier(
            keys, b"state", grant.service, grant.owner, Secret("verifier"), provider.client
        ),
        redirect_uri="https://vault.example/callback",
        browser_hash=b"browser",
        expires_at=MOMENT + timedelta(days=1),
    )
    await store.consents.add(consent)
    await store.grants.revoke((await put_grant(store, keys, "gone")).id, MOMENT, ())
    await store.transport_keys.add(7, envelope.seal_transport_key(keys, 7, b"material"), MOMENT)
    return grant


async def rewrap_all(store: SqlStore, keys: Keyring) -> None:
    for column in SealedColumn:
        assert await rewrap_column(store.sealed, keys, column, lambda _: None) == []


async def under_old_keys(store: SqlStore, keys: Keys) -> int:
    counted = await store.sealed.count()
    old = set(keys.old.primary.values())
    return sum(rows for by_key in counted.values() for key_id, rows in by_key.items() if key_id in old)


async def test_everything_opens_with_the_new_keys_alone(store, keys):
    provider = a_provider()
    grant_id = (await put_one_of_each(store, keys.old)).id
    assert await under_old_keys(store, keys) == len(SealedColumn)
    await rewrap_all(store, keys.both)
    assert await under_old_keys(store, keys) == 0

    new, grant = keys.new, await store.grants.get(grant_id)
    assert envelope.open_credential(new, grant) == SEALED
    assert envelope.open_token(new, grant.service, grant.owner, grant.sealed_token) == a_token(grant)
    secrets = await store.catalogue.provider_secrets(provider.name)
    assert envelope.open_provider_secrets(new, provider, secrets).client_secrets == (Secret("cs"),)
    [handback_id] = await store.handbacks.pending(MOMENT, 2)
    handback = await store.handbacks.take(handback_id, holder="refresher", now=MOMENT, until=MOMENT)
    assert envelope.open_handback(new, handback) == SEALED
    [parked] = await store.sealed.page(SealedColumn.PARKED, after=None, limit=2)
    assert envelope.open_spooled(new, grant.id, grant.owner, 3, parked.sealed) == b"answer"
    enrolment = await store.enrolments.get(EnrolmentId("e"))
    place = (enrolment.id, enrolment.service, enrolment.owner)
    assert envelope.open_enrolment(new, *place, enrolment.sealed) == SEALED
    consent = await store.consents.take(b"state", MOMENT)
    opened = envelope.open_verifier(new, b"state", consent.service, consent.owner, consent.sealed_verifier)
    assert opened == (Secret("verifier"), provider.client)
    assert envelope.open_transport_key(new, 7, (await store.transport_keys.load())[7]) == b"material"


async def test_nothing_else_of_a_grant_changes(store, keys):
    before = await put_one_of_each(store, keys.old)
    await rewrap_all(store, keys.both)
    after = await store.grants.get(before.id)
    assert after == replace(
        before, sealed_credential=after.sealed_credential, sealed_token=after.sealed_token
    )


async def test_one_that_was_interrupted_goes_on_where_it_was(store, keys):
    await put_grants(store, keys.old, 2 * BATCH_ROWS + 50)
    told: list[int] = []

    def interrupted(rows: int) -> None:
        told.append(rows)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await rewrap_column(store.sealed, keys.both, SealedColumn.CREDENTIALS, interrupted)
    assert told == [BATCH_ROWS]
    done = {row.id: row.sealed for row in await _page(store) if _is_new(row.sealed, keys)}
    assert len(done) == BATCH_ROWS

    await rewrap_column(store.sealed, keys.both, SealedColumn.CREDENTIALS, told.append)
    assert told == [BATCH_ROWS, BATCH_ROWS, 50]
    after = {row.id: row.sealed for row in await _page(store)}
    assert all(_is_new(sealed, keys) for sealed in after.values())
    assert done.items() <= after.items()  # what was done is not done again


async def _page(store: SqlStore) -> list[Any]:
    return await store.sealed.page(SealedColumn.CREDENTIALS, after=None, limit=10_000)


def _is_new(sealed: bytes, keys: Keys) -> bool:
    return envelope.key_id(sealed) == keys.new.primary_id("grant")


async def test_a_row_that_does_not_open_is_told_of_and_stays_while_the_rest_goes_on(store, keys):
    grants = await put_grants(store, keys.old, 3)
    [_, broken, _] = await _page(store)
    altered = broken.sealed[:-1] + bytes([broken.sealed[-1] ^ 1])
    await store.sealed.swap([(broken, altered)])
    unopened = await rewrap_column(store.sealed, keys.both, SealedColumn.CREDENTIALS, lambda _: None)
    assert unopened == [grants[1].id]
    assert [_is_new(row.sealed, keys) for row in await _page(store)] == [True, False, True]


async def test_a_row_moved_to_another_owner_is_not_sealed_for_it(store, keys):
    await put_grants(store, keys.old, 2)
    first, second = await _page(store)
    await store.sealed.swap([(first, second.sealed)])
    assert await rewrap_column(store.sealed, keys.both, SealedColumn.CREDENTIALS, lambda _: None) == [
        first.id
    ]


async def test_two_at_once_do_no_harm(store, keys, monkeypatch):
    await put_grants(store, keys.old, 20)
    monkeypatch.setattr(rewrap, "BATCH_ROWS", 3)
    other_ran, page = False, store.sealed.page

    async def page_and_then_the_other(*arguments: Any, **named: Any) -> Any:
        nonlocal other_ran
        found = await page(*arguments, **named)
        if not other_ran:
            other_ran = True
            await rewrap_column(store.sealed, keys.both, SealedColumn.CREDENTIALS, lambda _: None)
        return found

    monkeypatch.setattr(store.sealed, "page", page_and_then_the_other)
    assert await rewrap_column(store.sealed, keys.both, SealedColumn.CREDENTIALS, lambda _: None) == []
    for grant in await store.grants.select():
        assert envelope.open_credential(keys.new, grant) == SEALED


@pytest.mark.parametrize("role", ["serve", "gateway"])
async def test_a_role_that_cannot_open_grants_rewraps_none(store, keys, role):
    await put_grants(store, keys.old, 1)
    document = keyring.generate(MOMENT)
    held = keyring.parse(json.dumps(keyring.for_role(document, role)))
    if role == "serve":
        with pytest.raises(KeyMissing):
            await rewrap_column(store.sealed, held, SealedColumn.CREDENTIALS, lambda _: None)
    else:
        assert len(await rewrap_column(store.sealed, held, SealedColumn.CREDENTIALS, lambda _: None)) == 1
    assert await under_old_keys(store, keys) == 2


async def test_cached_tokens_come_under_the_new_key_and_tombstones_stay(store, cache, keys):
    live, revoked, uncached = await put_grants(store, keys.old, 3)
    for grant, value in ((live, live.sealed_token), (revoked, TOMBSTONE)):
        await cache.put_if_newer(token_key(grant.service, grant.owner), 3, value, None)
    assert await cached_by_key(store.sealed, cache) == {keys.old.primary_id("cache"): 1}

    await rewrap_cache(store.sealed, cache, keys.both, lambda _: None)
    assert await cached_by_key(store.sealed, cache) == {keys.new.primary_id("cache"): 1}
    places = [token_key(grant.service, grant.owner) for grant in (live, revoked, uncached)]
    token, tombstone, nothing = await cache.get_many(places)
    assert envelope.open_token(keys.new, live.service, live.owner, token) == a_token(live)
    assert (tombstone, nothing) == (TOMBSTONE, None)


async def test_garbage_in_the_cache_is_left_to_its_end(store, cache, keys):
    [grant] = await put_grants(store, keys.old, 1)
    place = token_key(grant.service, grant.owner)
    await cache.put_if_newer(place, 9, b"garbage", None)
    await rewrap_cache(store.sealed, cache, keys.both, lambda _: None)
    assert await cache.get_many([place]) == [b"garbage"]


async def test_a_refresher_works_on_through_a_rotation_and_without_the_old_key(tmp_path, keys):
    with Emulator() as emulator:
        vault = Vault(tmp_path, emulator)
        vault.keys = keyring.parse(json.dumps(keyring.generate()))
        vault.keys.become(keys.old)
        await vault.open()
        try:
            await vault.declare()
            await vault.refresher()
            assert (await vault.connect()).state is EnrolmentState.DONE
            vault.keys.become(keys.both)
            await vault.ask(1)
            grant = await vault.grant()
            assert envelope.key_id(grant.sealed_credential) == keys.new.primary_id("grant")
            await rewrap_all(vault.store, keys.both)
            vault.keys.become(keys.new)
            await vault.ask(2)
            assert (await vault.grant()).generation == 3
            assert (await vault.token()).generation == 3
        finally:
            await vault.close()
