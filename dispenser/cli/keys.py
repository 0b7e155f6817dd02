import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial, reduce
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from dispenser.broker_configuration import FOLDER, key_file
from dispenser.cli.act import recorded
from dispenser.cli.duration import seconds
from dispenser.cli.failure import Refused, Usage
from dispenser.cli.output import AsJson, ago, aside, listing
from dispenser.cli.session import execute, opened, settings
from dispenser.retirement import FOLLOWED, hindrances
from dispenser.rewrap import rewrap_cache, rewrap_column
from dispenser.wiring import broker_files
from dispenser.wiring.key_references import references
from dispenser.wiring.keyfile import KeyFile
from dispenser.wiring.keyring_source import Document, KeyringSource
from dispenser.wiring.world import World, utc_now, world
from shared import key_record
from shared.key_record import KeyRecord, KeyState
from shared.keyring import ROLES, USES, for_role, new_key
from shared.model import SealedColumn
from shared.settings import Settings

LONGEST_LEAD_SECONDS = 24 * 3600
keys = typer.Typer(help="The keys that the vault seals and signs with.", no_args_is_help=True)
Role = StrEnum("Role", [(role.upper(), role) for role in ROLES])  # type: ignore[misc]
Use = StrEnum("Use", [(use.upper(), use) for use in USES])  # type: ignore[misc]


def register(app: typer.Typer) -> None:
    """Keys."""
    app.add_typer(keys, name="keys")


@keys.command("status")
def status(*, as_json: AsJson = False) -> None:
    """List every key: since when, in which state, and what still needs it."""
    rows = execute(_status())
    listing(rows if as_json else [_for_people(row) for row in rows], as_json=as_json, empty="")


@keys.command("rotate")
def rotate(
    uses: Annotated[list[Use] | None, typer.Argument(help="Of these uses; of all without.")] = None,
    *,
    lead: Annotated[
        str, typer.Option(help="How long every process has to learn of a new key before it is used.")
    ] = "5m",
    as_json: AsJson = False,
) -> None:
    """Publish a new key, which is used in place of the old one once every process knows it.

    The old key goes on opening and verifying what was made with it. No process needs a restart, unless its
    keys are in its environment: give it new ones by `dispenser keys export` within the lead.
    """
    lead_seconds = seconds(lead, "--lead", longest=LONGEST_LEAD_SECONDS)
    if lead_seconds < FOLLOWED.total_seconds():
        raise Usage(f"--lead {lead}: processes need {FOLLOWED.total_seconds():.0f} s to learn of a new key.")
    wanted = [use.value for use in uses or list(Use)]
    execute(_recorded("key.rotated", f"New keys: {', '.join(wanted)}."))
    now = utc_now()
    source = KeyringSource(settings())
    document = source.change(
        lambda held: _published(held, wanted, now, now + timedelta(seconds=lead_seconds))
    )
    coming = [
        record
        for record in key_record.records(document, now)
        if record.state is KeyState.PUBLISHED and record.use in wanted
    ]
    rows = [{"use": one.use, "id": one.id, "current_from": one.current_from} for one in coming]
    listing(rows, as_json=as_json, empty="")
    aside.print(
        "Until then, export anew the keys of processes that have only their role's. "
        "After it, `dispenser keys rewrap`, and `dispenser keys status` shows what may be retired."
    )
    for one in coming:
        if one.use == "signing":
            _tell_broker(source, f"add_uaa_key {one.id} --pem-file={FOLDER}/{key_file(one.id)}")


@keys.command("rewrap")
def rewrap() -> None:
    """Seal every row and cached token under the current keys, while everybody goes on working.

    Needs the refreshers' private key: run it where the whole keyring is. One that was interrupted goes on
    when it is started again.
    """
    unopened = execute(_rewrapped())
    if unopened:
        raise Refused(
            "\n".join(
                f"{column}: {', '.join(rows)} does not open, and stays as it is." for column, rows in unopened
            )
            + "\nIt is altered, or its key is lost: connect the account or apply the declaration again."
        )
    aside.print("Everything is sealed under the current keys.")


@keys.command("retire")
def retire(
    key_ids: Annotated[
        list[str], typer.Argument(metavar="ID...", help="As `dispenser keys status` shows it.")
    ],
    *,
    now: Annotated[
        bool,
        typer.Option(
            "--now",
            help="Do not wait for vault tokens and links made with it to end: they are refused from then on.",
        ),
    ] = False,
) -> None:
    """Remove old keys for good. Refused as long as anything sealed with one of them is left."""
    retired = execute(_retired(key_ids, at_once=now))
    aside.print("Retired. Export the keys of processes that have only their role's anew.")
    for one in retired:
        if one.use == "signing":
            _tell_broker(KeyringSource(settings()), f"delete_uaa_key {one.id}")


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


