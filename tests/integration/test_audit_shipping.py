"""Journals come to the audit's index whole, each record once, whoever dies or meets on the way."""

import asyncio
import fcntl
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
from builders import NOW

from shared.adapters.audit_journal import FileAuditJournal
from shared.adapters.sql.store import SqlStore, migrate
from shared.errors import StoreUnavailable
from shared.model import AuditRecord
from workers import audit_shipping
from workers.audit_shipping import AuditShipping

RECORD = AuditRecord(writer="", sequence=0, at=NOW, action="token.dispensed", outcome="ok", agent="tracker")


class Audit:
    """A folder of journals, and the database that they are shipped to."""

    def __init__(self, folder: Path, store: SqlStore) -> None:
        self.folder = folder
        self.store = store
        self.shipping = AuditShipping(folder, store.audit.append, now)

    async def write(self, count: int, *, writer: str = "w1") -> None:
        """By a writer that has gone since."""
        async with FileAuditJournal(self.folder, writer) as journal:
            await asyncio.gather(*(journal.append(RECORD) for _ in range(count)))

    async def shipped(self) -> list[tuple[str, int]]:
        records = await self.store.audit.query()
        return sorted((record.writer, record.sequence) for record in records)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


def now() -> datetime:
    return NOW


@pytest.fixture
async def audit(tmp_path: Path) -> AsyncIterator[Audit]:
    url = f"sqlite:///{tmp_path / 'vault.db'}"
    await asyncio.to_thread(migrate, url)
    store = SqlStore.open(url)
    yield Audit(tmp_path / "audit", store)
    await store.close()


def numbered(count: int, writer: str = "w1") -> list[tuple[str, int]]:
    return [(writer, sequence) for sequence in range(1, count + 1)]


async def test_the_journals_of_all_writers_are_shipped_and_cleared_away(audit: Audit) -> None:
    await audit.write(3)
    await audit.write(2, writer="w2")
    assert await audit.shipping.ship() == 5
    assert await audit.shipped() == numbered(3) + numbered(2, "w2")
    assert audit.names() == []


async def test_a_crash_between_the_index_and_the_mark_doubles_nothing(audit: Audit) -> None:
    await audit.write(3)

    async def appended_and_killed(lines: Sequence[bytes]) -> None:
        await audit.store.audit.append(lines)
        raise StoreUnavailable("Killed.")

    with pytest.raises(StoreUnavailable):
        await AuditShipping(audit.folder, appended_and_killed, now).ship()
    assert await audit.shipped() == numbered(3)
    assert await audit.shipping.ship() == 3
    assert await audit.shipped() == numbered(3)
    assert audit.names() == []


async def test_more_than_a_batch_is_shipped_in_several_and_goes_on_where_it_stopped(
    audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_shipping, "BATCH_BYTES", 300)
    batches: list[int] = []

    async def stopped_after_two(lines: Sequence[bytes]) -> None:
        if len(batches) == 2:
            raise StoreUnavailable("Down.")
        batches.append(len(lines))
        await audit.store.audit.append(lines)

    await audit.write(20)
    with pytest.raises(StoreUnavailable):
        await AuditShipping(audit.folder, stopped_after_two, now).ship()
    assert await audit.shipping.ship() == 20 - sum(batches)
    assert await audit.shipped() == numbered(20)


async def test_shippers_that_meet_double_and_lose_nothing(audit: Audit) -> None:
    await audit.write(50)
    await asyncio.gather(
        *(AuditShipping(audit.folder, audit.store.audit.append, now).ship() for _ in range(3))
    )
    assert await audit.shipped() == numbered(50)
    assert audit.names() == []


async def test_a_database_that_is_down_delays_and_loses_nothing(audit: Audit) -> None:
    async with FileAuditJournal(audit.folder, "w1") as journal:
        await journal.append(RECORD)
        await audit.store.close()
        with pytest.raises(StoreUnavailable):
            await audit.shipping.ship()
        await journal.append(RECORD)
        assert [record.sequence for record in audit.shipping.unshipped()] == [1, 2]


async def test_a_mark_that_is_lost_costs_a_repetition(audit: Audit) -> None:
    async with FileAuditJournal(audit.folder, "w1") as journal:
        await journal.append(RECORD)
        await audit.shipping.ship()
        (audit.folder / "w1.shipped").unlink()
        await journal.append(RECORD)
        assert await audit.shipping.ship() == 2
        assert await audit.shipped() == numbered(2)


async def test_a_journal_that_just_begins_is_not_taken_for_a_left_one(
    audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shipper looks at the very moment before the writer has its lock."""
    real = fcntl.flock

    def shipped_before(handle: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real)
        ship = AuditShipping(audit.folder, _nowhere, now).ship
        with ThreadPoolExecutor() as beside:
            beside.submit(lambda: asyncio.run(ship())).result()
        real(handle, operation)

    monkeypatch.setattr(fcntl, "flock", shipped_before)
    async with FileAuditJournal(audit.folder, "w1") as journal:
        await journal.append(RECORD)
    assert await audit.shipping.ship() == 1
    assert await audit.shipped() == numbered(1)


async def _nowhere(lines: Sequence[bytes]) -> None:
    assert lines == []
