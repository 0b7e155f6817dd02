import asyncio
import errno
import fcntl
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from shared import audit_line
from shared.adapters.disk_thread import DiskThread
from shared.errors import AuditUnavailable
from shared.model import AuditRecord

SUFFIX: Final = ".jsonl"
#: Records written with one fdatasync.
LARGEST_GROUP: Final = 256


class FileAuditJournal:
    """An append-only file of this process's own, made durable in groups: who waits together pays once.

    The writer holds a lock on its file, so that whoever ships journals can tell a living one from a left one.
    A file that failed is left to the shipper, and a new one is begun: what the disk made of the last bytes is
    never written over, for they may have been read, and never trusted.
    """

    def __init__(self, folder: Path, writer: str) -> None:
        self._folder = folder
        self._name = writer
        self._files_begun = 0
        self._file: _File | None = None
        self._waiting: list[_Batch] = []
        #: Nothing waits, and nothing is on its way to the disk.
        self._idle = asyncio.Event()
        self._idle.set()
        self._disk = DiskThread("audit journal")

    async def __aenter__(self) -> Self:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = self._begin()
        except OSError as error:
            raise _unavailable(self._folder, error) from error
        self._disk.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._idle.wait()
        await self._disk.close()
        self._leave()

    async def append(self, *records: AuditRecord) -> None:
        """Durable on return, all of them. Raises: AuditUnavailable."""
        loop = asyncio.get_running_loop()
        durable: asyncio.Future[None] = loop.create_future()
        if self._idle.is_set():
            self._idle.clear()
            loop.call_soon(self._flush)
        self._waiting.append(_Batch(records, durable))
        await durable

    def _flush(self) -> None:
        """Send the next group to the disk, if any waits."""
        if not self._waiting:
            self._idle.set()
            return
        group = self._next_group()
        try:
            work = self._written([record for batch in group for record in batch.records])
        except Exception as error:  # noqa: BLE001 - a record that is no line is its writers' trouble alone
            self._flushed(group, error)
        else:
            self._disk.do(work, partial(self._flushed, group))

    def _flushed(self, group: "list[_Batch]", error: Exception | None) -> None:
        if isinstance(error, OSError):
            error = _unavailable(self._folder, error)
            self._leave()
        _settle(group, error)
        self._flush()

    def _next_group(self) -> "list[_Batch]":
        """The batches that go to the disk together: the first, and more as long as there is room."""
        taken = room = 0
        for batch in self._waiting:
            room += len(batch.records)
            if taken and room > LARGEST_GROUP:
                break
            taken += 1
        group, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return group

    def _written(self, records: Sequence[AuditRecord]) -> Callable[[], None]:
        """What is to be done in the other thread for these records."""
        if self._file is None:
            return partial(self._write_anew, records)
        # The lines are made here: the other thread would only wait for this one's turn to end.
        return partial(self._file.write, self._file.lines(records))

    def _write_anew(self, records: Sequence[AuditRecord]) -> None:
        self._file = self._begin()
        self._file.write(self._file.lines(records))

    def _leave(self) -> None:
        """Let go of a file that has failed, if there is one."""
        failed, self._file = self._file, None
        if failed is not None:
            failed.leave()

    def _begin(self) -> "_File":
        self._files_begun += 1
        number = "" if self._files_begun == 1 else f".{self._files_begun}"
        return _File(self._folder, f"{self._name}{number}")


class _Batch(NamedTuple):
    """Records of one caller, which waits for all of them."""

    records: Sequence[AuditRecord]
    durable: asyncio.Future[None]


class _File:
    """One file of a journal. It is written until a write fails."""

    def __init__(self, folder: Path, writer: str) -> None:
        """Raises: OSError, as where there is one of this writer already."""
        self._path = folder / f"{writer}{SUFFIX}"
        self._handle = _begun(self._path)
        self._writer = writer
        self._sequence = 0
        self._chain = audit_line.first_chain(writer)
        self._proved = False

    def lines(self, records: Sequence[AuditRecord]) -> bytes:
        """A group, numbered and chained: it is to be written next."""
        lines, self._chain = audit_line.chained_lines(
            records, self._chain, writer=self._writer, sequence=self._sequence + 1
        )
        self._sequence += len(records)
        return lines

    def write(self, lines: bytes) -> None:
        """Durable on return. Raises: OSError."""
        if os.write(self._handle, lines) != len(lines):
            raise OSError(errno.ENOSPC, "only a part was written")
        os.fdatasync(self._handle)
        self._proved = True

    def leave(self) -> None:
        """Let go of it. One that never took anything goes at once: a full disk would fill with them."""
        os.close(self._handle)
        if not self._proved:
            with suppress(OSError):
                self._path.unlink()


def _settle(group: Sequence[_Batch], error: Exception | None) -> None:
    for batch in group:
        if batch.durable.done():  # its caller has gone
            continue
        if error is None:
            batch.durable.set_result(None)
        else:
            batch.durable.set_exception(error)


def _unavailable(folder: Path, error: OSError) -> AuditUnavailable:
    return AuditUnavailable(f"{folder}: {error.strerror}.")


def _begun(path: Path) -> int:
    """A new journal, open and locked. Raises: OSError, as where there is one already.

    It is locked before it has its name: a shipper that saw it unlocked would take it for a left one.
    """
    unnamed = path.with_suffix(".new")
    file = os.open(unnamed, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.exists():
            raise FileExistsError(errno.EEXIST, "another writer of this name has been here")
        unnamed.rename(path)
        _sync(path.parent)
    except OSError:
        os.close(file)
        unnamed.unlink(missing_ok=True)
        raise
    return file


def _sync(folder: Path) -> None:
    """Names in a folder survive a power cut once it is synced."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