@keys.command("wrap")
def wrap(
    *,
    before: Annotated[
        str,
        typer.Option("--from", help="The key provider that wraps it now, as NAME:ARGUMENT."),
    ] = "",
) -> None:
    """Bring the keyring from one key provider to the one of DISPENSER_KEY_PROVIDER, or out of any without.

    Start the processes anew with the same setting: until then they go on with the keys that they have.
    """
    here = settings()
    as_it_lies = replace(here, key_provider=before)
    provider, _, _ = here.key_provider.partition(":")
    execute(_recorded("keyring.wrapped", f"Wrapped by {provider or 'none'}.", as_it_lies))
    KeyringSource(here).take_over(KeyringSource(as_it_lies))
    aside.print(f"The keyring is wrapped by {provider}." if provider else "The keyring is not wrapped now.")


def _tell_broker(source: KeyringSource, command: str) -> None:
    """RabbitMQ takes vault tokens that are signed with keys it knows."""
    here = settings()
    if not here.embedded:
        broker_files.write(here.home, source.load(utc_now()))
        aside.print(f"Tell every node of RabbitMQ: rabbitmqctl {command}")


def _published(held: Document, uses: Sequence[str], now: datetime, current_from: datetime) -> Document:
    """With a new key of each use, unless one is on its way already: what was interrupted may be repeated."""
    coming = {one.use for one in key_record.records(held, now) if one.state is KeyState.PUBLISHED}
    fresh = [new_key(use, made=now, current_from=current_from) for use in uses if use not in coming]
    return {**held, "keys": [*held["keys"], *fresh]}


async def _status() -> list[dict[str, Any]]:
    async with opened() as at:
        records = _records(at)
        found = await references(at, records)
    return [
        {
            "use": one.use,
            "id": one.id,
            "state": one.state.value,
            "made": one.made,
            "current_from": one.current_from,
            "retired_at": one.retired_at,
            "references": {reference.what: reference.count for reference in found.get(one.id, ())},
        }
        for one in records
    ]


def _for_people(row: dict[str, Any]) -> dict[str, Any]:
    needs = ", ".join(
        what if count is None else f"{count} {what}" for what, count in row["references"].items()
    )
    since = ago(row["retired_at"] or row["current_from"], utc_now())
    return {
        "use": row["use"],
        "id": row["id"],
        "state": row["state"],
        "since": since,
        "needed_by": needs or "-",
    }


async def _rewrapped() -> list[tuple[str, list[str]]]:
    async with opened() as at:
        await _known_everywhere(at)
        unopened = []
        with Progress(console=aside) as progress:
            for column, rows in await _left(at):
                task = progress.add_task(column.value, total=rows)
                advanced = partial(progress.advance, task)
                failed = await rewrap_column(at.store.sealed, at.keys, column, advanced)
                if failed:
                    unopened.append((column.value, [str(row) for row in failed]))
            task = progress.add_task("cached tokens", total=None)
            await rewrap_cache(at.store.sealed, at.cache, at.keys, partial(progress.advance, task))
        return unopened


async def _known_everywhere(at: World) -> None:
    """Every process seals with the keys that are current, and with none older."""
    now = utc_now()
    wait = max(((one.current_from + FOLLOWED - now).total_seconds() for one in _records(at)), default=0.0)
    if wait > 0:
        aside.print(f"The newest key is used everywhere in {wait:.0f} s: waiting for that.")
        await asyncio.sleep(wait)


async def _left(at: World) -> list[tuple[SealedColumn, int]]:
    """The columns with rows under older keys, and how many."""
    counted = await at.store.sealed.count()
    left = {
        column: sum(rows for key_id, rows in by_key.items() if key_id != at.keys.primary.get(column.use))
        for column, by_key in counted.items()
    }
    if any(rows and column.use == "grant" for column, rows in left.items()) and not at.keys.grant_private:
        raise Refused("These keys do not open grants: run it where the whole keyring is.")
    return [(column, rows) for column, rows in left.items() if rows]


async def _retired(key_ids: Sequence[str], *, at_once: bool) -> list[KeyRecord]:
    async with opened() as at:
        records = {one.id: one for one in _records(at)}
        if unknown := [key_id for key_id in key_ids if key_id not in records]:
            raise Refused(f"There is no key {unknown[0]}: `dispenser keys status` shows those there are.")
        wanted = [records[key_id] for key_id in key_ids]
        found, now = await references(at, wanted), utc_now()
        why_not = {one: hindrances(one, found.get(one.id, ()), now, at_once=at_once) for one in wanted}
    if any(why_not.values()):
        raise Refused("\n".join(_refusal(one, said) for one, said in why_not.items() if said))
    await _recorded("key.retired", f"Keys {', '.join(key_ids)}.")
    KeyringSource(settings()).change(
        lambda held: reduce(lambda left, key_id: key_record.retired(left, key_id, now), key_ids, held)
    )
    return wanted


def _refusal(record: KeyRecord, said: Sequence[str]) -> str:
    return "\n".join([f"The {record.use} key {record.id} stays, and with it all that were named:", *said])


async def _recorded(action: str, reason: str, here: Settings | None = None) -> None:
    async with world(here or settings(), "cli") as at:
        await at.store.ping()
        await recorded(at, action, reason=reason)


def _records(at: World) -> list[KeyRecord]:
    return key_record.records(KeyringSource(at.settings).document(), utc_now())
