"""What was decided is on disk before anybody hears of it, and comes to the index exactly once."""

import asyncio
import json
import os
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
from workers.journal_check import checked, is_damage

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

    async def __call__(self, shipped: Sequence[bytes]) -> None:
        if self.down:
            raise StoreUnavailable("down")
        for record in map(audit_line.decode, shipped):
            self.found[record.writer, record.sequence] = record
        if self.forgets:
            raise StoreUnavailable("the confirmation was lost")


def journal_of(folder: Path, *records: AuditRecord, writer: str = "w1") -> Path:
    """A journal whose writer has gone."""
    chain, written = audit_line.first_chain(writer), []
    for sequence, record in enumerate(records, 1):
        line, chain = audit_line.chained(record, chain, writer=writer, sequence=sequence)
        written.append(line + b"\n")
    journal = folder / f"{writer}.jsonl"
    journal.write_bytes(b"".join(written))
    return journal


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
    assert {(line["writer"], line["sequence"]) for line in lines(tmp_path)} == {
        ("w1", 1),
        ("w1", 2),  # refused, and perhaps on the disk all the same
        ("w1.2", 1),
    }


async def test_what_a_shipper_has_read_of_a_journal_that_failed_is_never_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Index()
    shipping = AuditShipping(tmp_path, index, lambda: NOW)

    def full(_handle: int) -> None:
        asyncio.run(shipping.ship())  # sees the group before it is known to have failed
        raise OSError(28, "No space left on device")

    async with FileAuditJournal(tmp_path, "w1") as journal:
        await journal.append(RECORD)
        with monkeypatch.context() as broken:
            broken.setattr("os.fdatasync", full)
            with pytest.raises(AuditUnavailable):
                await journal.append(RECORD)
        await asyncio.gather(*(journal.append(replace(RECORD, agent=f"a{n}")) for n in range(3)))
    await shipping.ship()
    assert {f"a{n}" for n in range(3)} < {record.agent for record in index.found.values()}
    assert all(record.outcome == "ok" for record in index.found.values())


async def test_a_disk_that_stays_full_is_not_filled_with_empty_journals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FileAuditJournal(tmp_path, "w1") as journal:
        with monkeypatch.context() as broken:
            broken.setattr("os.write", _full)
            for _ in range(20):
                with pytest.raises(AuditUnavailable):
                    await journal.append(RECORD)
            assert names(tmp_path) == []
        await journal.append(RECORD)
    assert [line["writer"] for line in lines(tmp_path)] == ["w1.21"]


async def test_a_half_written_line_is_nobodys_record_and_no_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, real = Index(), os.write
    async with FileAuditJournal(tmp_path, "w1") as journal:
        await journal.append(RECORD)
        with monkeypatch.context() as broken:
            broken.setattr("os.write", lambda handle, data: real(handle, data[:-7]))
            with pytest.raises(AuditUnavailable):
                await journal.append(RECORD)
        await journal.append(RECORD)
    await AuditShipping(tmp_path, index, lambda: NOW).ship()
    assert set(index.found) == {("w1", 1), ("w1.2", 1)}


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
    shipping = AuditShipping(tmp_path, index, lambda: NOW)
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
    assert replace(index.found["w1", 1], chain="") == replace(RECORD, writer="w1", sequence=1)


async def test_what_was_delivered_without_a_mark_is_delivered_again_and_counted_once(tmp_path: Path) -> None:
    index = Index()
    async with FileAuditJournal(tmp_path, "w1") as journal:
        await journal.append(RECORD)
    index.forgets = True
    with pytest.raises(StoreUnavailable):
        await AuditShipping(tmp_path, index, lambda: NOW).ship()
    index.forgets = False
    assert await AuditShipping(tmp_path, index, lambda: NOW).ship() == 1
    assert len(index.found) == 1


async def test_an_index_that_is_down_delays_and_loses_nothing(tmp_path: Path) -> None:
    index = Index()
    index.down = True
    async with FileAuditJournal(tmp_path, "w1") as journal:
        await journal.append(RECORD)
        with pytest.raises(StoreUnavailable):
            await AuditShipping(tmp_path, index, lambda: NOW).ship()
    index.down = False
    assert await AuditShipping(tmp_path, index, lambda: NOW).ship() == 1


async def test_a_torn_last_line_is_left_until_it_is_whole(tmp_path: Path) -> None:
    index = Index()
    journal = journal_of(tmp_path, RECORD, RECORD)
    journal.write_bytes(journal.read_bytes()[:-5])
    shipping = AuditShipping(tmp_path, index, lambda: NOW)
    assert [record.sequence for record in shipping.unshipped()] == [1]
    assert await shipping.ship() == 1


def _full(*_: object) -> int:
    raise OSError(28, "No space left on device")


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
    scopes_asked=st.lists(st.text()).map(tuple),
    actors=st.lists(st.text()).map(tuple),
    count=st.integers(0, 100),
    purpose=st.text(),
)


