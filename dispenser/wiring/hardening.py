"""What the operating system is told, so that a process that holds secrets leaves none of them behind."""

import ctypes
import os
import resource
import sys
from typing import Final

#: prctl(2): no core dump whatever the limits and `core_pattern` say, no ptrace by the same user, and
#: /proc/PID/mem, environ and maps for root alone.
PR_SET_DUMPABLE: Final = 4
#: Files for their owner alone: the spool, the journals, a SQLite file.
UMASK: Final = 0o077


def harden() -> None:
    """For this process, and its children as far as the system hands it on. Idempotent. Raises: OSError.

    No defence against root, who reads any process's memory, and none against swap: encrypt it or have none.
    """
    os.umask(UMASK)
    # The hard limit too, so that nothing raises it again.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        _refuse_dumps()


def _refuse_dumps() -> None:
    # RLIMIT_CORE alone is not heeded where `core_pattern` is a pipe (core(5)).
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Core dumps cannot be switched off: {os.strerror(number)}.")
