import asyncio
import hashlib
import os
import secrets
from pathlib import Path
from typing import Annotated

import typer

from dispenser.apply import apply, warnings
from dispenser.broker_configuration import CONFIGURATION_FILE
from dispenser.cli import diagnosis
from dispenser.cli.act import recorded
from dispenser.cli.failure import Exit
from dispenser.cli.output import AsJson, aside, listing, screen, value
from dispenser.cli.session import execute, opened, settings, started
from dispenser.declared import Declarations, parse
from dispenser.difference import Action, Change, difference
from dispenser.discovery import discover
from dispenser.secret_sources import read_secrets
from dispenser.wiring import broker_files
from dispenser.wiring.keyring_source import KeyringSource
from dispenser.wiring.provider_http import provider_http
from dispenser.wiring.world import utc_now, world
from shared.adapters.sql.store import migrate
from shared.errors import ConfigurationError
from shared.model import ProviderName
from shared.settings import Settings

#: Of what an application changes, in the audit.
MOST_CHARACTERS = 4000
ADMIN_TOKEN_PREFIX = "dva_"  # noqa: S105 - tells a leaked one from other texts


def register(app: typer.Typer) -> None:
    """Setting a vault up, and looking after it."""
    for command in (init, apply_files, config, status, doctor):
        app.command(name=_NAMES.get(command.__name__))(command)


_NAMES = {"apply_files": "apply"}


def init(
    *,
    files: Annotated[
        bool, typer.Option("--files", help="The keys and RabbitMQ's files alone: it starts with those.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make keys, tables, broker topology and the first admin token (printed once). Safe to repeat."""
    report = execute(_files(settings()) if files else _init())
    if as_json:
        value(report)
        return
    for step, done in report.items():
        if step != "admin_token":
            aside.print(f"[green]✓[/green] {step}: {done}")
    if token := report.get("admin_token"):
        aside.print("[bold]The first admin token, printed this once:[/bold]")
        typer.echo(token)


def _keys(here: Settings) -> dict[str, str]:
    return {"keys": "made" if KeyringSource(here).create(utc_now()) else "there already"}


async def _files(here: Settings) -> dict[str, str]:
    report = _keys(here)
    folder = broker_files.write(here.home, KeyringSource(here).load(utc_now()))
    return {**report, "rabbitmq": f"its files are in {folder}, and {CONFIGURATION_FILE} says what for"}


async def _init() -> dict[str, str]:
    here = settings()
    report = _keys(here) if here.embedded else await _files(here)
    await asyncio.to_thread(migrate, here.database_url)
    report["database"] = "at the newest revision"
    async with world(here, "init") as at:
        if here.embedded:
            report["broker"] = "none to set up: it is each process's memory"
        else:
            await started(at)
            await at.bus.declare()
            report["broker"] = "topology declared"
        if not await at.store.admins.any():
            token = ADMIN_TOKEN_PREFIX + secrets.token_urlsafe(32)
            await recorded(at, "admin.added", reason="Admin token first.")
            await at.store.admins.add("first", hashlib.sha256(token.encode()).digest(), at.clock())
            report["admin_token"] = token
    return report


def apply_files(
    files: Annotated[list[Path], typer.Argument(help="YAML files.", metavar="FILE...")],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the difference and change nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring providers, services, agents and policies to what the files declare. Removes nothing."""
    changes = execute(_apply(files, dry_run=dry_run))
    if as_json:
        value([{"kind": c.kind, "name": c.name, "action": c.action, "fields": c.fields} for c in changes])
        return
    for change in changes:
        screen.print(str(change), style=_STYLES[change.action.value])
    if dry_run:
        aside.print("Nothing was changed: this was a dry run.")


_STYLES = {"added": "green", "changed": "yellow", "unchanged": "dim"}


async def _apply(files: list[Path], *, dry_run: bool) -> tuple[Change, ...]:
    async with opened() as at:
        catalogue = await at.store.catalogue.load()
        declarations = await _discovered(parse(_texts(files), catalogue.providers))
        costs = await warnings(at.store, declarations)
        for cost in costs:
            aside.print(cost, style="bold yellow", markup=False, soft_wrap=True)
        if dry_run:
            return difference(catalogue, declarations)
        secrets_read = read_secrets(declarations, os.environ)
        if said := _said(difference(catalogue, declarations), list(secrets_read), costs):
            await recorded(at, "catalogue.applied", catalogue_version=catalogue.version + 1, reason=said)
        return await apply(at.store, at.keys, declarations, secrets_read, utc_now())


def _said(changes: tuple[Change, ...], secrets_of: list[ProviderName], costs: tuple[str, ...]) -> str:
    """What is about to change, for the audit. Empty: nothing."""
    changed = [str(change) for change in changes if change.action != Action.UNCHANGED]
    changed += costs
    changed += [f"secrets of provider {name} given" for name in secrets_of]
    return "; ".join(changed)[:MOST_CHARACTERS]


async def _discovered(declarations: Declarations) -> Declarations:
    http = provider_http(settings())
    try:
        return await discover(http, declarations)
    finally:
        await http.close()


def _texts(files: list[Path]) -> dict[str, str]:
    texts, mistakes = {}, []
    for file in files:
        try:
            texts[str(file)] = file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            mistakes.append(f"{file}: cannot be read ({getattr(error, 'strerror', None) or 'not text'}).")
    if mistakes:
        raise ConfigurationError(mistakes)
    return texts


def config(*, as_json: AsJson = False) -> None:
    """Show the settings in force, without passwords."""
    shown = settings().redacted()
    if as_json:
        value(shown)
    else:
        rows = [{"variable": f"DISPENSER_{name.upper()}", "value": item} for name, item in shown.items()]
        listing(rows, as_json=False, empty="")


def status(*, as_json: AsJson = False) -> None:
    """Show whether the vault's parts answer, and how its grants are."""
    _report(execute(diagnosis.status()), as_json=as_json)


def doctor(*, as_json: AsJson = False) -> None:
    """Look at everything that can be wrong, and say what to do about it."""
    _report(execute(diagnosis.doctor()), as_json=as_json)


def _report(findings: list[diagnosis.Finding], *, as_json: bool) -> None:
    if as_json:
        value([{"part": f.part, "ok": f.ok, "says": f.says} for f in findings])
    else:
        for finding in findings:
            mark = "[green]✓[/green]" if finding.ok else "[red]✗[/red]"
            screen.print(f"{mark} [bold]{finding.part}[/bold]  {finding.says}", soft_wrap=True)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(Exit.WORLD)
