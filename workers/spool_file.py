"""A spool's files on disk: rooms of one size, one after the other."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from workers.spool_entry import ROOM_BYTES, Pending, is_blank, parsed

SUFFIX: Final = ".spool"
#: Rooms of a file.
ROOMS: Final = 64
#: What is read of a room at first: most answers are shorter.
_GLANCE_BYTES: Final = 4096


@dataclass(slots=True)
class Room:
    """A place for one answer."""

    path: Path
    offset: int
    #: From its beginning, what was written since it was blank.
    used: int = 0


class OpenFiles:
    """The files of a spool while one round writes to them."""

    def __init__(self, unsynced: set[Path]) -> None:
        """`unsynced`: files that were written since they were last synced, in this round or one before it."""
        self._unsynced = unsynced
        self._handles: dict[Path, int] = {}
        #: What the disk said to the round's sync. It says it only once, and means all who wrote.
        self._said: OSError | None = None
        self._asked = False

    def write(self, room: Room, content: bytes, offset: int = 0) -> None:
        """Write into a room, not durably yet. Raises: OSError, as where it does not fit."""
        if offset + len(content) > ROOM_BYTES:
            raise OSError(errno.EFBIG, f"{offset + len(content)} bytes do not fit a room of {ROOM_BYTES}")
        room.used = max(room.used, offset + len(content))
        self._unsynced.add(room.path)
        _write_at(self._handle(room.path), content, room.offset + offset)

    def sync(self) -> None:
        """What was written is durable on return, also that of the rounds before. Raises: OSError."""
        if not self._asked:
            self._asked, self._said = True, self._synced()
        if self._said is not None:
            raise OSError(self._said.errno, self._said.strerror) from self._said

    def close(self) -> None:
        """Let go of them."""
        for handle in self._handles.values():
            os.close(handle)
        self._handles.clear()

    def _synced(self) -> OSError | None:
        try:
            for path in sorted(self._unsynced):
                os.fdatasync(self._handle(path))
        except OSError as error:
            return error
        self._unsynced.clear()
        return None

    def _handle(self, path: Path) -> int:
        if path not in self._handles:
            self._handles[path] = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        return self._handles[path]


def make(folder: Path) -> list[Room]:
    """A new file, whose rooms are blank and the disk's for good. Raises: OSError, and leaves none."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Files of several refreshers may come into one folder: see `SpoolSlot.adopt`.
    path = folder / f"{uuid4().hex}{SUFFIX}"
    try:
        with _opened(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600) as handle:
            _allocate(handle, ROOMS * ROOM_BYTES)
            os.fsync(handle)
        _sync_folder(folder)
    except OSError:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise
    return [Room(path, number * ROOM_BYTES) for number in range(ROOMS)]


def secure(folder: Path) -> None:
    """Make durable what an earlier process made, and may have been killed before it was. Raises: OSError."""
    found = files(folder)
    for path in found:
        with _opened(path, os.O_RDWR) as handle:
            os.fsync(handle)
    if found:
        _sync_folder(folder)


def files(folder: Path) -> list[Path]:
    """Of a spool; none where the folder is not there yet."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def rooms(path: Path) -> Iterator[tuple[Room, Pending | None]]:
    """The rooms of a file that are blank, and those with something in them.

    Left out: what was not allocated whole, and whatever does not read, which is for people to look at.
    Raises: OSError.
    """
    with _opened(path, os.O_RDONLY) as handle:
        size = os.fstat(handle).st_size
        for offset in range(0, size, ROOM_BYTES):
            content = _read(handle, offset)
            if (pending := parsed(content)) is not None:
                yield Room(path, offset, used=ROOM_BYTES), pending
            elif is_blank(content) and offset + ROOM_BYTES <= size:
                yield Room(path, offset), None


def entries(path: Path) -> list[Pending]:
    """What is in a file's rooms; nothing where it is gone. Raises: OSError."""
    try:
        return [pending for _, pending in rooms(path) if pending is not None]
    except FileNotFoundError:
        return []


def is_unused(path: Path) -> bool:
    """Nothing is in a file, nor anything that does not read. Raises: OSError."""
    with _opened(path, os.O_RDONLY) as handle:
        size = os.fstat(handle).st_size
        return all(is_blank(_read(handle, offset)) for offset in range(0, size, ROOM_BYTES))


@contextmanager
def _opened(path: Path, flags: int, mode: int = 0o600) -> Iterator[int]:
    handle = os.open(path, flags | os.O_CLOEXEC, mode)
    try:
        yield handle
    finally:
        os.close(handle)


def _read(handle: int, offset: int) -> bytes:
    """A room, or the beginning of a blank one."""
    content = os.pread(handle, _GLANCE_BYTES, offset)
    return content if is_blank(content) else os.pread(handle, ROOM_BYTES, offset)


def _allocate(handle: int, length: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, length)
    else:
        _write_at(handle, bytes(length), 0)


def _write_at(handle: int, content: bytes, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(handle, view, offset)
        view, offset = view[written:], offset + written


def _sync_folder(folder: Path) -> None:
    with _opened(folder, os.O_RDONLY) as handle:
        os.fsync(handle)
