import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

from shared.errors import VaultError
from shared.rounds import Rounds
from workers import spool_file
from workers.spool_entry import Entry, Pending, answered, reservation
from workers.spool_file import OpenFiles, Room

#: Errands that share their syncs, at most.
_MOST_AT_ONCE: Final = 64


class SpoolUnavailable(VaultError):
    """The spool cannot be written. Free space on its volume, or mend it; until then nothing is refreshed."""

    code = "spool_unavailable"
    retryable = True


#: Something to do in one room, in steps, on the files of its round.
_Errand = Callable[[OpenFiles], Iterator[None]]


class Spool:
    """Keeps providers' sealed answers on disk from before they are parsed until they are committed.

    Room is taken before a request is sent, so that a full disk is found then and not when the answer is here.
    Rooms lie together in a file and are used again: what many requests write at once is made durable by one
    sync. One process has the folder to itself.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        #: By entry. None: nobody has looked yet what an earlier process left.
        self._taken: dict[str, Room] | None = None
        #: The next one last.
        self._free: list[Room] = []
        #: Those that may hold a reservation that failed.
        self._uncleared: list[Room] = []
        self._unsynced: set[Path] = set()
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
            await self._done(partial(self._write, entry, sealed))
        except SpoolUnavailable:
            self._unwritten[entry.id] = Pending(entry=entry, sealed=sealed)
            raise

    async def delete(self, entry_id: str) -> None:
        """Forget an entry that has come to its end. Raises: SpoolUnavailable."""
        self._unwritten.pop(entry_id, None)
        await self._done(partial(self._deleted, entry_id))

    async def sweep(self) -> int:
        """Remove files with nothing in them but one, and return how many. To be called before this process
        takes any room. Raises: SpoolUnavailable."""
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
        return await asyncio.to_thread(self._round, errands)

    def _round(self, errands: Sequence[_Errand]) -> Sequence[OSError | None]:
        files = OpenFiles(self._unsynced)
        try:
            self._clear(files)
            return _in_step([errand(files) for errand in errands])
        finally:
            files.close()

    def _reserve(self, entry: Entry, files: OpenFiles) -> Iterator[None]:
        room = self._room(entry.id)
        try:
            files.write(room, reservation(entry))
            yield
            files.sync()
        except OSError:
            self._uncleared.append(self._known().pop(entry.id))
            self._clear(files)
            raise

    def _write(self, entry: Entry, sealed: bytes, files: OpenFiles) -> Iterator[None]:
        room = self._room(entry.id)
        offset, answer = answered(entry, sealed)
        files.write(room, answer, offset)
        yield
        files.sync()

    def _deleted(self, entry_id: str, files: OpenFiles) -> Iterator[None]:
        if (room := self._known().get(entry_id)) is not None:
            _blank(room, files)
            self._free.append(self._known().pop(entry_id))
        yield

    def _clear(self, files: OpenFiles) -> None:
        """Of reservations that failed the disk may have kept some, for which nothing was sent."""
        with suppress(OSError):
            while self._uncleared:
                _blank(self._uncleared[-1], files)
                self._free.append(self._uncleared.pop())

    def _room(self, entry_id: str) -> Room:
        """The entry's, or one that is free."""
        taken = self._known()
        if entry_id not in taken:
            if not self._free and not self._uncleared:
                self._free = spool_file.make(self._folder)[::-1]
            # To write over what is in a room clears it too.
            taken[entry_id] = (self._uncleared or self._free).pop()
        return taken[entry_id]

    def _known(self) -> dict[str, Room]:
        """Who has which room, as the disk had it when this process came and as it was changed since."""
        if self._taken is None:
            spool_file.secure(self._folder)
            found = [room for path in spool_file.files(self._folder) for room in spool_file.rooms(path)]
            self._free = [room for room, pending in found if pending is None][::-1]
            self._taken = {pending.entry.id: room for room, pending in found if pending is not None}
        return self._taken

    def _sweep(self) -> int:
        unused = [path for path in spool_file.files(self._folder) if spool_file.is_unused(path)][1:]
        for path in unused:
            path.unlink(missing_ok=True)
        return len(unused)

    def _pending(self) -> list[Pending]:
        on_disk = [pending for path in spool_file.files(self._folder) for pending in spool_file.entries(path)]
        return list({**{found.entry.id: found for found in on_disk}, **self._unwritten}.values())


def _blank(room: Room, files: OpenFiles) -> None:
    # Not synced: an entry that comes back after a power cut is recognized as done.
    files.write(room, bytes(room.used))
    room.used = 0


def _in_step(errands: Sequence[Iterator[None]]) -> Sequence[OSError | None]:
    """Do a step of each, and then the next: all have written before anything is synced. What the disk refuses
    to one of them is its own trouble."""
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
