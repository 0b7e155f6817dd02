import asyncio
import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.model import GrantId, Owner
from workers import spool_file
from workers.spool import Spool, SpoolUnavailable
from workers.spool_entry import ROOM_BYTES, Entry, Pending, Purpose
from workers.spool_file import ROOMS

ENTRY = Entry(id="i1", purpose=Purpose.ROTATION, grant_id=GrantId("g"), owner=Owner("ann"), generation=3)
ANSWER = bytes(range(256)) * 8


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def entry(entry_id: str) -> Entry:
    return replace(ENTRY, id=entry_id)


def file_of(tmp_path: Path, *others: str) -> Path:
    """The only file, but for others that the test has put there."""
    [path] = (path for path in (tmp_path / "spool").glob("*.spool") if path.name not in others)
    return path


async def test_a_written_answer_is_found_by_another_process(spool: Spool, tmp_path: Path):
    await spool.reserve(ENTRY)
    await spool.write(ENTRY, ANSWER)
    assert await Spool(tmp_path / "spool").pending() == [Pending(entry=ENTRY, sealed=ANSWER)]


async def test_a_reservation_without_an_answer_says_so(spool: Spool):
    await spool.reserve(ENTRY)
    assert await spool.pending() == [Pending(entry=ENTRY, sealed=None)]


async def test_a_reservation_takes_its_room_and_is_its_owners_alone(spool: Spool, tmp_path: Path):
    await spool.reserve(ENTRY)
    found = file_of(tmp_path).stat()
    assert found.st_size == ROOMS * ROOM_BYTES
    assert found.st_blocks * 512 >= ROOMS * ROOM_BYTES
    assert found.st_mode & 0o077 == 0


async def test_the_longest_answer_fits_the_room(spool: Spool):
    longest = os.urandom(70 * 1024)
    await spool.reserve(ENTRY)
    await spool.write(ENTRY, longest)
    assert await spool.pending() == [Pending(entry=ENTRY, sealed=longest)]


async def test_an_answer_longer_than_its_room_takes_none_of_the_next(spool: Spool, tmp_path: Path):
    beside = entry("beside")
    await spool.reserve(ENTRY)
    await spool.reserve(beside)
    for one in (ENTRY, beside):
        with pytest.raises(SpoolUnavailable):
            await spool.write(one, bytes(ROOM_BYTES))
    assert await Spool(tmp_path / "spool").pending() == [
        Pending(entry=ENTRY, sealed=None),
        Pending(entry=beside, sealed=None),
    ]


async def test_what_many_write_at_once_takes_one_sync(spool: Spool, monkeypatch: pytest.MonkeyPatch):
    entries = [entry(str(number)) for number in range(ROOMS)]
    await spool.reserve(ENTRY)
    await spool.delete(ENTRY.id)
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    await asyncio.gather(*map(spool.reserve, entries))
    assert len(synced) == 1
    await asyncio.gather(*(spool.write(one, ANSWER) for one in entries))
    assert len(synced) == 2
    assert len(await spool.pending()) == ROOMS


async def test_a_sync_that_fails_has_failed_for_all_who_wrote(spool: Spool, monkeypatch: pytest.MonkeyPatch):
    """The disk says so once: whoever asked again would hear that all is well."""
    entries = [entry(str(number)) for number in range(3)]
    await asyncio.gather(*map(spool.reserve, entries))
    failures = iter([OSError(errno.EIO, "Input/output error")])

    def failing_once(_: int) -> None:
        for failure in failures:
            raise failure

    monkeypatch.setattr(os, "fdatasync", failing_once)
    told = await asyncio.gather(*(spool.write(one, ANSWER) for one in entries), return_exceptions=True)
    assert [type(one) for one in told] == [SpoolUnavailable] * 3


async def test_rooms_are_used_again(spool: Spool, tmp_path: Path):
    for number in range(2 * ROOMS):
        await spool.reserve(entry(str(number)))
        await spool.write(entry(str(number)), ANSWER)
        await spool.delete(str(number))
    assert file_of(tmp_path).stat().st_size == ROOMS * ROOM_BYTES
    assert not any(file_of(tmp_path).read_bytes()), "what was in them is gone"


