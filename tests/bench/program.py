"""A peer in a process of its own, and what a process has used."""

import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

PEERS = Path(__file__).with_name("peers")
_STOP_SECONDS = 10.0


@contextmanager
def peer(name: str, *arguments: str) -> Iterator[int]:
    """Its pid, once it is ready."""
    process = subprocess.Popen(
        [sys.executable, str(PEERS / f"{name}.py"), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == "ready\n", f"{name} did not come up"
        yield process.pid
    finally:
        process.terminate()
        process.wait(_STOP_SECONDS)


def family(pid: int) -> list[int]:
    """A process and all below it."""
    parent = psutil.Process(pid)
    return [pid, *(child.pid for child in parent.children(recursive=True))]


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time used so far."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(time.user + time.system for time in times)


def memory_megabytes(pid: int) -> float:
    """Of its own: what it shares with others is counted once, at the process that is measured."""
    return float(psutil.Process(pid).memory_full_info().uss) / 1e6
