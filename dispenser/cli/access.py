from typing import Annotated

import typer

from dispenser import Token, Vault
from dispenser.cli.output import value
from dispenser.cli.session import execute


def register(app: typer.Typer) -> None:
    """The agent's side."""
    app.command(name="token")(token)


def token(
    service: str,
    *,
    min_ttl: Annotated[float | None, typer.Option(help="Seconds the token must still live.")] = None,
    owner: Annotated[str | None, typer.Option(help="Another owner than the vault token's.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="A scope it must have; may be repeated.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: the token and what is known of it.")
    ] = False,
) -> None:
    """Print what an agent would get. Uses VAULT_URL and VAULT_AGENT_TOKEN."""
    got = execute(_token(service, min_ttl, owner, scope))
    if not as_json:
        typer.echo(got.value)
        return
    value(
        {
            "access_token": got.value,
            "token_type": got.token_type,
            "expires_at": got.expires_at,
            "scopes": list(got.scopes),
            "service": got.service,
            "generation": got.generation,
        }
    )


async def _token(service: str, min_ttl: float | None, owner: str | None, scopes: list[str] | None) -> Token:
    async with Vault() as vault:
        return await vault.token(service, min_ttl=min_ttl, owner=owner, scopes=scopes)
