import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dispenser.cli.output import aside
from dispenser.cli.session import settings
from dispenser.wiring.keyfile import KeyFile
from dispenser.wiring.keyring_source import KeyringSource
from shared.keyring import ROLES, for_role

keys = typer.Typer(help="The keys that the vault seals and signs with.", no_args_is_help=True)
Role = StrEnum("Role", [(role.upper(), role) for role in ROLES])  # type: ignore[misc]


def register(app: typer.Typer) -> None:
    """Keys."""
    app.add_typer(keys, name="keys")


@keys.command("export")
def export(
    role: Annotated[Role, typer.Option(help="The process that the keys are for.")],
    *,
    to: Annotated[
        Path | None, typer.Option(help="A file to write them to, for DISPENSER_KEYS=file:…")
    ] = None,
) -> None:
    """Print what one role needs of the keyring, for DISPENSER_KEYS in its environment. It is secret.

    A process notices when its file changes; a variable wants a restart.
    """
    source = KeyringSource(settings())
    text = source.wrapped(json.dumps(for_role(source.document(), role.value), separators=(",", ":")))
    if to is None:
        typer.echo(text)
    else:
        KeyFile(to).replace(text)
        aside.print(f"The keys of {role.value} are in {to}.")
