import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

LOCK: Final = ".lock"
#: Refreshers that share one state folder at most.
MOST: Final = 1000


@dataclass
class SpoolSlot:
    """A numbered spool folder that one living refresher holds.

    A refresher that comes back takes the lowest free number, and so finds what it left. What was left under
    other free numbers it adopts: nothing waits for a process that never returns.
    """

    folder: Path
    number: int
    _lock: int

    @classmethod
    def take(cls, root: Path) -> Self:
        """The lowest slot that no process holds. Raises: OSError where the folder cannot be written."""
        for number in range(MOST):
            lock = _locked(root / str(number))
            if lock is not None:
                return cls(root / str(number), number, lock)
        raise OSError(f"{root}: all {MOST} spool slots are held.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._lock)

    def adopt(self) -> int:
        """Move what lies in other free slots into this one, and return how many files."""
        adopted = 0
        for other in _numbered(self.folder.parent):
            lock = None if other == self.folder else _locked(other)
            if lock is None:
                continue
            adopted += _moved(other, self.folder)
            os.close(lock)
        return adopted


def _locked(folder: Path) -> int | None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _numbered(root: Path) -> Iterator[Path]:
    return (folder for folder in sorted(root.iterdir()) if folder.name.isdecimal())


def _moved(source: Path, target: Path) -> int:
    files = [path for path in source.iterdir() if path.name != LOCK]
    for path in files:
        path.replace(target / path.name)
    return len(files)
