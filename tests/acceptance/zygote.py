"""Forks the vault's processes from one that has loaded everything: they start at once, and die for real.

Reads lines of JSON. `{"arguments": […], "environment": {…}, "log": path}` starts a process; the answer is its
pid. A pid alone waits for its end; the answer is its exit code, negative for a signal. Until then nobody else
gets that pid. Ends with its standard input, and takes every process it started along.
"""

import gc
import json
import os
import signal
import sys
from typing import Any, NoReturn

import psycopg  # noqa: F401 - loaded by a process's first connection
import uvloop  # noqa: F401 - and by its loop

from dispenser.cli.app import app
from dispenser.cli.commands import COMMANDS
from dispenser.cli.lazy_group import loaded
from shared.adapters.sql import migration
from workers import decision

#: Longer than it takes, on a busy machine, from a claim to what an emulated provider does about it.
AMBIGUITY_SECONDS = 30.0


def main() -> None:
    decision.AMBIGUITY_SECONDS = AMBIGUITY_SECONDS  # type: ignore[misc]
    migration.head()
    for command in COMMANDS:
        loaded(command)
    gc.freeze()  # what is loaded stays shared: a fork need not copy it to count its references
    for line in sys.stdin:
        asked = json.loads(line)
        print(ended(asked) if isinstance(asked, int) else started(asked), flush=True)
    os.killpg(0, signal.SIGKILL)


def started(asked: dict[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        live(asked)
    return pid


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def live(asked: dict[str, Any]) -> NoReturn:
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
