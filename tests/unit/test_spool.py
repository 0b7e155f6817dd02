import errno
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.model import GrantId, Owner
from workers.spool import RESERVED_BYTES, Entry, Pending, Purpose, Spool, SpoolUnavailable

ENTRY = Entry(id="i1", purpose=Purpose.ROTATION, grant_id=GrantId("g"), owner=Owner("ann"), generation=3)
ANSWER = bytes(range(256)) * 8


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def file_of(tmp_path: Path) -> Path:
    [path] = (tmp_path / "spool").glob("*.spool")
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
    assert found.st_size == RESERVED_BYTES
    assert found.st_blocks * 512 >= RESERVED_BYTES
    assert found.st_mode & 0o077 == 0


async def test_the_longest_answer_fits_the_room(spool: Spool, tmp_path: Path):
    await spool.reserve(ENTRY)
    await spool.write(ENTRY, bytes(70 * 1024))
    assert file_of(tmp_path).stat().st_size == RESERVED_BYTES


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


@pytest.mark.parametrize("size", [0, RESERVED_BYTES])
async def test_room_that_was_taken_for_nothing_is_given_back(spool: Spool, tmp_path: Path, size: int):
    """Its process died before it had written what the room was for."""
    await spool.reserve(ENTRY)
    await spool.write(ENTRY, ANSWER)
    (tmp_path / "spool" / "blank.spool").write_bytes(bytes(size))
    assert await spool.sweep() == 1
    assert await spool.pending() == [Pending(entry=ENTRY, sealed=ANSWER)]
    assert list((tmp_path / "spool").glob("*.spool")) == [file_of(tmp_path)]


async def test_a_header_that_does_not_read_is_kept_for_people(spool: Spool, tmp_path: Path):
    await spool.reserve(ENTRY)
    await spool.write(ENTRY, ANSWER)
    flipped = bytearray(file_of(tmp_path).read_bytes())
    flipped[60] ^= 0x40
    file_of(tmp_path).write_bytes(flipped)
    assert await spool.sweep() == 0
    assert file_of(tmp_path).exists()


async def test_there_is_nothing_to_give_back_in_a_folder_that_is_not_there(spool: Spool):
    assert await spool.sweep() == 0


def test_an_answer_does_not_show_in_a_repr():
    assert "secret" not in repr(Pending(entry=ENTRY, sealed=b"secret"))


async def test_an_answer_that_comes_to_its_end_while_others_are_listed_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Between the list of the files and the reading of one it may be concluded, and removed."""
    spool = Spool(tmp_path)
    await spool.reserve(ENTRY)
    listed = spool._paths()
    await spool.delete(ENTRY.id)
    monkeypatch.setattr(spool, "_paths", lambda: listed)
    assert await spool.pending() == []
