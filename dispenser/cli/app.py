import sys
from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from dispenser.cli.failure import exit_code, explanation
from dispenser.cli.lazy_group import MARKUP, LazyGroup
from dispenser.cli.output import aside, lose_nothing

app = typer.Typer(
    name="dispenser",
    cls=LazyGroup,
    help="The token vault that AI agents ask over a message queue. Begin with [bold]dispenser demo[/bold].",
    no_args_is_help=True,
    rich_markup_mode=MARKUP,
    pretty_exceptions_enable=False,
    add_completion=False,
)


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
    lose_nothing()
    try:
        app()
    except Exception as error:
        code = exit_code(error)
        if code is None:
            raise
        aside.print(explanation(error), style="red", markup=False, soft_wrap=True)
        sys.exit(code)
