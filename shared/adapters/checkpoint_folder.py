import os
from datetime import datetime
from pathlib import Path
from typing import Final

from shared.checkpoint import notes_in
from shared.errors import AuditUnavailable

#: Has several notes in it.
TAIL_BYTES: Final = 8192


class CheckpointFolder:
    """Checkpoints outside of the database, a file a day: who alters the one has not altered the other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, note: str, at: datetime) -> None:
        """Durable on return. Raises: AuditUnavailable."""
        path = self._folder / f"{at:%Y-%m-%d}.txt"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            try:
                # The empty line before ends whatever a crash has torn.
                os.write(handle, f"\n{note}".encode())
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise AuditUnavailable(f"{path}: {error.strerror}.") from error

    def last(self) -> str | None:
        """The note that was added last. Raises: AuditUnavailable."""
        try:
            for path in self._files()[::-1]:
                with path.open("rb") as file:
                    file.seek(max(0, path.stat().st_size - TAIL_BYTES))
                    notes = notes_in(file.read().decode(errors="replace"))
                if notes:
                    return notes[-1]
        except OSError as error:
            raise AuditUnavailable(f"{self._folder}: {error.strerror}.") from error
        return None

    def last_of_each_day(self) -> list[str]:
        """Oldest first. Raises: AuditUnavailable."""
        try:
            texts = [path.read_text(errors="replace") for path in self._files()]
        except OSError as error:
            raise AuditUnavailable(f"{self._folder}: {error.strerror}.") from error
        return [notes[-1] for text in texts if (notes := notes_in(text))]

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.txt"))
