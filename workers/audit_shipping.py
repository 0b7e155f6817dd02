import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from shared import audit_line
from shared.errors import MalformedMessage, VaultError
from shared.model import AuditRecord
from shared.ports import Clock
from workers.journal_check import checked, is_damage

BATCH_BYTES: Final = 256 * 1024
PAUSE_SECONDS: Final = 0.5
JOURNALS: Final = "*.jsonl"
#: More than what ends any line.
LINE_END_BYTES: Final = 128
log = structlog.get_logger()

#: Takes lines of journals to where the audit is kept; may be asked again for the same ones.
Deliver = Callable[[Sequence[bytes]], Awaitable[None]]


class AuditShipping:
    """Carries the journals of a folder to where the audit is kept.

    Delivery may be repeated, so a crash between it and the mark doubles nothing. A journal is removed once it
    is shipped whole and its writer has gone.
    """

    def __init__(self, folder: Path, deliver: Deliver, clock: Clock) -> None:
        self._folder = folder
        self._deliver = deliver
        self._clock = clock

    async def run(self) -> None:
        """Ship until cancelled; a database or broker that is down delays and loses nothing."""
        reachable = True
        while True:
            try:
                await self.ship()
                reachable = True
            except VaultError as error:
                if reachable:
                    log.warning("Audit records wait", code=error.code)
                reachable = False
            await asyncio.sleep(PAUSE_SECONDS)

    async def ship(self) -> int:
        """Ship all that lies there now and return how many records. Raises: what delivering does."""
        return sum([await self._ship_journal(path) for path in _journals(self._folder)])

    def unshipped(self) -> list[AuditRecord]:
        """What lies there and has not been shipped yet, left where it is."""
        return [record for path in _journals(self._folder) for record in _rest(path)]

    def altered(self) -> list[str]:
        """The journals that lie there and are not as their writers wrote them."""
        return [path.name for path in _journals(self._folder) if self._is_altered(path)]

    def _is_altered(self, path: Path) -> bool:
        offset = 0
        while True:
            previous, lines = _whole_lines(path, offset)
            if not lines:
                return False
            found = checked(lines, writer=path.stem, offset=offset, previous=previous, now=self._clock())
            if any(map(is_damage, found)):
                return True
            offset += len(lines)

    async def _ship_journal(self, path: Path) -> int:
        mark, shipped = path.with_suffix(".shipped"), 0
        left_by_writer = _left_by_writer(path)
        offset = _read_mark(mark)
        while True:
            previous, lines = _whole_lines(path, offset)
            if not lines:
                break
            batch = checked(lines, writer=path.stem, offset=offset, previous=previous, now=self._clock())
            if damaged := sum(map(is_damage, batch)):
                log.critical("Lines of an audit journal were altered", journal=path.name, lines=damaged)
            await self._deliver(batch)
            offset, shipped = offset + len(lines), shipped + len(batch)
            _write_mark(mark, offset)
        if left_by_writer:
            _remove(path, mark)
        return shipped


def _journals(folder: Path) -> list[Path]:
    return sorted(folder.glob(JOURNALS))


def _remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _whole_lines(path: Path, offset: int) -> tuple[str, bytes]:
    """The chain that the line at an offset has to follow, and the whole lines from there on, some of them."""
    start = max(0, offset - LINE_END_BYTES)
    try:
        with path.open("rb") as journal:
            journal.seek(start)
            chunk = journal.read(offset - start + BATCH_BYTES)
    except FileNotFoundError:  # another shipper has finished it
        return "", b""
    before, lines = chunk[: offset - start], chunk[offset - start :]
    previous = (
        audit_line.chain_of(before.removesuffix(b"\n")) if offset else audit_line.first_chain(path.stem)
    )
    return previous, lines[: lines.rfind(b"\n") + 1]


def _rest(path: Path) -> Iterator[AuditRecord]:
    offset = _read_mark(path.with_suffix(".shipped"))
    while lines := _whole_lines(path, offset)[1]:
        for line in lines.splitlines():
            with suppress(MalformedMessage):
                yield audit_line.decode(line)
        offset += len(lines)


def _left_by_writer(path: Path) -> bool:
    """The writer's lock is gone: nothing will be added. Asked before reading, so that nothing is missed."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(handle)


def _read_mark(mark: Path) -> int:
    try:
        return int(mark.read_text())
    except (FileNotFoundError, ValueError):
        return 0


def _write_mark(mark: Path, offset: int) -> None:
    replacement = mark.with_suffix(".shipped.new")
    replacement.write_text(str(offset))
    replacement.replace(mark)
