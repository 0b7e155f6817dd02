import importlib
from typing import Any, Final

from typer import Typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from dispenser.cli.commands import COMMANDS

#: How help is written, here and in every command.
MARKUP: Final = "rich"


class LazyGroup(TyperGroup):
    """Lists every command and loads the one that is asked for: what a command needs takes its time."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        # A name and a sentence, which is all that a list shows.
        self.commands = {
            name: TyperCommand(name, help=listed.says, rich_markup_mode=MARKUP)
            for name, listed in COMMANDS.items()
        }

    # Typed by whichever click Typer is built on.
    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command itself in the place of its listing."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, None if listed is None or listed.name is None else loaded(listed.name), rest


def loaded(name: str) -> Any:
    """A command as its module has it."""
    part = Typer(rich_markup_mode=MARKUP)
    importlib.import_module(f"dispenser.cli.{COMMANDS[name].module}").register(part)
    return get_group(part).commands[name]
