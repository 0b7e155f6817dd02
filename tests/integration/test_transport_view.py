"""Dispensers share each day's transport key, ahead of the day, and let it go after it."""

import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from builders import KEYS, OTHER_KEYS

from dispenser.transport_key import OVERLAP, begins_at
from dispenser.transport_view import TransportView
from shared import keyring
from shared.adapters.sql.store import SqlStore, migrate
from shared.errors import KeyMissing, StoreUnavailable
from shared.keyring import Keyring

DAY = 20_781


class Time:
    """Moves when told."""

    def __init__(self) -> None:
        self.now = begins_at(DAY) + timedelta(hours=9)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    url = f"sqlite:///{tmp_path / 'vault.db'}"
    migrate(url)
    store = SqlStore.open(url)
    yield store
    await store.close()


def view(store: SqlStore, clock: Time, keys: Keyring = KEYS) -> TransportView:
    return TransportView(store.transport_keys, keys, clock, os.urandom)


async def test_all_dispensers_have_the_keys_of_today_and_tomorrow(store: SqlStore, clock: Time) -> None:
    one, other = view(store, clock), view(store, clock)
    await one.look()
    await other.look()
    assert [key.day for key in one.published] == [DAY, DAY + 1]
    assert [key.id for key in one.published] == [key.id for key in other.published]
    assert one.current.id == other.current.id
    assert one.by_id.keys() == other.by_id.keys()


async def test_the_key_changes_with_the_day_and_the_old_one_stays_for_what_is_under_way(
    store: SqlStore, clock: Time
) -> None:
    one, late = view(store, clock), view(store, clock)
    await one.look()
    await late.look()
    first, second = one.published
    clock.now = begins_at(DAY + 1)
    # Before any dispenser has looked again, and also if the database cannot be read all day.
    assert late.current.id == second.id
    await one.look()
    assert one.current.id == second.id
    assert [key.day for key in one.published] == [DAY + 1, DAY + 2]
    assert first.id in one.by_id


async def test_a_purged_key_opens_nothing_any_more(store: SqlStore, clock: Time) -> None:
    one = view(store, clock)
    await one.look()
    first = one.current
    clock.now = begins_at(DAY + 1) + OVERLAP - timedelta(seconds=1)
    await store.purge(clock.now)
    await one.look()
    assert first.id in one.by_id
    clock.now += timedelta(seconds=1)
    await store.purge(clock.now)
    await one.look()
    assert first.id not in one.by_id
    assert one.current.day == DAY + 1


async def test_a_key_whose_time_is_over_opens_nothing_though_nobody_has_purged_it(
    store: SqlStore, clock: Time
) -> None:
    one = view(store, clock)
    await one.look()
    first = one.current
    clock.now = begins_at(DAY + 1) + OVERLAP
    await one.look()
    assert DAY in await store.transport_keys.load()
    assert first.id not in one.by_id


async def test_keys_are_sealed_in_the_database(store: SqlStore, clock: Time) -> None:
    one = view(store, clock)
    await one.look()
    rows = b"".join((await store.transport_keys.load()).values())
    for key in one.published:
        assert key.private.private_bytes_raw() not in rows


async def test_a_dispenser_with_another_keyring_says_so_and_does_not_start(
    store: SqlStore, clock: Time
) -> None:
    await view(store, clock).look()
    with pytest.raises(KeyMissing, match="opens none of the transport keys"):
        await view(store, clock, OTHER_KEYS).look()


async def test_a_key_that_somebody_wrote_into_the_database_is_passed_over(
    store: SqlStore, clock: Time
) -> None:
    await store.transport_keys.add(DAY, b"forged", datetime.max.replace(tzinfo=UTC))
    one = view(store, clock)
    await one.look()
    assert [key.day for key in one.published] == [DAY + 1]
    assert one.current.day == DAY + 1


async def test_a_rotated_keyring_opens_what_the_old_one_sealed(store: SqlStore, clock: Time) -> None:
    document = keyring.generate(clock.now)
    old = keyring.parse(json.dumps(document))
    await view(store, clock, old).look()
    document["keys"].append(keyring.new_key("transport", made=clock.now, current_from=clock.now))
    rotated = keyring.parse(json.dumps(document))
    assert rotated.primary_id("transport") != old.primary_id("transport")
    one = view(store, clock, rotated)
    await one.look()
    assert len(one.by_id) == 2


async def test_a_database_that_goes_leaves_what_is_known_in_force(store: SqlStore, clock: Time) -> None:
    one = view(store, clock)
    await one.look()
    await store.close()
    clock.now = begins_at(DAY + 3)
    with pytest.raises(StoreUnavailable):
        await one.look()
    assert one.current.day == DAY + 1
    assert [key.day for key in one.published] == [DAY + 1]
