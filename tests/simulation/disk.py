"""A disk in memory: what was not synced may be gone, or half there, after a power cut."""

import errno
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Final
from unittest.mock import patch

import workers.spool

#: Told of every system call before it is done; may raise `Killed`, or OSError in its stead.
Syscall = Callable[[str], None]
_SHOWN: Final = ("O_RDWR", "O_RDONLY", "O_WRONLY", "O_CREAT", "O_TRUNC", "O_CLOEXEC", "O_DIRECTORY")


@dataclass(slots=True)
class File:
    """What readers see, and what would be left after a power cut."""

    content: bytearray = field(default_factory=bytearray)
    #: None: no sync has reached it yet.
    durable: bytes | None = None
    #: Its name in the folder is durable.
    named: bool = False
    writes: list[tuple[int, bytes]] = field(default_factory=list)

    def write(self, offset: int, data: bytes) -> None:
        _put(self.content, offset, data)
        self.writes.append((offset, data))

    def sync(self) -> None:
        self.durable = bytes(self.content)
        self.writes.clear()

    def cut(self, chance: random.Random) -> None:
        """Keep what is durable, and of the rest what chance leaves."""
        left = bytearray(self.durable or b"")
        for offset, data in self.writes:
            if chance.random() < 0.5:
                _put(left, offset, data[: chance.randint(0, len(data))])
        self.content, self.durable, self.writes = left, bytes(left), []


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
        elif flags & os.O_TRUNC:
            file.content = bytearray()
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

    def exists(self) -> bool:
        return True

    def glob(self, pattern: str) -> "Iterator[SimulatedPath]":
        return (self / name for name in list(self.disk.files) if fnmatch(name, pattern))

    def read_bytes(self) -> bytes:
        return bytes(self.disk.files[self.name].content)

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
    with patch.object(workers.spool, "os", _SimulatedOs()):
        yield


def _put(content: bytearray, offset: int, data: bytes) -> None:
    content.extend(bytes(max(0, offset + len(data) - len(content))))
    content[offset : offset + len(data)] = data
