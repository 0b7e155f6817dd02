"""The commands that need an emulated provider: in a module of their own, which no other command loads."""

import json
import tempfile
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import typer

from dispenser.cli import demo as play
from dispenser.cli.embedded_vault import API_SCOPES, EmbeddedVault, embedded_vault
from dispenser.cli.output import aside
from dispenser.cli.processes import listening
from dispenser.cli.scratch import scratch_schema
from dispenser.testing.behaviour import Behaviour
from dispenser.testing.emulator import Emulator
from dispenser.wiring.process import Stop
from shared.settings import Settings

DEV_AGENT, DEV_OWNER = "tracker", "ada"
#: A working day: whoever develops an agent does not want to fetch a new token every few minutes.
DEV_TOKEN_SECONDS = 8 * 3600
DEV_ACCESS_TOKEN_SECONDS = 300.0
DEV_DECLARED = """
agents:
  tracker: {description: "summarizes meetings, logs tasks, posts the digest"}
policies:
  - {name: everything-emulated, effect: allow, agents: ["*"], services: ["*"], owners: ["*"]}
"""


async def demo(broker: str, cache: str, database: str) -> bool:
    """Whether every claim held."""
    with tempfile.TemporaryDirectory(prefix="dispenser-demo-") as home, scratch_schema(database) as scratch:
        settings = Settings(
            home=Path(home),
            broker_url=broker,
            cache_url=cache,
            database_url=scratch or f"sqlite:///{home}/dispenser.db",
        )
        behaviour = Behaviour(access_token_seconds=play.ACCESS_TOKEN_SECONDS)
        async with (
            Emulator(behaviour, api_scopes=API_SCOPES) as provider,
            embedded_vault(settings, provider, listening("127.0.0.1", 0), play.DECLARED) as vault,
        ):
            return await play.run(vault)


async def dev(port: int, *, as_json: bool) -> None:
    """Until it is asked to end."""
    behaviour = Behaviour(access_token_seconds=DEV_ACCESS_TOKEN_SECONDS)
    async with Stop() as stop, AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dispenser-dev-")))
        door = listening("127.0.0.1", port)
        settings = Settings(home=home, database_url=f"sqlite:///{home / 'dispenser.db'}")
        settings = replace(settings, public_url=f"http://127.0.0.1:{door.getsockname()[1]}")
        provider = await stack.enter_async_context(Emulator(behaviour, api_scopes=API_SCOPES))
        vault = await stack.enter_async_context(embedded_vault(settings, provider, door, DEV_DECLARED))
        for service in API_SCOPES:
            await vault.connect(service, DEV_OWNER)
        _announce(vault, as_json=as_json)
        await stop.asked()


def _announce(vault: EmbeddedVault, *, as_json: bool) -> None:
    token = vault.agent_token(DEV_AGENT, DEV_OWNER, seconds=DEV_TOKEN_SECONDS)
    if as_json:
        line = {
            "vault_url": vault.url,
            "admin_token": vault.admin_token,
            "agent": DEV_AGENT,
            "agent_token": token,
            "services": list(API_SCOPES),
        }
        typer.echo(json.dumps(line))
        return
    aside.print("[bold]A vault with an emulated provider is running.[/bold] Paste this beside your agent:\n")
    typer.echo(f"export VAULT_URL={vault.url}")
    typer.echo(f"export VAULT_AGENT_TOKEN={token}")
    typer.echo(f"export VAULT_ADMIN_TOKEN={vault.admin_token}")
    aside.print(
        f"\nThen: [bold]dispenser token time-tracker[/bold], or in Python "
        f"[bold]await vault.token('time-tracker')[/bold].\n"
        f"Services: {', '.join(API_SCOPES)}; the APIs they open: {vault.provider.api_url}/<service>\n"
        "Everything is gone when it ends. Press Ctrl-C."
    )
