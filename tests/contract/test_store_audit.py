"""The audit's tree grows with its lines in one transaction, and keeps the hashes of what is purged."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from alembic import command
from contract.stores import NOW, a_record, later
from sqlalchemy import Connection, create_engine, text

from shared import audit_line
from shared.adapters.sql.engine import driver_url
from shared.adapters.sql.migration import _config
from shared.adapters.sql.store import SqlStore, migrate
from shared.audit_filter import AuditFilter
from shared.merkle import Peaks, leaf_hash, nodes, span_hash
from shared.model import AuditRecord


def lines(count: int, **changes: Any) -> list[bytes]:
    return [audit_line.encode(a_record(**changes)) for _ in range(count)]


def root_of(leaves: list[bytes]) -> bytes:
    peaks = Peaks()
    for line in leaves:
        peaks.append(leaf_hash(line))
    return peaks.root


async def root(store: SqlStore, size: int) -> bytes:
    hashes = await store.audit_tree.hashes(nodes((0, size)))
    return span_hash((0, size), lambda node: hashes[node])


async def read(store: SqlStore) -> list[bytes]:
    return [line for _, line in await store.audit.read(0, 10_000)]


@pytest.fixture
def connection(store_url: str) -> Iterator[Connection]:
    engine = create_engine(driver_url(store_url, "sync"))
    with engine.connect() as opened:
        yield opened
    engine.dispose()


async def test_lines_are_leaves_in_the_order_of_their_appending(store: SqlStore) -> None:
    added = lines(700)
    await store.audit.append(added[:3])
    await store.audit.append(added[:10])  # the first three again
    await store.audit.append(added[10:] + added[:5])

    assert await store.audit.read(0, 3) == list(enumerate(added[:3]))
    assert await store.audit.read(699, 10) == [(699, added[699])]
    assert await store.audit_tree.size() == 700
    assert await store.audit_tree.leaves(250, 600) == [leaf_hash(line) for line in added[250:600]]
    assert await root(store, 700) == root_of(added)
    assert await root(store, 300) == root_of(added[:300])


async def test_a_tree_has_no_hash_of_what_is_beyond_it(store: SqlStore) -> None:
    await store.audit.append(lines(5))

    assert set(await store.audit_tree.hashes([(2, 0), (3, 0), (0, 4), (0, 5)])) == {(2, 0), (0, 4)}
    assert len(await store.audit_tree.leaves(3, 300)) == 2


async def test_two_that_append_at_once_take_turns(store: SqlStore, other_store: SqlStore) -> None:
    shared = lines(20)
    batches = [lines(7) for _ in range(6)]
    await asyncio.gather(
        *(one.audit.append([*shared, *batch]) for batch in batches for one in (store, other_store))
    )

    found = await read(store)
    assert sorted(found) == sorted([*shared, *(line for batch in batches for line in batch)])
    assert [position for position, _ in await store.audit.read(0, 100)] == list(range(62))
    assert await root(store, 62) == root_of(found)


async def test_records_are_found_by_every_field_that_may_be_asked_for(store: SqlStore) -> None:
    record = a_record(session="s1", generation=3, fingerprint="f1", action="token.denied", outcome="denied")
    await store.audit.append([audit_line.encode(record), *lines(3)])

    for name in ("session", "generation", "fingerprint", "action", "outcome"):
        assert await store.audit.query(AuditFilter(**{name: getattr(record, name)})) == [record]
    assert await store.audit.query(AuditFilter(outcome="denied", until=NOW)) == []
    assert await store.audit.query(AuditFilter(outcome="denied", until=later(1))) == [record]
    assert await store.audit.position(record.writer, record.sequence) == 0
    assert await store.audit.position("nobody", 1) is None


@pytest.mark.parametrize(
    "change",
    [
        "agent = 'other'", "owner = ''", "action = 'x'", "generation = 4", "generation = NULL",
        "fingerprint = 'x'", "sequence = sequence + 1000", "writer = 'w'", "outcome = 'x'",
        "session = 'x'", "service = 'x'",
        "at = '2026-03-29 01:30:00.123457'", "line = '{'", "line = '[]'",
    ],
)  # fmt: skip
async def test_a_column_that_is_not_what_its_line_says_is_found(
    store: SqlStore, connection: Connection, change: str
) -> None:
    await store.audit.append(lines(5, generation=3, purpose="\x00", session="\ud800"))
    assert await store.audit.misindexed(0, 5) is None

    connection.execute(text(f"UPDATE audit_log SET {change} WHERE position = 3"))
    connection.commit()

    assert await store.audit.misindexed(0, 5) == 3
    assert await store.audit.misindexed(0, 3) is None


# --------------------------------------------------------------------------------------------- purging


def purged(upto: int) -> bytes:
    return audit_line.encode(a_record(action="audit.purged", count=upto, at=later(1000)))


async def test_what_is_old_and_signed_goes_and_its_hashes_stay(store: SqlStore) -> None:
    added = lines(300) + lines(1, at=later(10)) + lines(5)
    await store.audit.append(added)
    assert await store.audit.purge(later(5), 1000, purged) == 0  # nothing is signed

    await store.checkpoints.add(290, "note", NOW)
    assert await store.audit.purge(later(5), 100, purged) == 100
    assert await store.audit.purge(later(5), 1000, purged) == 190
    await store.checkpoints.add(307, "note", NOW)
    assert await store.audit.purge(later(5), 1000, purged) == 10
    assert await store.audit.purge(later(5), 1000, purged) == 0

    assert [position for position, _ in await store.audit.read(0, 1000)] == list(range(300, 309))
    purges = await store.audit.query(AuditFilter(action="audit.purged"))
    assert [record.count for record in purges] == [300, 290, 100]
    assert await root(store, 306) == root_of(added)


async def test_checkpoints_are_kept_by_size(store: SqlStore) -> None:
    assert await store.checkpoints.newest() is None
    for size in (3, 10, 7, 7):
        await store.checkpoints.add(size, f"note {size}", NOW)
    await store.checkpoints.add(7, "another", NOW)

    assert await store.checkpoints.newest() == "note 10"
    assert await store.checkpoints.after(3, 10) == [(7, "note 7"), (10, "note 10")]
    assert await store.checkpoints.after(0, 1) == [(3, "note 3")]


async def test_the_highest_generation_of_every_grant_is_known(store: SqlStore) -> None:
    await store.audit.append([*lines(2, generation=3), *lines(1, generation=7), *lines(1, owner="bob")])

    assert await store.audit.generations() == {("time-tracker", "ada"): 7}


# --------------------------------------------------------------------------------------------- upgrading


async def test_records_of_before_the_tree_are_its_first_leaves(empty_store_url: str) -> None:
    engine = create_engine(driver_url(empty_store_url, "sync"))
    config = _config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        connection.execute(text(BEFORE), [_before(number, NOW) for number in range(1200)])
    engine.dispose()

    migrate(empty_store_url)
    store = SqlStore.open(empty_store_url)
    try:
        [newest] = await store.audit.query(limit=1)
        assert replace(newest, sequence=0) == AuditRecord(
            writer="serve-1", sequence=0, at=NOW, action="token.dispensed", outcome="ok", agent="tracker",
            owner="ada", generation=3, scopes=("a",), catalogue_version=2,
        )  # fmt: skip
        found = await read(store)
        assert len(found) == await store.audit_tree.size() == 1200
        assert await root(store, 1200) == root_of(found)
        assert await store.audit.misindexed(0, 1200) is None
        await store.audit.append(lines(1))
    finally:
        await store.close()


BEFORE = """
    INSERT INTO audit VALUES (
        'serve-1', :sequence, :at, 'token.dispensed', 'ok', 'tracker', '', 'ada', '', 3, '', '["a"]', '', 2,
        '', '', '', ''
    )
"""


def _before(sequence: int, at: datetime) -> dict[str, object]:
    return {"sequence": sequence, "at": f"{at:%Y-%m-%d %H:%M:%S.%f}"}


async def test_records_that_name_a_token_are_counted_by_their_time(store: SqlStore) -> None:
    for second in range(3):
        await store.audit.append(lines(1, fingerprint="f" * 32, at=later(second)))
    await store.audit.append(lines(2, at=later(1)))
    assert await store.audit.naming(later(0), later(2)) == 2
    assert await store.audit.naming(later(3), later(9)) == 0
