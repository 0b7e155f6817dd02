import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import Final

_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 10.0
#: `-P`: the tests' own folder stays off the path, so a project's own `shared` or `workers` does no harm.
_COMMAND: Final = (sys.executable, "-P", "-m", "dispenser", "dev", "--port", "0", "--json")


class VaultNotStarted(RuntimeError):
    """`dispenser dev` did not come up; the message ends with what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultServer:
    """A vault of the tests' own, with an emulated provider behind it."""

    vault_url: str
    agent: str
    agent_token: str = field(repr=False)
    admin_token: str = field(repr=False)
    services: tuple[str, ...]


@contextmanager
def vault_process(home: Path) -> Iterator[VaultServer]:
    """`dispenser dev` in a process of its own, with its state in `home`. Raises: VaultNotStarted."""
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own program
            _COMMAND,
            cwd=home,
            env=_environment(os.environ, home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    with process:
        try:
            yield _announced(process, home / "log")
        finally:
            _stop(process)


def _environment(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """The tests' environment without their vault, and with the package this file is in before all others."""
    kept = {k: v for k, v in environment.items() if not k.startswith(("DISPENSER_", "VAULT_"))}
    package = Path(__file__).parents[2]
    return kept | {"DISPENSER_HOME": str(home), "PYTHONPATH": str(package)}


def _announced(process: subprocess.Popen[bytes], log: Path) -> VaultServer:
    """What the process prints once it serves."""
    assert process.stdout  # noqa: S101 - a pipe was asked for
    giving_up = Timer(_START_SECONDS, process.kill)
    giving_up.start()
    line = process.stdout.readline()
    giving_up.cancel()
    try:
        said = json.loads(line)
        return VaultServer(
            vault_url=said["vault_url"],
            agent=said["agent"],
            agent_token=said["agent_token"],
            admin_token=said["admin_token"],
            services=tuple(said["services"]),
        )
    except (ValueError, KeyError, TypeError):
        tail = log.read_text(errors="replace")[-2000:]
        raise VaultNotStarted(
            f"`{' '.join(_COMMAND)}` did not come up; try it by hand. It said last:\n{tail}"
        ) from None


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
