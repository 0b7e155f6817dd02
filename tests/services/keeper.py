"""Outlives the tests by a moment: ends every server they left and removes their folder, however they ended.

Run as `keeper.py FOLDER` by the first pytest process, which holds the other end of its standard input; that
end closes when the process is gone, be it by SIGKILL.
"""

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

#: In each server's folder: its process, and the signal that ends it fast and cleanly.
PID_FILE = "process.pid"
_GRACE_SECONDS = 10.0


def keep(folder: Path) -> None:
    sys.stdin.buffer.read()
    left = [_parse(path) for path in folder.rglob(PID_FILE)]
    for pid, end_signal in left:
        _signal(pid, end_signal)
    deadline = time.monotonic() + _GRACE_SECONDS
    while any(_alive(pid) for pid, _ in left) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid, _ in left:
        _signal(pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def _parse(path: Path) -> tuple[int, int]:
    pid, end_signal = path.read_text().split()
    return int(pid), int(end_signal)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _alive(pid: int) -> bool:
    """Whether it still runs. Where the system tells, a process that nobody has waited for counts as gone."""
    try:
        os.kill(pid, 0)
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except ProcessLookupError:
        return False
    except FileNotFoundError:
        return not Path("/proc/self").exists()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    keep(Path(sys.argv[1]))
