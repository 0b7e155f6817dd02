"""Every command is listed before it is loaded, in the words of its own help."""

import importlib

import pytest
import typer
from typer.main import get_group

from dispenser.cli.commands import COMMANDS
from dispenser.cli.lazy_group import loaded


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_listed_by_the_sentence_its_help_begins_with(name: str) -> None:
    command = loaded(name)
    assert command.name == name
    first, _, _ = command.help.partition("\n\n")
    assert COMMANDS[name].says == " ".join(first.split())


@pytest.mark.parametrize("module", sorted({listed.module for listed in COMMANDS.values()}))
def test_a_module_has_no_command_that_nobody_lists(module: str) -> None:
    part = typer.Typer()
    importlib.import_module(f"dispenser.cli.{module}").register(part)
    listed = {name for name, command in COMMANDS.items() if command.module == module}
    assert set(get_group(part).commands) == listed
