"""A database that is away is told in the vault's own words, without a secret."""

import asyncio
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from traceback import format_exception
from uuid import uuid4

import pytest
import uvloop
from contract.stores import NOW, granted, later
from sqlalchemy import text
from sqlalchemy.exc import StatementError

from shared.adapters.sql import liveness
from shared.adapters.sql.engine import Database
from shared.adapters.sql.store import SqlStore, migrate
from shared.errors import ConfigurationError, StoreUnavailable, VaultError
from shared.model import GrantId, Revocation, RevocationKind
from shared.ports import Store


async def test_a_database_tells_the_time(store: Store) -> None:
    rounding = timedelta(milliseconds=2)
    before = datetime.now(UTC)
    told = await store.now()
    assert before - rounding <= told <= datetime.now(UTC) + rounding


def unreachable_sqlite(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'no' / 'such' / 'folder' / 'vault.db'}"


def unreachable_postgresql(_tmp_path: Path) -> str:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return f"postgresql://vault:canary@127.0.0.1:{closed.getsockname()[1]}/vault"


@pytest.fixture(params=[unreachable_sqlite, unreachable_postgresql])
def unreachable_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    make: Callable[[Path], str] = request.param
    return make(tmp_path)


async def test_a_database_that_does_not_answer_is_unavailable(unreachable_url: str) -> None:
    store = SqlStore.open(unreachable_url)

    with pytest.raises(StoreUnavailable, match="DISPENSER_DATABASE_URL") as reading:
        await store.ping()
    with pytest.raises(StoreUnavailable) as writing:
        await store.revocations.add(Revocation(kind=RevocationKind.ALL, subject="", revoked_at=NOW))

    await store.close()
    assert "canary" not in f"{reading.value} {reading.value.__cause__} {writing.value.__cause__}"


def test_a_database_that_does_not_answer_is_not_migrated(unreachable_url: str) -> None:
    with pytest.raises(StoreUnavailable):
        migrate(unreachable_url)


async def test_a_closed_store_is_unavailable(store: Store) -> None:
    await store.ping()
    await store.close()

    with pytest.raises(StoreUnavailable):
        await store.ping()


@pytest.mark.parametrize("url", ["canary", "mysql://root:canary@db/vault", "postgresql://u:canary@h:port/x"])
def test_an_address_that_is_none_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="DISPENSER_DATABASE_URL") as caught:
        SqlStore.open(url)

    assert "canary" not in str(caught.value)


async def test_a_refused_statements_values_are_in_no_traceback(store: SqlStore) -> None:
    canary = uuid4().hex
    insert = text("INSERT INTO grants (id, service) VALUES (:id, :service)")

    with pytest.raises(VaultError, match="refused") as caught:
        async with store._database.writing() as connection:
            await connection.execute(insert, {"id": canary, "service": canary})

    assert canary not in "".join(format_exception(caught.value))


async def test_a_cancelled_call_leaves_nothing_behind(store: Store) -> None:
    grant = await granted(store)
    for _ in range(20):
        call = asyncio.create_task(
            store.rotations.claim(grant.id, 1, holder="r", now=NOW, lease_until=later(120))
        )
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    assert await store.grants.get(grant.id) == grant
    await store.revocations.add(Revocation(kind=RevocationKind.ALL, subject="", revoked_at=NOW))


async def test_many_readers_and_writers_at_once_all_get_through(store: Store, other_store: Store) -> None:
    grant = await granted(store)

    async def write(number: int) -> None:
        revocation = Revocation(kind=RevocationKind.AGENT, subject=str(number), revoked_at=NOW)
        await (store, other_store)[number % 2].revocations.add(revocation)

    reads = [(store, other_store)[number % 2].grants.get(grant.id) for number in range(200)]
    found = await asyncio.gather(*reads, *(write(number) for number in range(40)))

    assert found[:200] == [grant] * 200
    assert len(await store.revocations.since(NOW)) == 40


async def test_a_reader_does_not_wait_for_a_writer(store: SqlStore, other_store: Store) -> None:
    grant = await granted(store)

    async with store._database.writing() as connection:
        await connection.execute(text("DELETE FROM grants"))
        assert await other_store.grants.get(grant.id) == grant


async def test_a_paused_process_holds_nobody_up_for_long(database_url: str) -> None:
    """PostgreSQL alone: it would wait for a row's lock for ever."""
    database = Database(database_url)

    async with database.writing() as connection:
        limits = [
            (await connection.execute(text(f"SHOW {limit}"))).scalar_one()
            for limit in ("lock_timeout", "idle_in_transaction_session_timeout")
        ]

    await database.close()
    assert limits == ["10s", "10s"]


async def test_times_keep_their_microseconds_and_come_back_in_utc(store: Store) -> None:
    elsewhere = datetime.fromisoformat("2026-10-25T02:30:00.000001+02:00")
    grant = await granted(
        store, refresh_at=elsewhere, token_expires_at=datetime.fromisoformat("2026-01-01T00:00Z")
    )

    found = await store.grants.get(grant.id)

    assert found is not None
    assert found.refresh_at is not None
    assert found.refresh_at.isoformat() == "2026-10-25T00:30:00.000001+00:00"
    assert found.token_expires_at == grant.token_expires_at


async def test_a_time_without_a_zone_is_refused(store: Store) -> None:
    with pytest.raises(StatementError, match="without a zone"):
        await store.catalogue.set_agent_revoked("tracker", datetime(2026, 1, 1))  # noqa: DTZ001


def test_the_store_works_under_uvloop(store_url: str) -> None:
    async def use() -> object:
        store = SqlStore.open(store_url)
        await store.ping()
        grant = await granted(store)
        found = await store.grants.get(GrantId(grant.id))
        await store.close()
        return found == grant

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(use())


async def test_a_store_is_closed_once_the_transactions_in_hand_are_over(store: SqlStore) -> None:
    """A connection in use is closed by nobody: it would be left to whoever collects garbage."""
    async with store._database.writing():
        closing = asyncio.create_task(store.close())
        closed, _ = await asyncio.wait([closing], timeout=0.2)
        assert not closed
        with pytest.raises(StoreUnavailable):
            await store.ping()
    async with asyncio.timeout(30):
        await closing


_END_THE_OTHERS = text(
    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


async def end_connections(database_url: str) -> None:
    """As a server does that is restarted, to all of its clients at once."""
    ending = Database(database_url)
    async with ending.writing() as connection:
        await connection.execute(_END_THE_OTHERS)
    await ending.close()


async def test_connections_that_ended_while_they_lay_still_are_made_anew(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(database_url)
    await asyncio.gather(*(database.now() for _ in range(3)))
    await end_connections(database_url)
    monkeypatch.setattr(liveness, "QUIET_SECONDS", 0.0)

    assert await asyncio.gather(*(database.now() for _ in range(3)))
    await database.close()


async def test_a_connection_that_ended_a_moment_ago_costs_one_call(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "QUIET_SECONDS", 3600.0)
    database = Database(database_url)
    await asyncio.gather(*(database.now() for _ in range(3)))
    await end_connections(database_url)

    with pytest.raises(StoreUnavailable):
        await database.now()
    assert await asyncio.gather(*(database.now() for _ in range(3)))
    await database.close()
