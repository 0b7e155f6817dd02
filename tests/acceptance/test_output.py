"""What a command prints arrives whole, however slowly it is read."""

import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import IO

import pytest
from services.server import wait_until

#: Linux's default capacity of a pipe, in bytes.
PIPE_BYTES = 65_536
PRINTS = """
from dispenser.cli import app, output
app.app = lambda: output.value(["x" * 100] * 2000)
app.run()
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_command_that_is_stopped_while_it_prints_loses_nothing(unbuffered: str) -> None:
    """As by Ctrl-Z and `fg`: the pipe was full, and has taken a part of what was written."""
    with subprocess.Popen(
        [sys.executable, "-P", "-c", PRINTS],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
    ) as command:
        assert command.stdout is not None
        assert wait_until(lambda: waiting_bytes(command.stdout) == PIPE_BYTES)
        command.send_signal(signal.SIGSTOP)
        assert wait_until(lambda: state(command.pid) == "T")
        command.send_signal(signal.SIGCONT)
        assert wait_until(lambda: state(command.pid) != "T")
        printed = command.stdout.read()
    assert command.returncode == 0
    assert json.loads(printed) == ["x" * 100] * 2000


def waiting_bytes(pipe: IO[bytes] | None) -> int:
    assert pipe is not None
    [waiting] = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))
    return int(waiting)


def state(pid: int) -> str:
    """As `/proc` has it: T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
