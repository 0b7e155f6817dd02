"""Calls that are made at once share a transaction, and nothing else: each gets its own answer."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Any

import pytest
from contract.stores import NOW, a_record, a_renewal, an_event, claimed, granted, later, written_events
from sqlalchemy import select, text
from sqlalchemy.exc import StatementError

from shared import audit_line
from shared.adapters.sql.engine import Database
from shared.adapters.sql.store import SqlStore, migrate
from shared.adapters.sql.tables import grants
from shared.errors import VaultError
from shared.messages import LifecycleEvent
from shared.model import Grant, GrantId, Owner, Provider, ProviderName
from shared.ports import Claim, Declared, Store, Unclaimed

ASKED_AT_ONCE = 20
Wanted = Coroutine[Any, Any, Claim | Unclaimed | Grant | None]


async def many(store: Store, count: int = ASKED_AT_ONCE) -> list[Grant]:
    return [await granted(store, owner=Owner(f"owner-{number}")) for number in range(count)]


async def asked(store: Store, grant: Grant, holder: str = "refresher-1") -> Claim | Unclaimed:
    return await store.rotations.claim(
        grant.id, grant.generation, holder=holder, now=NOW, lease_until=later(120)
    )


async def committed(store: Store, claim: Claim, event: LifecycleEvent, at: datetime = NOW) -> Grant | None:
    return await store.rotations.commit(
        claim.intent,
        expected_generation=claim.grant.generation,
        expected_fingerprint=claim.grant.credential_fingerprint,
        renewal=a_renewal(),
        now=at,
        events=[event],
    )


async def test_claims_made_at_once_are_each_answered_for_themselves(store: Store) -> None:
    free, taken, moved, gone = await many(store, 4)
    await claimed(store, taken, "refresher-2")
    await granted(store, id=moved.id, owner=moved.owner, generation=2)

    won, busy, stale, missing, twice = await asyncio.gather(
        asked(store, free),
        asked(store, taken),
        asked(store, moved),
        store.rotations.claim(GrantId("none"), 1, holder="r", now=NOW, lease_until=later(120)),
        asked(store, free),
    )

    assert isinstance(won, Claim)
    assert [each.why for each in (busy, stale, missing, twice) if isinstance(each, Unclaimed)] == [
        "busy",
        "stale",
        "missing",
        "busy",
    ]
    assert await store.grants.get(gone.id) == gone
    assert len(await store.rotations.open_intents()) == 2


async def test_of_two_who_claim_the_same_grants_one_wins_each(store: Store, other_store: Store) -> None:
    """In opposite orders, so that rows locked as they come would end in a deadlock."""
    wanted = await many(store)

    mine, others = await asyncio.gather(
        asyncio.gather(*(asked(store, grant, "refresher-1") for grant in wanted)),
        asyncio.gather(*(asked(other_store, grant, "refresher-2") for grant in reversed(wanted))),
    )

    won = [answer.grant.id for answer in (*mine, *others) if isinstance(answer, Claim)]
    assert sorted(won) == sorted(grant.id for grant in wanted)
    assert len(await store.rotations.open_intents()) == len(wanted)


async def test_commits_made_at_once_land_where_they_belong(store: Store) -> None:
    claims = [await claimed(store, grant) for grant in await many(store)]
    moved = await granted(store, id=claims[0].grant.id, owner=claims[0].grant.owner, generation=9)
    events = [an_event() for _ in claims]

    landed = await asyncio.gather(*map(committed, [store] * len(claims), claims, events))

    assert landed[0] is None
    assert await store.grants.get(moved.id) == moved
    assert [await store.grants.get(claim.grant.id) for claim in claims[1:]] == landed[1:]
    assert await store.rotations.open_intents() == [claims[0].intent]
    assert await written_events(store) == events[1:]


async def test_of_commits_to_the_same_generation_made_at_once_one_lands(store: Store) -> None:
    claim = await claimed(store, await granted(store))
    first, *others = [an_event() for _ in range(3)]

    landed = await asyncio.gather(*(committed(store, claim, event) for event in (first, *others)))

    assert [grant is not None for grant in landed] == [True, False, False]
    assert await written_events(store) == [first]


async def test_one_callers_mistake_is_not_the_others(store: Store) -> None:
    claims = [await claimed(store, grant) for grant in await many(store, 5)]
    times = [NOW, NOW, datetime(2026, 1, 1), NOW, NOW]  # noqa: DTZ001 - that is the mistake

    landed = await asyncio.gather(
        *(committed(store, claim, an_event(), at) for claim, at in zip(claims, times, strict=True)),
        return_exceptions=True,
    )

    assert [type(each) for each in landed] == [Grant, Grant, StatementError, Grant, Grant]
    assert await store.grants.get(claims[2].grant.id) == claims[2].grant


async def test_where_a_transaction_fails_nothing_of_it_is_written(store: SqlStore) -> None:
    claims = [await claimed(store, grant) for grant in await many(store, 3)]
    async with store._database.writing() as connection:
        await connection.execute(text("DROP TABLE outbox"))

    failed = await asyncio.gather(
        *(committed(store, claim, an_event()) for claim in claims), return_exceptions=True
    )

    assert all(isinstance(each, VaultError) for each in failed)
    assert [await store.grants.get(claim.grant.id) for claim in claims] == [claim.grant for claim in claims]
    assert len(await store.rotations.open_intents()) == len(claims)


async def test_secrets_asked_for_at_once_are_each_providers_own(store: Store) -> None:
    names = [ProviderName(name) for name in ("with-secrets", "without", "with-others")]
    sealed = [b"secrets", None, b"others"]
    declared = [
        (Provider(name=name, client_id="vault", token_url="https://id.example/token"), secrets)
        for name, secrets in zip(names, sealed, strict=True)
    ]
    await store.catalogue.apply(Declared(providers=declared), NOW)

    wanted = [*names, ProviderName("nobody"), names[0]]
    found = await asyncio.gather(*map(store.catalogue.provider_secrets, wanted))

    assert found == [*sealed, None, b"secrets"]


async def test_secrets_are_read_after_they_are_asked_for(store: Store, other_store: Store) -> None:
    """Somebody else's reading that is under way does not do: they may be put out of reach meanwhile."""
    provider = Provider(name=ProviderName("rotating"), client_id="vault", token_url="https://id.example/t")
    await store.catalogue.apply(Declared(providers=[(provider, b"old")]), NOW)
    asking = [asyncio.create_task(store.catalogue.provider_secrets(provider.name))]
    await asyncio.sleep(0)

    await other_store.catalogue.apply(Declared(providers=[(provider, b"new")]), NOW)

    assert await store.catalogue.provider_secrets(provider.name) == b"new"
    assert await asking[0] in (b"old", b"new")


