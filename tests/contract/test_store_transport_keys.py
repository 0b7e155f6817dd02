"""Dispensers agree on each day's transport key, and it goes when its time is over."""

import asyncio

from contract.stores import NOW, later

from shared.ports import Store


async def test_each_day_has_the_key_of_whoever_was_first(store: Store, other_store: Store) -> None:
    assert await store.transport_keys.load() == {}

    await store.transport_keys.add(1, b"first", later(60))
    await other_store.transport_keys.add(1, b"second", later(60))
    await other_store.transport_keys.add(2, b"other day", later(60))

    assert await store.transport_keys.load() == {1: b"first", 2: b"other day"}


async def test_dispensers_that_start_at_once_end_with_one_key(store: Store, other_store: Store) -> None:
    sealed = [b"%d" % number for number in range(20)]
    await asyncio.gather(
        *((store, other_store)[i % 2].transport_keys.add(1, s, later(60)) for i, s in enumerate(sealed))
    )

    [kept] = (await store.transport_keys.load()).values()
    assert kept in sealed


async def test_a_key_is_purged_when_it_expires_and_not_before(store: Store) -> None:
    await store.transport_keys.add(1, b"old", later(60))
    await store.transport_keys.add(2, b"new", later(120))

    assert (await store.purge(NOW))["transport_keys"] == 0
    assert (await store.purge(later(60)))["transport_keys"] == 1
    assert await store.transport_keys.load() == {2: b"new"}
