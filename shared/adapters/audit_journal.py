import asyncio
import errno
import fcntl
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from shared import audit_line
from shared.errors import AuditUnavailable
from shared.model import AuditRecord

SUFFIX: Final = ".jsonl"
#: Records written with one fdatasync.
LARGEST_GROUP: Final = 256


class FileAuditJournal:
    """An append-only file of this process's own, made durable in groups: who waits together pays once.

    The writer holds a lock on its file, so that whoever ships journals can tell a living one from a left one.
    """

    def __init__(self, folder: Path, writer: str) -> None:
        self._path = folder / f"{writer}{SUFFIX}"
        self._writer = writer
        self._sequence = 0
        self._file = -1
        self._length = 0
        self._waiting: list[tuple[AuditRecord, asyncio.Future[None]]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _begun(self._path)
        except OSError as error:
            raise AuditUnavailable(f"{self._path}: {error.strerror}.") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._flushing is not None:
            await asyncio.gather(self._flushing, return_exceptions=True)
        os.close(self._file)

    async def append(self, record: AuditRecord) -> None:
        """Durable on return. Raises: AuditUnavailable."""
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((record, durable))
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush(), name="audit journal")
        await durable

    async def _flush(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:LARGEST_GROUP], self._waiting[LARGEST_GROUP:]
            numbered = [self._numbered(record) for record, _ in group]
            try:
                await asyncio.to_thread(self._write, numbered)
            except OSError as error:
                self._settle(group, AuditUnavailable(f"{self._path}: {error.strerror}."))
            else:
                self._settle(group, None)

    def _numbered(self, record: AuditRecord) -> AuditRecord:
        self._sequence += 1
        return replace(record, writer=self._writer, sequence=self._sequence)

    def _write(self, records: Sequence[AuditRecord]) -> None:
        lines = b"".join(audit_line.encode(record) for record in records)
        try:
            if os.write(self._file, lines) != len(lines):
                raise OSError(0, "only a part was written")
            os.fdatasync(self._file)
        except OSError:
            # No half line stays before the next group.
            os.ftruncate(self._file, self._length)
            raise
        self._length += len(lines)

    @staticmethod
    def _settle(
        group: Sequence[tuple[AuditRecord, asyncio.Future[None]]], error: AuditUnavailable | None
    ) -> None:
        for _, durable in group:
            if durable.done():  # its caller has gone
                continue
            if error is None:
                durable.set_result(None)
            else:
                durable.set_exception(error)


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
        raise
    return file


def _sync(folder: Path) -> None:
    """Names in a folder survive a power cut once it is synced."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
