"""A database is brought to the tables that the code speaks of, whole."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from contract.stores import NOW
from sqlalchemy import Connection, create_engine, text

from shared.adapters.sql.engine import driver_url
from shared.adapters.sql.store import SqlStore, migrate
from shared.adapters.sql.tables import metadata
from shared.errors import StoreNotMigrated
from shared.model import Owner, ServiceName


@pytest.fixture
def connection(store_url: str) -> Iterator[Connection]:
    engine = create_engine(driver_url(store_url, "sync"))
    with engine.connect() as opened:
        yield opened
    engine.dispose()


def test_the_newest_revision_makes_the_tables_that_the_code_speaks_of(connection: Connection) -> None:
    context = MigrationContext.configure(connection, opts={"compare_type": True})

    assert compare_metadata(context, metadata) == []


async def test_migrating_again_keeps_what_is_there(store: SqlStore, store_url: str) -> None:
    await store.admins.add("first", b"hash", NOW)

    migrate(store_url)

    await store.ping()
    assert await store.admins.named(b"hash") == "first"


def test_two_may_migrate_at_once(empty_store_url: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(migrate, [empty_store_url] * 4))


async def test_a_database_without_tables_is_told_so(empty_store_url: str) -> None:
    store = SqlStore.open(empty_store_url)
    try:
        with pytest.raises(StoreNotMigrated):
            await store.ping()
        with pytest.raises(StoreNotMigrated, match="dispenser init"):
            await store.grants.find(ServiceName("time-tracker"), Owner("ada"))
        with pytest.raises(StoreNotMigrated):
            await store.admins.add("first", b"hash", NOW)
    finally:
        await store.close()


async def test_a_database_of_another_revision_is_told_so(store: SqlStore, connection: Connection) -> None:
    await store.ping()
    connection.execute(text("UPDATE alembic_version SET version_num = 'older'"))
    connection.commit()

    with pytest.raises(StoreNotMigrated, match="older"):
        await store.ping()


async def test_a_database_without_a_revision_is_told_so(store: SqlStore, connection: Connection) -> None:
    connection.execute(text("DELETE FROM alembic_version"))
    connection.commit()

    with pytest.raises(StoreNotMigrated, match="none"):
        await store.ping()
