"""Forks the vault's processes from one that has loaded everything: they start at once, and die for real.

Reads a line of JSON per process to start, `{"arguments": […], "environment": {…}, "log": path}`, and answers
with its pid. Ends with its standard input, and takes every process it started along.
"""

import json
import os
import signal
import sys
from typing import Any, NoReturn

from dispenser.cli.app import app


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the dead
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            live(json.loads(line))
        print(pid, flush=True)
    os.killpg(0, signal.SIGKILL)


def live(asked: dict[str, Any]) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.update(asked["environment"])
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        app(asked["arguments"], standalone_mode=False)
    except BaseException as error:  # noqa: BLE001 - the fork must not go on as its parent
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main()
