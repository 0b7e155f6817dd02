"""A spool folder has one living refresher, and what a dead one left is found."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from workers.spool_slot import SpoolSlot


def leave(slot: SpoolSlot, *names: str) -> None:
    for name in names:
        (slot.folder / name).write_text(name)


def left(slot: SpoolSlot) -> list[str]:
    return sorted(path.name for path in slot.folder.iterdir() if path.name != ".lock")


def test_refreshers_side_by_side_hold_slots_of_their_own(tmp_path: Path) -> None:
    with SpoolSlot.take(tmp_path) as first, SpoolSlot.take(tmp_path) as second:
        assert (first.number, second.number) == (0, 1)
        assert first.folder != second.folder


def test_a_refresher_that_comes_back_finds_what_it_left(tmp_path: Path) -> None:
    with SpoolSlot.take(tmp_path) as slot:
        leave(slot, "answer.spool")
    with SpoolSlot.take(tmp_path) as again:
        assert left(again) == ["answer.spool"]


def test_the_lowest_free_slot_is_taken(tmp_path: Path) -> None:
    with SpoolSlot.take(tmp_path) as first:
        with SpoolSlot.take(tmp_path):
            pass
        with SpoolSlot.take(tmp_path) as third:
            assert (first.number, third.number) == (0, 1)


def test_what_lies_in_free_slots_is_adopted_and_what_the_living_hold_is_not(tmp_path: Path) -> None:
    with SpoolSlot.take(tmp_path) as living:
        leave(living, "in use.spool")
        with SpoolSlot.take(tmp_path) as gone, SpoolSlot.take(tmp_path) as gone_too:
            leave(gone, "one.spool", "two.spool")
            leave(gone_too, "three.spool")
        with SpoolSlot.take(tmp_path) as adopting:
            assert (adopting.number, adopting.adopt(), adopting.adopt()) == (1, 1, 0)
            assert left(adopting) == ["one.spool", "three.spool", "two.spool"]
        assert left(living) == ["in use.spool"]


def test_files_that_are_no_slots_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "file").touch()
    with SpoolSlot.take(tmp_path) as slot:
        assert slot.adopt() == 0
    assert (tmp_path / "notes" / "file").exists()


def test_a_slot_is_its_owners_alone(tmp_path: Path) -> None:
    with SpoolSlot.take(tmp_path) as slot:
        assert slot.folder.stat().st_mode & 0o077 == 0
        assert (slot.folder / ".lock").stat().st_mode & 0o077 == 0


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    script = """
        import sys
        from pathlib import Path
        from workers.spool_slot import SpoolSlot
        slot = SpoolSlot.take(Path(sys.argv[1]))
        (slot.folder / "answer.spool").touch()
        print(slot.number, flush=True)
        sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        with SpoolSlot.take(tmp_path) as beside:
            assert (beside.number, beside.adopt()) == (1, 0)
        process.kill()
        process.wait()
    with SpoolSlot.take(tmp_path) as after:
        assert (after.number, left(after)) == (0, ["answer.spool"])


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        SpoolSlot.take(tmp_path / "file")


def test_too_many_refreshers_are_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.spool_slot.MOST", 1)
    with SpoolSlot.take(tmp_path), pytest.raises(OSError, match="all 1 spool slots are held"):
        SpoolSlot.take(tmp_path)
