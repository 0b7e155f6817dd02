"""Peers in processes of their own, and what a process has used."""

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

PEERS = Path(__file__).with_name("peers")
_STOP_SECONDS = 10.0


@contextmanager
def peers(*commands: tuple[str, ...]) -> Iterator[list[int]]:
    """Their pids, once all are ready. A command is the peer's name and what it is told."""
    with ExitStack() as ending:
        started = [ending.enter_context(_started(*command)) for command in commands]
        for process, (name, *_) in zip(started, commands, strict=True):
            assert process.stdout
            assert process.stdout.readline() == "ready\n", f"{name} did not come up"
        yield [process.pid for process in started]


@contextmanager
def _started(name: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, str(PEERS / f"{name}.py"), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(_STOP_SECONDS)


def family(pid: int) -> list[int]:
    """A process and all below it."""
    parent = psutil.Process(pid)
    return [pid, *(child.pid for child in parent.children(recursive=True))]


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time used so far."""
    return sum(map(_cpu_seconds, pids))


def _cpu_seconds(pid: int) -> float:
    if sys.platform == "linux":
        # clock_getcpuclockid(3), as glibc has it: to the nanosecond, where /proc counts in hundredths.
        return time.clock_gettime(~pid << 3 | 2)
    used = psutil.Process(pid).cpu_times()
    return float(used.user + used.system)


def memory_megabytes(pid: int) -> float:
    """Of its own: what it shares with others is counted once, at the process that is measured."""
    return float(psutil.Process(pid).memory_full_info().uss) / 1e6
