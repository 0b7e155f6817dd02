import asyncio
import hashlib
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import msgpack

from shared.errors import VaultError
from shared.model import GrantId, Owner
from shared.rounds import Rounds

MAGIC: Final = b"dispenser spool 1\n"
#: Room for an answer of 64 KiB, sealed, and the header.
RESERVED_BYTES: Final = 80 * 1024
_LENGTH: Final = struct.Struct(">I")
_DIGEST_BYTES: Final = 32
_SUFFIX: Final = ".spool"
#: Files that are written before they are synced, at most.
_MOST_AT_ONCE: Final = 64


class SpoolUnavailable(VaultError):
    """The spool cannot be written. Free space on its volume, or mend it; until then nothing is refreshed."""

    code = "spool_unavailable"
    retryable = True


class Purpose(StrEnum):
    """What a provider was asked for."""

    ROTATION = "rotation"
    ENROLMENT = "enrolment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A request about to be sent, and where its answer belongs."""

    #: The intent's or the enrolment's.
    id: str
    purpose: Purpose
    grant_id: GrantId
    owner: Owner
    #: The grant's before the request.
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """An entry that has not come to its end. `sealed` is None where no whole answer was written."""

    entry: Entry
    sealed: bytes | None = field(repr=False)


#: Something to do to one file, in steps; given what syncs the folder.
_Errand = Callable[[Callable[[], None]], Iterator[None]]


