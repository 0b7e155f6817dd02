"""The audit for other systems and other questions."""

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict
from importlib.metadata import version
from typing import Annotated

import typer

from dispenser.audit_export import Form, cef, head, otel, wrapped
from dispenser.cli.failure import Usage
from dispenser.cli.output import AsJson, aside, listing
from dispenser.cli.session import execute, opened
from dispenser.wiring.world import World
from shared import audit_line
from shared.audit_filter import AuditFilter
from shared.merkle import nodes
from shared.model import AuditRecord
from shared.token_fingerprint import fingerprints

AT_ONCE = 2000
POLL_SECONDS = 0.5


def register(audit: typer.Typer) -> None:
    """Outlets."""
    for command in (export, follow, trace):
        audit.command()(command)


def export(
    *,
    form: Annotated[Form, typer.Option(help="jsonl is what `audit verify --export` reads.")] = Form.JSONL,
    start: Annotated[int, typer.Option("--from", min=0, help="From this position on.")] = 0,
) -> None:
    """Print all records, oldest first, a line each."""
    execute(_exported(form, start))


def follow(*, form: Annotated[Form, typer.Option(help="As of `audit export`.")] = Form.JSONL) -> None:
    """Print records as they come in, until interrupted."""
    execute(_followed(form))


def trace(
    fingerprint: Annotated[
        str, typer.Argument(help="As records have it; left out: a leaked token from standard input.")
    ] = "",
    *,
    as_json: AsJson = False,
) -> None:
    """List everyone who held a token, or another of its grant's generation."""
    token = "" if fingerprint else _token()
    found = execute(_holders(fingerprint, token))
    rows = [asdict(record) for record in found] if as_json else [_row(record) for record in found]
    listing(rows, as_json=as_json, empty="The audit knows no such token.")


def _token() -> str:
    if sys.stdin.isatty():
        aside.print("Paste the token, then press Ctrl-D.")
    token = sys.stdin.read().strip()
    if not token:
        raise Usage("Name a fingerprint, or give the token on standard input.")
    return token


async def _holders(fingerprint: str, token: str) -> list[AuditRecord]:
    async with opened() as at:
        names = {fingerprint} if fingerprint else fingerprints(at.keys, token)
        named = [
            record
            for name in sorted(names)
            for record in await at.store.audit.query(AuditFilter(fingerprint=name), limit=AT_ONCE)
        ]
        generations = {(record.service, record.owner, record.generation) for record in named}
        wanted = [
            AuditFilter(service=service, owner=owner, generation=generation, action="token.dispensed")
            for service, owner, generation in sorted(generations, key=str)
            if generation is not None
        ]
        held = [record for one in wanted for record in await at.store.audit.query(one, limit=AT_ONCE)]
    found = {(record.writer, record.sequence): record for record in [*named, *held]}
    return sorted(found.values(), key=lambda record: record.at)


def _row(record: AuditRecord) -> dict[str, object]:
    return {
        "at": record.at,
        "action": record.action,
        "agent": record.agent or None,
        "session": record.session or None,
        "owner": record.owner,
        "service": record.service,
        "generation": record.generation,
        "purpose": record.purpose or None,
        "door": record.door,
    }


async def _exported(form: Form, start: int) -> None:
    async with opened() as at:
        first = await at.store.audit.read(0, 1)
        purged = first[0][0] if first else await at.store.audit_tree.size()
        if purged and not start and form is Form.JSONL:
            wanted = nodes((0, purged))
            hashes = await at.store.audit_tree.hashes(wanted)
            _write(head(purged, [hashes[node] for node in wanted]))
        async for position, line in _lines(at, start):
            _write(_shown(form, position, line))


async def _followed(form: Form) -> None:
    async with opened() as at:
        position = await at.store.audit_tree.size()
        while True:
            async for at_position, line in _lines(at, position):
                _write(_shown(form, at_position, line))
                position = at_position + 1
            sys.stdout.buffer.flush()
            await asyncio.sleep(POLL_SECONDS)


async def _lines(at: World, start: int) -> AsyncIterator[tuple[int, bytes]]:
    while lines := await at.store.audit.read(start, AT_ONCE):
        for item in lines:
            yield item
        start = lines[-1][0] + 1


def _shown(form: Form, position: int, line: bytes) -> bytes:
    match form:
        case Form.JSONL:
            return wrapped(position, line)
        case Form.OTEL:
            return otel(audit_line.decode(line), version("token-dispenser"))
        case Form.CEF:
            return cef(audit_line.decode(line), version("token-dispenser"))


def _write(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