@given(RECORDS)
def test_a_record_is_one_line_and_comes_back(record: AuditRecord) -> None:
    line, chain = audit_line.chained(record, audit_line.first_chain("w1"), writer="w1", sequence=1)
    assert b"\n" not in line
    assert audit_line.decode(line) == replace(record, writer="w1", sequence=1, chain=chain)
    assert audit_line.encode(audit_line.decode(line)) == line
    assert audit_line.decode(audit_line.encode(record)) == record


def test_a_line_without_the_later_fields_is_read_and_follows_as_it_did() -> None:
    """As it was written before a record named its actors."""
    line = (
        b'{"action":"token.dispensed","agent":"tracker","at":"2026-11-24T08:00:00+00:00","outcome":"ok",'
        b'"reason":"By helper. ","scopes":["a"],"sequence":1,"writer":"serve-1",'
        b'"chain":"acf21eaa8df1e901b3fbad1b0861ca69f9c23be5a406c184a3cf74aca7d54e4b"}'
    )
    record = audit_line.decode(line)
    assert (record.actors, record.admin, record.reason) == ((), "", "By helper. ")
    assert audit_line.follows(line, audit_line.first_chain("serve-1"))
    assert audit_line.encode(record) == line


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


# ------------------------------------------------------------------------ a journal that was tampered with

JOURNAL = (
    RECORD,
    replace(RECORD, agent="digest"),
    replace(RECORD, purpose='weekly, "chain": \n 日報'),
    RECORD,
)


def whole(written: Sequence[AuditRecord] = JOURNAL) -> list[bytes]:
    chain, found = audit_line.first_chain("w1"), []
    for sequence, record in enumerate(written, 1):
        line, chain = audit_line.chained(record, chain, writer="w1", sequence=sequence)
        found.append(line)
    return found


def damaged(journal: bytes) -> list[int]:
    """Which of a journal's lines are found to be altered, by their number from 0 on."""
    begun = audit_line.first_chain("w1")
    shipped = checked(journal, writer="w1", offset=0, previous=begun, now=NOW)
    return [number for number, line in enumerate(shipped) if is_damage(line)]


def text(lines_: Sequence[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines_)


def test_a_journal_as_it_was_written_is_in_order() -> None:
    assert damaged(text(whole())) == []


def test_any_single_bit_that_changes_in_a_journal_is_found_in_its_line() -> None:
    journal = text(whole())
    ends = [n for n, byte in enumerate(journal) if byte == ord("\n")]
    for place in range(len(journal) - 1):
        changed = journal[:place] + bytes([journal[place] ^ 1 << place % 8]) + journal[place + 1 :]
        line = sum(end < place for end in ends)
        assert damaged(changed)[:1] == [line], place


def test_a_line_that_is_taken_out_moved_or_added_is_found_where_it_was() -> None:
    a, b, c, d = whole()
    assert damaged(text([b, c, d])) == [0]
    assert damaged(text([a, c, d])) == [1]
    assert damaged(text([a, c, b, d]))[0] == 1
    assert damaged(text([a, b, b, c, d])) == [2]
    foreign = whole([replace(RECORD, agent="intruder")])[0]
    assert damaged(text([a, b, foreign, c, d])) == [2]


async def test_an_altered_line_is_kept_as_evidence_and_the_others_come_through(tmp_path: Path) -> None:
    index, journal = Index(), journal_of(tmp_path, *JOURNAL)
    journal.write_bytes(journal.read_bytes().replace(b'"digest"', b'"nobody"'))
    assert await AuditShipping(tmp_path, index, lambda: NOW).ship() == 4
    [evidence] = [record for record in index.found.values() if record.action == "audit.journal_damaged"]
    assert '"nobody"' in evidence.reason
    assert {key for key in index.found if key[0] == "w1"} == {("w1", 1), ("w1", 3), ("w1", 4)}
    assert names(tmp_path) == []


async def test_a_journal_is_checked_on_from_where_it_was_shipped_to(tmp_path: Path) -> None:
    index = Index()
    journal_of(tmp_path, *JOURNAL)
    (tmp_path / "w1.shipped").write_text(str(len(text(whole()[:2]))))
    assert await AuditShipping(tmp_path, index, lambda: NOW).ship() == 2
    assert set(index.found) == {("w1", 3), ("w1", 4)}


async def test_a_journal_under_another_name_is_not_taken_for_that_writers(tmp_path: Path) -> None:
    index, journal = Index(), journal_of(tmp_path, RECORD)
    journal.rename(tmp_path / "w2.jsonl")
    await AuditShipping(tmp_path, index, lambda: NOW).ship()
    assert [record.action for record in index.found.values()] == ["audit.journal_damaged"]
