import sys
from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from dispenser.cli import (
    access,
    agents,
    audit,
    catalogue,
    demonstration,
    grants,
    keys,
    policies,
    processes,
    revocations,
    set_up,
)
from dispenser.cli.failure import exit_code, explanation
from dispenser.cli.output import aside

app = typer.Typer(
    name="dispenser",
    help="The token vault that AI agents ask over a message queue. Begin with [bold]dispenser demo[/bold].",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)
for part in (
    demonstration,
    set_up,
    processes,
    catalogue,
    grants,
    agents,
    policies,
    access,
    audit,
    keys,
    revocations,
):
    part.register(app)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(installed_version("token-dispenser"))
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before any command."""


def run() -> None:
    """Run the command line. An expected failure is a sentence and an exit code, never a traceback."""
    try:
        app()
    except Exception as error:
        code = exit_code(error)
        if code is None:
            raise
        aside.print(explanation(error), style="red", markup=False, soft_wrap=True)
        sys.exit(code)