async def test_more_than_a_file_holds_get_another(spool: Spool, tmp_path: Path):
    entries = [entry(f"{number:03}") for number in range(ROOMS + 1)]
    await asyncio.gather(*map(spool.reserve, entries))
    assert len(list((tmp_path / "spool").glob("*.spool"))) == 2
    found = await Spool(tmp_path / "spool").pending()
    assert sorted(one.entry.id for one in found) == [one.id for one in entries]


async def test_a_later_process_uses_the_free_rooms_and_leaves_the_others(spool: Spool, tmp_path: Path):
    await spool.reserve(ENTRY)
    await spool.write(ENTRY, ANSWER)
    later = Spool(tmp_path / "spool")
    entries = [entry(f"{number:03}") for number in range(ROOMS - 1)]
    await asyncio.gather(*map(later.reserve, entries))
    assert file_of(tmp_path).exists()
    assert Pending(entry=ENTRY, sealed=ANSWER) in await later.pending()
    await later.delete(ENTRY.id)
    assert Pending(entry=ENTRY, sealed=ANSWER) not in await later.pending()


async def test_an_answer_to_another_request_is_none(spool: Spool, tmp_path: Path):
    """What a power cut may leave: the next reservation's header, and the earlier one's answer behind it."""
    await spool.reserve(ENTRY)
    await spool.write(ENTRY, ANSWER)
    earlier = file_of(tmp_path).read_bytes()
    await spool.delete(ENTRY.id)
    other = entry("i2")
    await spool.reserve(other)
    header = file_of(tmp_path).read_bytes().rstrip(b"\0")
    file_of(tmp_path).write_bytes(header + earlier[len(header) :])
    assert await spool.pending() == [Pending(entry=other, sealed=None)]


async def test_a_second_reservation_forgets_the_first_answer(spool: Spool):
    await spool.reserve(ENTRY)
    await spool.write(ENTRY, ANSWER)
    await spool.reserve(ENTRY)
    assert await spool.pending() == [Pending(entry=ENTRY, sealed=None)]


async def test_what_has_ended_is_forgotten(spool: Spool):
    await spool.reserve(ENTRY)
    await spool.delete(ENTRY.id)
    await spool.delete(ENTRY.id)
    assert await spool.pending() == []


async def test_a_folder_that_is_not_there_yet_is_empty(spool: Spool):
    assert await spool.pending() == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(cut=st.integers(0, 2400), flip=st.booleans())
async def test_a_torn_write_is_never_taken_for_an_answer(tmp_path: Path, cut: int, flip: bool):
    """Whatever the disk kept of it: the whole answer, no answer, or no entry."""
    spool = Spool(tmp_path / "spool")
    await spool.reserve(ENTRY)
    empty = file_of(tmp_path).read_bytes()
    await spool.write(ENTRY, ANSWER)
    whole = file_of(tmp_path).read_bytes()
    torn = bytearray(whole[:cut] + empty[cut:])
    if flip and cut < len(torn):
        torn[cut] ^= 0x40
    file_of(tmp_path).write_bytes(torn)
    found = await spool.pending()
    assert found in ([], [Pending(entry=ENTRY, sealed=None)], [Pending(entry=ENTRY, sealed=ANSWER)])
    end = len(whole.rstrip(b"\0"))
    if torn[:end] != whole[:end]:
        assert found in ([], [Pending(entry=ENTRY, sealed=None)])


@pytest.mark.parametrize("length", [0, 1, 18, 40, 100])
async def test_a_file_cut_short_is_no_answer(spool: Spool, tmp_path: Path, length: int):
    await spool.reserve(ENTRY)
    await spool.write(ENTRY, ANSWER)
    os.truncate(file_of(tmp_path), length)
    assert [found.sealed for found in await spool.pending()] in ([], [None])