async def test_whoever_gives_up_takes_nobody_along(store: Store) -> None:
    wanted = await many(store, 5)
    asking = [asyncio.create_task(asked(store, grant)) for grant in wanted]
    await asyncio.sleep(0)

    asking[2].cancel()
    answers = await asyncio.gather(*asking, return_exceptions=True)

    assert [isinstance(answer, Claim) for answer in answers] == [True, True, False, True, True]


async def claiming(store: Store, grant: Grant) -> Wanted:
    return asked(store, grant)


async def committing(store: Store, grant: Grant) -> Wanted:
    return committed(store, await claimed(store, grant), an_event())


@pytest.mark.parametrize("wanting", [claiming, committing])
async def test_a_locked_row_holds_up_nobody_but_who_wants_it(
    database_url: str, wanting: Callable[[Store, Grant], Awaitable[Wanted]]
) -> None:
    """PostgreSQL alone: SQLite has one writer at a time."""
    migrate(database_url)
    store, other = SqlStore.open(database_url), Database(database_url)
    locked, free = await many(store, 2)
    held, others = await wanting(store, locked), await wanting(store, free)
    query = select(grants.c.id).where(grants.c.id == locked.id).with_for_update()

    async with other.writing() as connection:
        await connection.execute(query)
        waiting = asyncio.create_task(held)
        assert isinstance(await others, Claim | Grant)
        assert not waiting.done()
    answer = await waiting

    await store.close()
    await other.close()
    assert isinstance(answer, Claim | Grant)


async def test_a_claim_tells_what_the_audit_knows_of_each_grant(store: Store) -> None:
    known, unknown = await many(store, 2)
    records = [a_record(owner=known.owner, generation=generation) for generation in (3, 7, None)]
    await store.audit.append([audit_line.encode(record) for record in records])

    claims = await asyncio.gather(asked(store, known), asked(store, unknown))

    assert [claim.audited for claim in claims if isinstance(claim, Claim)] == [7, 0]
