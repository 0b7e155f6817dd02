import json
from enum import StrEnum
from typing import Annotated

import typer

from dispenser.cli.session import settings
from dispenser.wiring import keyfile
from shared.keyring import ROLES, for_role

keys = typer.Typer(help="The keys that the vault seals and signs with.", no_args_is_help=True)
Role = StrEnum("Role", [(role.upper(), role) for role in ROLES])  # type: ignore[misc]


def register(app: typer.Typer) -> None:
    """Keys."""
    app.add_typer(keys, name="keys")


@keys.command("export")
def export(role: Annotated[Role, typer.Option(help="The process that the keys are for.")]) -> None:
    """Print what one role needs of the keyring, for DISPENSER_KEYS in its environment. It is secret."""
    document = json.loads(keyfile.read(settings().home))
    typer.echo(json.dumps(for_role(document, role.value), separators=(",", ":")))