async def test_a_full_disk_is_found_before_anything_is_sent_and_gets_no_fuller(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(SpoolUnavailable):
        await spool.reserve(ENTRY)
    assert list((tmp_path / "spool").iterdir()) == []
    monkeypatch.undo()
    await spool.reserve(ENTRY)


async def test_a_disk_that_fails_for_long_uses_no_rooms_up(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def failing(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    await spool.reserve(ENTRY)
    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", failing)
        for number in range(2 * ROOMS):
            with pytest.raises(SpoolUnavailable):
                await spool.reserve(entry(str(number)))
    await spool.reserve(entry("next"))
    assert file_of(tmp_path).exists()
    assert len(await spool.pending()) == 2


async def test_a_reservation_that_failed_on_a_disk_that_goes_on_failing_is_no_entry(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It was written, and could be neither synced nor taken back: its entry's end takes it back."""
    pwrite, calls = os.pwrite, 0

    def failing(*arguments: Any) -> int:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError(errno.EIO, "Input/output error")
        return pwrite(*arguments)

    await spool.reserve(ENTRY)
    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", failing)
        broken.setattr(os, "fdatasync", failing)
        with pytest.raises(SpoolUnavailable):
            await spool.reserve(entry("failed"))
    await spool.delete("failed")
    assert [found.entry for found in await spool.pending()] == [ENTRY]


async def test_an_answer_that_the_disk_refuses_is_kept_in_memory(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
):
    await spool.reserve(ENTRY)

    def failing(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", failing)
        broken.setattr(os, "pwrite", lambda *_: failing(0))
        with pytest.raises(SpoolUnavailable):
            await spool.write(ENTRY, ANSWER)
    assert await spool.pending() == [Pending(entry=ENTRY, sealed=ANSWER)]
    await spool.delete(ENTRY.id)
    assert await spool.pending() == []


@pytest.mark.parametrize("size", [0, ROOM_BYTES // 2, 2 * ROOM_BYTES])
async def test_files_that_nobody_needs_are_removed(spool: Spool, tmp_path: Path, size: int):
    """As of a process that was killed while it made one, and those of refreshers that came to their end."""
    await spool.reserve(ENTRY)
    await spool.write(ENTRY, ANSWER)
    for name in ("one.spool", "two.spool"):
        (tmp_path / "spool" / name).write_bytes(bytes(size))
    later = Spool(tmp_path / "spool")
    assert await later.sweep() == 1
    assert await later.pending() == [Pending(entry=ENTRY, sealed=ANSWER)]
    assert file_of(tmp_path, "one.spool").exists()
    for number in range(ROOMS + 1):
        await later.reserve(entry(str(number)))
    assert len(await Spool(tmp_path / "spool").pending()) == ROOMS + 2


async def test_a_header_that_does_not_read_is_kept_for_people(spool: Spool, tmp_path: Path):
    await spool.reserve(ENTRY)
    await spool.write(ENTRY, ANSWER)
    flipped = bytearray(file_of(tmp_path).read_bytes())
    flipped[60] ^= 0x40
    (tmp_path / "spool" / "flipped.spool").write_bytes(flipped)
    later = Spool(tmp_path / "spool")
    assert await later.sweep() == 0
    await asyncio.gather(*(later.reserve(entry(str(number))) for number in range(2 * ROOMS)))
    assert (tmp_path / "spool" / "flipped.spool").read_bytes()[:ROOM_BYTES] == flipped[:ROOM_BYTES]


async def test_there_is_nothing_to_give_back_in_a_folder_that_is_not_there(spool: Spool):
    assert await spool.sweep() == 0


def test_an_answer_does_not_show_in_a_repr():
    assert "secret" not in repr(Pending(entry=ENTRY, sealed=b"secret"))


async def test_a_file_that_is_removed_while_others_look_is_no_failure(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Who lists the keys that are in use looks into the spools of refreshers that live."""
    await spool.reserve(ENTRY)
    listed = spool_file.files(tmp_path / "spool")
    file_of(tmp_path).unlink()
    monkeypatch.setattr(spool_file, "files", lambda _: listed)
    assert await spool.pending() == []


async def test_a_file_of_an_earlier_process_is_made_durable_before_it_is_used(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It may have been killed before its file had its name for good."""
    await spool.reserve(ENTRY)
    synced: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda handle: synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
    )
    await Spool(tmp_path / "spool").reserve(entry("next"))
    assert synced == [str(file_of(tmp_path)), str(tmp_path / "spool")]
