"""The vault's commands, each in a fork of one process that has loaded them: setting up is not measured."""

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from subprocess import CompletedProcess

from dispenser.cli.commands import COMMANDS

#: Of the commands: each is loaded by its first use.
MODULES = {f"dispenser.cli.{listed.module}" for listed in COMMANDS.values()}
_FORKING = multiprocessing.get_context("forkserver")


def load() -> None:
    """Start loading them, in the background."""
    _FORKING.set_forkserver_preload(["dispenser.cli.app", "typer.testing", *MODULES])
    forkserver.ensure_running()


def run(arguments: Sequence[str], environment: Mapping[str, str], stdin: str) -> CompletedProcess[str]:
    """One of them, to its end, whatever comes of it. Raises: EOFError where it was killed."""
    ours, theirs = _FORKING.Pipe()
    process = _FORKING.Process(target=_run, args=(theirs, arguments, dict(environment), stdin))
    process.start()
    theirs.close()
    try:
        ended: CompletedProcess[str] = ours.recv()
    finally:
        process.join()
    return ended


def _run(answer: Connection, arguments: Sequence[str], environment: dict[str, str], stdin: str) -> None:
    # Loaded already here, and never by who measures.
    from typer.testing import CliRunner  # noqa: PLC0415

    from dispenser.cli.app import app  # noqa: PLC0415

    os.environ.clear()
    os.environ.update(environment)
    ended = CliRunner().invoke(app, arguments, input=stdin)
    said = f"{ended.stderr}{ended.exception or ''}"
    answer.send(CompletedProcess(arguments, ended.exit_code, ended.stdout, said))
