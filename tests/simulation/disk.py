"""A disk in memory: what was not synced may be gone, or half there, after a power cut."""

import errno
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from itertools import count
from types import SimpleNamespace
from typing import Final
from unittest.mock import patch

from workers import spool_file

#: Told of every system call before it is done; may raise `Killed`, or OSError in its stead.
Syscall = Callable[[str], None]
_SHOWN: Final = ("O_RDWR", "O_RDONLY", "O_CREAT", "O_EXCL", "O_CLOEXEC")
#: Rooms of a file: few, so that a spool comes to need another one.
_ROOMS: Final = 4


@dataclass(slots=True)
class File:
    """What readers see, and what would be left after a power cut."""

    content: bytearray = field(default_factory=bytearray)
    #: What no sync has reached is not in it.
    durable: bytearray = field(default_factory=bytearray)
    #: Its name in the folder is durable.
    named: bool = False
    writes: list[tuple[int, bytes]] = field(default_factory=list)

    def write(self, offset: int, data: bytes) -> None:
        _put(self.content, offset, data)
        self.writes.append((offset, data))

    def sync(self) -> None:
        _put(self.durable, len(self.content), b"")
        for offset, data in self.writes:
            _put(self.durable, offset, data)
        self.writes.clear()

    def cut(self, chance: random.Random) -> None:
        """Keep what is durable, and of the rest what chance leaves."""
        for offset, data in self.writes:
            if chance.random() < 0.5:
                _put(self.durable, offset, data[: chance.randint(0, len(data))])
        self.content, self.writes = bytearray(self.durable), []


class Disk:
    """The folder of one refresher's spool."""

    def __init__(self, name: str, syscall: Syscall = lambda _: None) -> None:
        self.name = name
        self.files: dict[str, File] = {}
        #: Removed, which a power cut may undo.
        self._removed: dict[str, File] = {}
        self._syscall = syscall

    @property
    def folder(self) -> "SimulatedPath":
        return SimulatedPath(self, "")

    def cut_power(self, chance: random.Random) -> None:
        """What was not synced may be lost or torn; what was removed may be back."""
        for name, file in self._removed.items():
            if file.named and chance.random() < 0.5:
                self.files.setdefault(name, file)
        self._removed.clear()
        for name, file in list(self.files.items()):
            if not file.named and chance.random() < 0.5:
                del self.files[name]
            else:
                file.cut(chance)
                file.named = True

    def adopt(self, other: "Disk") -> None:
        """Take over the files of a process that will not return."""
        self.files |= other.files
        other.files = {}

    # The calls that the spool makes.

    def open(self, name: str, flags: int) -> File:
        self._syscall("open")
        file = self.files.get(name)
        if file is None:
            if not flags & os.O_CREAT:
                raise FileNotFoundError(errno.ENOENT, "No such file", name)
            file = self.files[name] = File()
        return file

    def allocate(self, file: File, length: int) -> None:
        self._syscall("allocate")
        file.content.extend(bytes(max(0, length - len(file.content))))

    def write(self, file: File, data: bytes, offset: int) -> int:
        self._syscall("write")
        file.write(offset, data)
        return len(data)

    def sync(self, file: File) -> None:
        self._syscall("sync")
        file.sync()

    def sync_folder(self) -> None:
        self._syscall("sync folder")
        for file in self.files.values():
            file.named = True
        self._removed.clear()

    def unlink(self, name: str) -> None:
        self._syscall("unlink")
        file = self.files.pop(name, None)
        if file is not None:
            self._removed[name] = file


@dataclass(frozen=True, slots=True)
class SimulatedPath:
    """As much of `pathlib.Path` as a spool uses."""

    disk: Disk
    name: str

    def __truediv__(self, name: str) -> "SimulatedPath":
        return SimulatedPath(self.disk, name)

    def __str__(self) -> str:
        return f"{self.disk.name}/{self.name}"

    def __lt__(self, other: "SimulatedPath") -> bool:
        return self.name < other.name

    def mkdir(self, mode: int, *, parents: bool, exist_ok: bool) -> None:
        """It is there."""

    def glob(self, pattern: str) -> "Iterator[SimulatedPath]":
        return (self / name for name in list(self.disk.files) if fnmatch(name, pattern))

    def unlink(self, *, missing_ok: bool) -> None:
        self.disk.unlink(self.name)


class _SimulatedOs:
    """As much of `os` as a spool uses, on simulated paths."""

    def __init__(self) -> None:
        self._opened: dict[int, tuple[Disk, File | None]] = {}
        self._numbered = 0
        for flag in _SHOWN:
            setattr(self, flag, getattr(os, flag))

    def open(self, path: SimulatedPath, flags: int, mode: int = 0o600) -> int:
        file = path.disk.open(path.name, flags) if path.name else None
        self._numbered += 1
        self._opened[self._numbered] = (path.disk, file)
        return self._numbered

    def close(self, handle: int) -> None:
        del self._opened[handle]

    def posix_fallocate(self, handle: int, offset: int, length: int) -> None:
        disk, file = self._file(handle)
        disk.allocate(file, offset + length)

    def pwrite(self, handle: int, data: memoryview, offset: int) -> int:
        disk, file = self._file(handle)
        return disk.write(file, bytes(data), offset)

    def pread(self, handle: int, length: int, offset: int) -> bytes:
        _, file = self._file(handle)
        return bytes(file.content[offset : offset + length])

    def fstat(self, handle: int) -> SimpleNamespace:
        _, file = self._file(handle)
        return SimpleNamespace(st_size=len(file.content))

    def fsync(self, handle: int) -> None:
        disk, file = self._opened[handle]
        if file is None:
            disk.sync_folder()
        else:
            disk.sync(file)

    fdatasync = fsync

    def _file(self, handle: int) -> tuple[Disk, File]:
        disk, file = self._opened[handle]
        if file is None:
            raise IsADirectoryError(errno.EISDIR, "Is a directory")
        return disk, file


@contextmanager
def spools_on_simulated_disks() -> Iterator[None]:
    """Let `Spool` itself run, with the system calls of a simulated disk."""
    numbers = count(1)
    with (
        patch.object(spool_file, "os", _SimulatedOs()),
        patch.object(spool_file, "ROOMS", _ROOMS),
        # In the order of their names they are read.
        patch.object(spool_file, "uuid4", lambda: SimpleNamespace(hex=f"{next(numbers):04}")),
    ):
        yield


def _put(content: bytearray, offset: int, data: bytes) -> None:
    content.extend(bytes(max(0, offset + len(data) - len(content))))
    content[offset : offset + len(data)] = data
