"""What was decided is on disk before anybody hears of it, and comes to the index exactly once."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from builders import NOW
from hypothesis import given
from hypothesis import strategies as st

from shared import audit_line
from shared.adapters.audit_journal import FileAuditJournal
from shared.errors import AuditUnavailable, MalformedMessage, StoreUnavailable
from shared.model import AuditRecord
from workers.audit_delivery import told_of
from workers.audit_shipping import AuditShipping

RECORD = AuditRecord(
    writer="",
    sequence=0,
    at=NOW,
    action="token.dispensed",
    outcome="ok",
    agent="tracker",
    service="time-tracker",
    owner="ada",
    generation=3,
    scopes=("a", "b"),
)


class Index:
    """Where records are delivered; may be down, or lose its confirmation."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, int], AuditRecord] = {}
        self.down = False
        self.forgets = False

    async def __call__(self, records: Sequence[AuditRecord]) -> None:
        if self.down:
            raise StoreUnavailable("down")
        self.found |= {(record.writer, record.sequence): record for record in records}
        if self.forgets:
            raise StoreUnavailable("the confirmation was lost")


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_concurrent_records_are_all_on_disk_when_append_returns(tmp_path: Path) -> None:
    async with FileAuditJournal(tmp_path, "w1") as journal:
        await asyncio.gather(*(journal.append(replace(RECORD, agent=f"a{n}")) for n in range(500)))
        written = lines(tmp_path)
    assert [line["sequence"] for line in written] == list(range(1, 501))
    assert {line["agent"] for line in written} == {f"a{n}" for n in range(500)}


async def test_a_journal_that_cannot_be_written_refuses_and_recovers_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    async with FileAuditJournal(tmp_path, "w1") as journal:
        await journal.append(RECORD)
        with monkeypatch.context() as broken:
            broken.setattr("os.fdatasync", full)
            with pytest.raises(AuditUnavailable, match="No space left"):
                await journal.append(RECORD)
        await journal.append(RECORD)
    assert len(lines(tmp_path)) == 2


async def test_a_journal_has_one_writer(tmp_path: Path) -> None:
    async with FileAuditJournal(tmp_path, "w1"):
        with pytest.raises(AuditUnavailable):
            await FileAuditJournal(tmp_path, "w1").__aenter__()


async def test_a_left_journal_is_not_written_on_for_its_numbers_are_taken(tmp_path: Path) -> None:
    async with FileAuditJournal(tmp_path, "w1") as journal:
        await journal.append(RECORD)
    with pytest.raises(AuditUnavailable, match="has been here"):
        await FileAuditJournal(tmp_path, "w1").__aenter__()
    assert [line["sequence"] for line in lines(tmp_path)] == [1]


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AuditUnavailable):
        await FileAuditJournal(tmp_path / "file", "w1").__aenter__()


async def test_a_living_writers_records_are_shipped_once_and_its_journal_stays(tmp_path: Path) -> None:
    index = Index()
    shipping = AuditShipping(tmp_path, index)
    async with FileAuditJournal(tmp_path, "w1") as journal:
        await journal.append(RECORD)
        assert [record.sequence for record in shipping.unshipped()] == [1]
        assert await shipping.ship() == 1
        assert (await shipping.ship(), shipping.unshipped()) == (0, [])
        await journal.append(RECORD)
        assert await shipping.ship() == 1
        assert "w1.jsonl" in names(tmp_path)
    assert await shipping.ship() == 0
    assert names(tmp_path) == []
    assert index.found["w1", 1] == replace(RECORD, writer="w1", sequence=1)


async def test_what_was_delivered_without_a_mark_is_delivered_again_and_counted_once(tmp_path: Path) -> None:
    index = Index()
    async with FileAuditJournal(tmp_path, "w1") as journal:
        await journal.append(RECORD)
    index.forgets = True
    with pytest.raises(StoreUnavailable):
        await AuditShipping(tmp_path, index).ship()
    index.forgets = False
    assert await AuditShipping(tmp_path, index).ship() == 1
    assert len(index.found) == 1


async def test_an_index_that_is_down_delays_and_loses_nothing(tmp_path: Path) -> None:
    index = Index()
    index.down = True
    async with FileAuditJournal(tmp_path, "w1") as journal:
        await journal.append(RECORD)
        with pytest.raises(StoreUnavailable):
            await AuditShipping(tmp_path, index).ship()
    index.down = False
    assert await AuditShipping(tmp_path, index).ship() == 1


async def test_a_torn_last_line_is_left_until_it_is_whole(tmp_path: Path) -> None:
    index = Index()
    line = audit_line.encode(replace(RECORD, writer="w1", sequence=1))
    journal = tmp_path / "w1.jsonl"
    journal.write_bytes(line + line[:-5])
    assert [record.sequence for record in AuditShipping(tmp_path, index).unshipped()] == [1]


RECORDS = st.builds(
    AuditRecord,
    writer=st.text(min_size=1),
    sequence=st.integers(0, 2**63 - 1),
    at=st.just(NOW),
    action=st.text(min_size=1),
    outcome=st.text(min_size=1),
    agent=st.text(),
    owner=st.text(),
    generation=st.none() | st.integers(0, 2**63 - 1),
    scopes=st.lists(st.text()).map(tuple),
    purpose=st.text(),
)


@given(RECORDS)
def test_a_record_is_one_line_and_comes_back(record: AuditRecord) -> None:
    line = audit_line.encode(record)
    assert line.count(b"\n") == 1
    assert audit_line.decode(line) == record


@given(st.binary(max_size=100))
def test_a_line_that_is_none_is_told(garbage: bytes) -> None:
    with pytest.raises(MalformedMessage):
        audit_line.decode(garbage)


def test_a_line_nested_beyond_reading_is_told_too() -> None:
    with pytest.raises(MalformedMessage):
        audit_line.decode(b"[" * 100_000)


def test_hand_outs_and_denials_are_told_with_an_id_that_stays() -> None:
    written = replace(RECORD, writer="w1", sequence=7)
    event = told_of(written)
    assert event is not None
    assert (event.id, event.type, event.service, event.owner) == (
        "w1.7",
        "token.dispensed",
        "time-tracker",
        "ada",
    )
    assert told_of(replace(written, action="token.denied", outcome="denied")) is not None
    assert told_of(replace(written, action="grant.refreshed")) is None
