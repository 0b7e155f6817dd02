"""Every sealed value is counted by its key, read in pages, and swapped only where it still lies."""

import os
from dataclasses import replace

import pytest
from builders import a_provider
from contract.stores import NOW, a_renewal, an_enrolment, claimed, granted, later
from sqlalchemy import LargeBinary

from shared.adapters.sql.sealed import _PLACES
from shared.adapters.sql.tables import metadata
from shared.model import GrantId, Owner, ProviderName, SealedColumn, ServiceName
from shared.ports import Consent, Declared, Store

OLD, NEW = "0f" * 8, "f0" * 8
#: Bytes that are not sealed: hashes, fingerprints, and the audit's tree.
PLAIN = {
    "grants.credential_fingerprint",
    "intents.fingerprint",
    "consents.state_hash",
    "consents.browser_hash",
    "admins.token_hash",
    "audit_tiles.hashes",
}


def sealed(key_id: str = OLD) -> bytes:
    """Looks like an envelope."""
    return bytes([1, 2]) + bytes.fromhex(key_id) + os.urandom(24)


async def fill(store: Store, key_id: str = OLD) -> None:
    """One row in every sealed column."""
    provider = a_provider()
    await store.catalogue.apply(Declared(providers=[(provider, sealed(key_id))]), NOW)
    grant = await granted(store, sealed_credential=sealed(key_id), sealed_token=sealed(key_id))
    await store.rotations.park((await claimed(store, grant)).intent, sealed(key_id), NOW)
    await store.enrolments.add(an_enrolment(sealed=sealed(key_id)))
    await store.consents.add(
        Consent(
            state_hash=b"state",
            service=ServiceName("time-tracker"),
            owner=Owner("ada"),
            sealed_verifier=sealed(key_id),
            redirect_uri="https://vault.example/v1/oauth/callback",
            browser_hash=b"browser",
            expires_at=later(600),
        )
    )
    await store.transport_keys.add(20_000, sealed(key_id), later(86_400))
    gone = await granted(store, owner=Owner("gone"), sealed_credential=sealed(key_id))
    await store.grants.revoke(gone.id, NOW, [])


async def tokens(store: Store, number: int, key_id: str = OLD) -> None:
    for owner in range(number):
        await granted(store, owner=Owner(f"owner-{owner:03}"), sealed_token=sealed(key_id))


def test_every_column_of_bytes_is_sealed_or_known_to_be_plain():
    bytes_columns = {
        f"{table.name}.{column.name}"
        for table in metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, LargeBinary)
    }
    assert bytes_columns - PLAIN == {column.value for column in SealedColumn}
    assert {f"{place.column.table.name}.{place.column.name}" for place in _PLACES.values()} == set(
        SealedColumn
    )


async def test_an_empty_store_needs_no_key(store: Store):
    assert await store.sealed.count() == {column: {} for column in SealedColumn}


async def test_rows_are_counted_by_the_key_that_sealed_them(store: Store):
    await fill(store)
    assert await store.sealed.count() == {column: {OLD: 1} for column in SealedColumn}
    await tokens(store, 2, NEW)
    assert (await store.sealed.count())[SealedColumn.TOKENS] == {OLD: 1, NEW: 2}


@pytest.mark.parametrize("column", SealedColumn)
async def test_a_row_of_any_column_is_found_and_swapped(store: Store, column: SealedColumn):
    await fill(store)
    [row] = await store.sealed.page(column, after=None, limit=10, other_than=NEW)
    assert await store.sealed.swap([(row, sealed(NEW))]) == 1
    assert await store.sealed.page(column, after=None, limit=10, other_than=NEW) == []
    counted = await store.sealed.count()
    assert counted.pop(column) == {NEW: 1}
    assert all(counts == {OLD: 1} for counts in counted.values())


async def test_what_an_envelope_is_bound_to_comes_with_its_row(store: Store):
    await fill(store)
    bound = {}
    for column in SealedColumn:
        [row] = await store.sealed.page(column, after=None, limit=1)
        bound[column] = row.bound_to
    [grant] = await store.grants.select(owner=Owner("ada"))
    [gone] = await store.grants.select(owner=Owner("gone"))
    provider = a_provider()
    assert bound == {
        SealedColumn.PROVIDER_SECRETS: (provider.name, provider.token_url, provider.client_id, ""),
        SealedColumn.CREDENTIALS: (grant.id, "ada"),
        SealedColumn.TOKENS: ("time-tracker", "ada"),
        SealedColumn.PARKED: (grant.id, "ada"),
        SealedColumn.ENROLMENTS: (bound[SealedColumn.ENROLMENTS][0], "time-tracker", "ada"),
        SealedColumn.VERIFIERS: (b"state".hex(), "time-tracker", "ada"),
        SealedColumn.TRANSPORT_KEYS: (),
        SealedColumn.HANDBACKS: (gone.id, "gone"),
    }


async def test_pages_bring_every_row_once(store: Store):
    await tokens(store, 7)
    seen, after = [], None
    while page := await store.sealed.page(SealedColumn.TOKENS, after=after, limit=3, other_than=NEW):
        assert len(page) <= 3
        seen += page
        after = page[-1].id
    assert sorted(row.bound_to[1] for row in seen) == [f"owner-{number:03}" for number in range(7)]


async def test_rows_under_the_key_that_is_wanted_are_passed_over(store: Store):
    await tokens(store, 3, NEW)
    assert await store.sealed.page(SealedColumn.TOKENS, after=None, limit=10, other_than=NEW) == []
    assert len(await store.sealed.page(SealedColumn.TOKENS, after=None, limit=10)) == 3


async def test_what_a_refresher_has_committed_meanwhile_is_never_overwritten(store: Store):
    grant = await granted(store, sealed_credential=sealed(), sealed_token=sealed())
    claim = await claimed(store, grant)
    [row] = await store.sealed.page(SealedColumn.CREDENTIALS, after=None, limit=10)
    newer = a_renewal(sealed_credential=sealed(NEW), sealed_token=sealed(NEW))
    committed = await store.rotations.commit(
        claim.intent,
        expected_generation=grant.generation,
        expected_fingerprint=grant.credential_fingerprint,
        renewal=newer,
        now=NOW,
        events=(),
    )
    assert committed is not None
    assert await store.sealed.swap([(row, sealed(NEW))]) == 0
    assert await store.grants.get(grant.id) == committed


async def test_a_swap_under_a_rotation_does_not_make_it_lose(store: Store):
    grant = await granted(store, sealed_credential=sealed(), sealed_token=sealed())
    claim = await claimed(store, grant)
    [row] = await store.sealed.page(SealedColumn.CREDENTIALS, after=None, limit=10)
    assert await store.sealed.swap([(row, sealed(NEW))]) == 1
    assert await store.rotations.commit(
        claim.intent,
        expected_generation=grant.generation,
        expected_fingerprint=grant.credential_fingerprint,
        renewal=a_renewal(sealed_credential=sealed(NEW), sealed_token=sealed(NEW)),
        now=NOW,
        events=(),
    )


async def test_a_row_that_is_gone_is_not_swapped(store: Store):
    await fill(store)
    [row] = await store.sealed.page(SealedColumn.TOKENS, after=None, limit=10)
    assert await store.sealed.swap([(replace(row, id=GrantId("none")), sealed(NEW))]) == 0


async def test_a_provider_without_secrets_needs_no_key(store: Store):
    bare = a_provider(name=ProviderName("bare"))
    await store.catalogue.apply(Declared(providers=[(bare, None)]), NOW)
    assert (await store.sealed.count())[SealedColumn.PROVIDER_SECRETS] == {}
