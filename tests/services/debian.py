"""Installs Debian's packages of the servers, without starting the servers themselves."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.server import ServerFailed

# Debian asks this file before it starts a service; 101 says no.
_POLICY = Path("/usr/sbin/policy-rc.d")
_LOCK = Path("/var/lock/dispenser-tests-apt.lock")


def can_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(package: str) -> None:
    """Install one package, one process at a time. Raises: ServerFailed."""
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with _services_stay_off():
            _apt_get("update")
            _apt_get("install", "--yes", "--no-install-recommends", package)


def _apt_get(*arguments: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerFailed(f"{' '.join(command)} failed: {done.stdout}{done.stderr}")


@contextmanager
def _services_stay_off() -> Iterator[None]:
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()
