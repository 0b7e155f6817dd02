"""A server that runs as a process of this machine, in a folder of its own."""

import os
import shutil
import signal
import subprocess
from abc import abstractmethod
from pathlib import Path

from services.keeper import PID_FILE
from services.server import Server, ServerFailed, wait_until

_STOP_SECONDS = 30.0
_LOG_TAIL_BYTES = 3000


class Process(Server):
    """One process, its folder and its log. The folder outlives `stop` and `kill`, so data do too."""

    stop_signal = signal.SIGTERM
    #: The signal that ends it fast and still leaves nothing behind in the system.
    end_signal = signal.SIGKILL
    #: The system's user it must run as, where not ours.
    user: str | None = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._child: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def ready(self) -> bool: ...

    def environment(self) -> dict[str, str]:
        """Nothing of the caller's but the search path: a private server obeys its own settings alone."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8"}

    def start(self) -> None:
        if self.running():
            return
        self._child = self._spawn()
        (self.folder / PID_FILE).write_text(f"{self._child.pid} {self.end_signal:d}")
        wait_until(lambda: not self.running() or self.ready())
        if not self.running() or not self.ready():
            self.kill()
            raise ServerFailed(f"{self.command()[0]} did not come up. It said last:\n{self.log_tail()}")

    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def stop(self) -> None:
        self._end(self.stop_signal)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def close(self) -> None:
        self._end(self.end_signal)
        shutil.rmtree(self.folder, ignore_errors=True)

    def log_tail(self) -> str:
        return (self.folder / "log").read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")

    def _spawn(self) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A Ctrl-C in the terminal is pytest's to hear: servers end after the tests that use them.
                start_new_session=True,
                user=self.user,
                group=self.user,
                extra_groups=[] if self.user else None,
            )

    def _end(self, with_signal: signal.Signals) -> None:
        if self._child is None:
            return
        self._child.send_signal(with_signal)
        try:
            self._child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child = None
        (self.folder / PID_FILE).unlink(missing_ok=True)