class Spool:
    """Keeps providers' sealed answers on disk from before they are parsed until they are committed.

    Room is taken before a request is sent, so that a full disk is found then and not when the answer is here.
    One process has the folder to itself. What several entries need at once is done in steps, each for all of
    them before the next: a disk that is told to sync one file takes along what was written to the others.
    Files: magic | length | digest | header, then length | digest |
    answer; a torn part fails its digest.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        #: Answers that the disk refused: kept here, so that a replay in this process still finds them.
        self._unwritten: dict[str, Pending] = {}
        self._errands: Rounds[_Errand, None] = Rounds(self._together, limit=_MOST_AT_ONCE)

    async def reserve(self, entry: Entry) -> None:
        """Take the room for an answer; durable once this returns.

        Raises: SpoolUnavailable, and takes none.
        """
        await self._done(partial(self._reserve, entry))

    async def write(self, entry: Entry, sealed: bytes) -> None:
        """Put the answer into its room; durable once this returns. Raises: SpoolUnavailable, and keeps the
        answer in memory."""
        try:
            await self._done(lambda _: self._write(entry, sealed))
        except SpoolUnavailable:
            self._unwritten[entry.id] = Pending(entry=entry, sealed=sealed)
            raise

    async def delete(self, entry_id: str) -> None:
        """Forget an entry that has come to its end. Raises: SpoolUnavailable."""
        self._unwritten.pop(entry_id, None)
        await self._done(lambda _: self._deleted(entry_id))

    async def sweep(self) -> int:
        """Remove the room that a process took and died before it said what for: nothing was sent. Returns how
        much there was. To be called before this process takes any. Raises: SpoolUnavailable."""
        with self._telling():
            return await asyncio.to_thread(self._sweep)

    async def pending(self) -> list[Pending]:
        """What has not come to its end, in this process or one before it. Raises: SpoolUnavailable."""
        with self._telling():
            return await asyncio.to_thread(self._pending)

    async def _done(self, errand: _Errand) -> None:
        with self._telling():
            await self._errands.join(errand)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Raises: SpoolUnavailable, where the disk fails."""
        try:
            yield
        except OSError as error:
            raise SpoolUnavailable(f"The spool at {self._folder} failed: {error.strerror}.") from error

    async def _together(self, errands: Sequence[_Errand]) -> Sequence[OSError | None]:
        # Synced once for all whose files are new: by then every one of them has been made.
        sync_folder = cache(self._sync_folder)
        return await asyncio.to_thread(_in_step, [errand(sync_folder) for errand in errands])

    def _reserve(self, entry: Entry, sync_folder: Callable[[], None]) -> Iterator[None]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            yield from self._take_room(entry)
            yield
            sync_folder()
        except OSError:
            with suppress(OSError):
                self._delete(entry.id)
            raise

    def _take_room(self, entry: Entry) -> Iterator[None]:
        handle = os.open(self._path(entry.id), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _allocate(handle)
            _write_at(handle, MAGIC + _framed(_packed(entry)), 0)
            yield
            os.fsync(handle)
        finally:
            os.close(handle)

    def _write(self, entry: Entry, sealed: bytes) -> Iterator[None]:
        handle = os.open(self._path(entry.id), os.O_RDWR | os.O_CLOEXEC)
        try:
            _write_at(handle, _framed(sealed), len(MAGIC) + len(_framed(_packed(entry))))
            yield
            os.fdatasync(handle)
        finally:
            os.close(handle)

    def _deleted(self, entry_id: str) -> Iterator[None]:
        self._delete(entry_id)
        yield

    def _delete(self, entry_id: str) -> None:
        # Not synced: an entry that comes back after a power cut is recognized as done.
        self._path(entry_id).unlink(missing_ok=True)

    def _sweep(self) -> int:
        blank = [path for path in self._paths() if not any(path.read_bytes())]
        for path in blank:
            path.unlink(missing_ok=True)
        return len(blank)

    def _pending(self) -> list[Pending]:
        if not self._folder.exists():
            return []
        on_disk = {found.entry.id: found for path in self._paths() if (found := _read(path))}
        return list({**on_disk, **self._unwritten}.values())

    def _paths(self) -> list[Path]:
        """Of all entries; none where the folder is not there yet."""
        return sorted(self._folder.glob(f"*{_SUFFIX}"))

    def _path(self, entry_id: str) -> Path:
        return self._folder / f"{entry_id}{_SUFFIX}"

    def _sync_folder(self) -> None:
        handle = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _in_step(errands: Sequence[Iterator[None]]) -> Sequence[OSError | None]:
    """Do a step of each, and then the next. What the disk refuses to one of them is its own trouble."""
    failed: dict[int, OSError] = {}
    under_way = dict(enumerate(errands))
    while under_way:
        for number, errand in list(under_way.items()):
            try:
                next(errand)
            except StopIteration:
                del under_way[number]
            except OSError as error:
                del under_way[number]
                failed[number] = error
    return [failed.get(number) for number in range(len(errands))]


def _allocate(handle: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, RESERVED_BYTES)
    else:
        _write_at(handle, bytes(RESERVED_BYTES), 0)


def _write_at(handle: int, content: bytes, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(handle, view, offset)
        view, offset = view[written:], offset + written


def _framed(content: bytes) -> bytes:
    return _LENGTH.pack(len(content)) + hashlib.sha256(content).digest() + content


def _unframed(content: bytes) -> tuple[bytes, bytes] | None:
    """The first part and what follows it. None: it is torn, or was never written."""
    if len(content) < _LENGTH.size + _DIGEST_BYTES:
        return None
    [length] = _LENGTH.unpack_from(content)
    digest, rest = (
        content[_LENGTH.size : _LENGTH.size + _DIGEST_BYTES],
        content[_LENGTH.size + _DIGEST_BYTES :],
    )
    part = rest[:length]
    return (part, rest[length:]) if hashlib.sha256(part).digest() == digest else None


def _read(path: Path) -> Pending | None:
    try:
        return _parsed(path.read_bytes())
    except FileNotFoundError:
        # It has come to its end since it was listed.
        return None


def _parsed(content: bytes) -> Pending | None:
    """None: the header is torn, and so its request was never sent."""
    header = _unframed(content.removeprefix(MAGIC)) if content.startswith(MAGIC) else None
    if header is None:
        return None
    answer = _unframed(header[1])
    return Pending(entry=_unpacked(header[0]), sealed=answer[0] if answer else None)


def _packed(entry: Entry) -> bytes:
    fields: list[Any] = [entry.id, entry.purpose.value, entry.grant_id, entry.owner, entry.generation]
    return bytes(msgpack.packb(fields))


def _unpacked(header: bytes) -> Entry:
    entry_id, purpose, grant_id, owner, generation = msgpack.unpackb(header)
    return Entry(
        id=entry_id,
        purpose=Purpose(purpose),
        grant_id=GrantId(grant_id),
        owner=Owner(owner),
        generation=generation,
    )
