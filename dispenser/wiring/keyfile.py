import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from shared.errors import KeyMissing

LOCK_SECONDS: Final = 30.0
LOCK_PAUSE_SECONDS: Final = 0.05


class KeyFile:
    """A keyring's text in a file, readable by its owner alone. It changes whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> str:
        """Raises: KeyMissing."""
        try:
            return self.path.read_text()
        except FileNotFoundError:
            raise KeyMissing(f"There is no keyring at {self.path}: run `dispenser init`.") from None
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "not text"
            raise KeyMissing(f"The keyring at {self.path} cannot be read ({why}).") from None

    def replace(self, text: str) -> None:
        """Durable on return. Raises: OSError."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)
        _sync(self.path.parent)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else changes the file meanwhile. The lock is another file: this one is replaced.

        Raises: OSError where somebody does not come to an end.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = self.path.with_name(f".{self.path.name}.lock")
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(handle, self.path)
            yield
        finally:
            os.close(handle)


def _lock(handle: int, path: Path) -> None:
    gives_up = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > gives_up:
                raise OSError(f"Another command has been changing {path} for {LOCK_SECONDS:.0f} s.") from None
            time.sleep(LOCK_PAUSE_SECONDS)


def _sync(folder: Path) -> None:
    """Names in a folder survive a power cut once it is synced."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
