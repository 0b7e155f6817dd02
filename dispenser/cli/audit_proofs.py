"""Proofs about the audit, for whoever wants them."""

from collections.abc import Sequence
from typing import Annotated

import typer

from dispenser.audit_proof import consistency_proof, inclusion_proof
from dispenser.cli.failure import Refused, Usage
from dispenser.cli.session import execute, opened
from dispenser.wiring.world import World
from shared.checkpoint import Verifier, origin
from shared.checkpoint import opened as opened_note
from shared.merkle import Span, consistency, inclusion, nodes, span_hash
from workers.checkpoints import verifiers_of


def register(audit: typer.Typer) -> None:
    """Proofs."""
    audit.command()(prove)
    audit.command("consistency")(consistent)
    audit.command()(key)


def prove(
    record: Annotated[
        str, typer.Argument(help="Its id, WRITER.SEQUENCE as records have it, or its position.")
    ],
) -> None:
    """Print a proof that a record is in the audit, which anybody can check (c2sp.org/tlog-proof)."""
    typer.echo(execute(_inclusion(record)), nl=False)


def consistent(
    size: Annotated[int, typer.Argument(min=1, help="How many records the older checkpoint covers.")],
) -> None:
    """Print a proof that the audit begins with an older one of so many records (c2sp.org/tlog-witness)."""
    typer.echo(execute(_consistency(size)), nl=False)


def key() -> None:
    """Print the public key that checkpoints are verified with. Give it to witnesses by a way you trust."""
    typer.echo(execute(_key()))


async def _inclusion(record: str) -> str:
    async with opened() as at:
        position = await _position(at, record)
        lines = await at.store.audit.read(position, 1)
        if not lines or lines[0][0] != position:
            raise Refused(f"Record {position} is not there, or not any more.")
        note, size = await _newest(at)
        if position >= size:
            raise Refused(f"Record {position} is under no checkpoint yet: the next one comes within seconds.")
        path = await _hashes(at, inclusion(position, size))
        return inclusion_proof(lines[0][1], position, path, note)


async def _consistency(size: int) -> str:
    async with opened() as at:
        note, newest = await _newest(at)
        if size > newest:
            raise Refused(f"The newest checkpoint covers {newest} records: ask about no more.")
        return consistency_proof(size, await _hashes(at, consistency(size, newest)), note)


async def _key() -> str:
    async with opened() as at:
        _, public = at.keys.primary_key("checkpoint", at.keys.checkpoint_public)
        return str(Verifier(name=origin(at.settings.vault_name), key=public))


async def _position(at: World, record: str) -> int:
    if record.isdecimal():
        return int(record)
    writer, _, sequence = record.rpartition(".")
    if not (writer and sequence.isdecimal()):
        raise Usage(f"{record}: a record is named WRITER.SEQUENCE, or by its position.")
    position = await at.store.audit.position(writer, int(sequence))
    if position is None:
        raise Refused(f"There is no record {record}; what was just written is there within seconds.")
    return position


async def _newest(at: World) -> tuple[str, int]:
    note = await at.store.checkpoints.newest()
    checkpoint = opened_note(note, verifiers_of(at.keys, origin(at.settings.vault_name))) if note else None
    if note is None or checkpoint is None:
        raise Refused("There is no checkpoint that this keyring's key has signed: is a janitor at work?")
    return note, checkpoint.size


async def _hashes(at: World, spans: Sequence[Span]) -> list[bytes]:
    wanted = {node for span in spans for node in nodes(span)}
    hashes = await at.store.audit_tree.hashes(wanted)
    if len(hashes) < len(wanted):
        raise Refused("The tree misses hashes: run `dispenser audit verify`.")
    return [span_hash(span, hashes.__getitem__) for span in spans]
