"""What proves the audit, and what is proved with it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dispenser.audit_proof import consistency_proof, inclusion_proof
from dispenser.audit_review import Review, of_database, of_export
from dispenser.cli.failure import Exit, Refused, Usage
from dispenser.cli.output import AsJson, aside, screen, value
from dispenser.cli.session import execute, opened
from dispenser.restored import RestoredGrant, restored_grants
from dispenser.wiring.world import World, checkpoint_folder
from shared.adapters.checkpoint_folder import CheckpointFolder
from shared.checkpoint import Checkpoint, Verifier, notes_in, origin
from shared.checkpoint import opened as opened_note
from shared.errors import ConfigurationError
from shared.merkle import Span, consistency, inclusion, nodes, span_hash
from workers.checkpoints import verifiers_of

NOTES_AT_ONCE = 1000
KeyOption = Annotated[
    list[str] | None,
    typer.Option("--key", help="A verifier key, as `audit key` prints it; may be repeated."),
]
CheckpointsOption = Annotated[
    list[Path] | None,
    typer.Option("--checkpoints", help="A file of checkpoints that a witness kept; may be repeated."),
]


def register(audit: typer.Typer) -> None:
    """Proofs."""
    for command in (verify, prove, consistent, key):
        audit.command(_NAMES.get(command.__name__, command.__name__))(command)


_NAMES = {"consistent": "consistency"}


def verify(
    *,
    export: Annotated[
        Path | None, typer.Option(help="Verify this export (--form jsonl), without the vault.")
    ] = None,
    checkpoints: CheckpointsOption = None,
    verifier_key: KeyOption = None,
    as_json: AsJson = False,
) -> None:
    """Compare the audit with what was signed, and name the first record that is not as it was.

    Exit code 4 when something is not. With --export it takes the checkpoints and the key, and nothing else.
    """
    known = [_verifier(text) for text in verifier_key or ()]
    if export is None:
        review, unsigned, restored = execute(_database_reviewed(checkpoints or (), known))
    else:
        restored = []
        if not (known and checkpoints):
            raise Usage(
                "--export takes --checkpoints FILE and --key KEY with it: they are what it must agree with."
            )
        review, unsigned = _export_reviewed(export, checkpoints, known)
    _tell(review, unsigned, restored, as_json=as_json)
    if review.fault or unsigned or restored:
        raise typer.Exit(Exit.WORLD)


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


# --------------------------------------------------------------------------------------------- verifying


async def _database_reviewed(
    files: Sequence[Path], known: Sequence[Verifier]
) -> tuple[Review, int, list[RestoredGrant]]:
    async with opened() as at:
        verifiers = known or verifiers_of(at.keys, origin(at.settings.vault_name))
        if not verifiers:
            raise Usage("This keyring has no checkpoint key: give --key KEY.")
        outside = [*CheckpointFolder(checkpoint_folder(at.settings)).last_of_each_day(), *_notes(files)]
        signed, unsigned = _checked([(None, note) for note in outside], verifiers)
        kept, more_unsigned = _checked(await _kept(at), verifiers)
        with _progress(await at.store.audit_tree.size()) as progress:
            review = await of_database(at.store, _distinct([*signed, *kept]), progress.advance_by)
        return review, unsigned + more_unsigned, await restored_grants(at.store)


def _export_reviewed(
    export: Path, files: Sequence[Path], verifiers: Sequence[Verifier]
) -> tuple[Review, int]:
    signed, unsigned = _checked([(None, note) for note in _notes(files)], verifiers)
    with export.open("rb") as lines, _progress(max((one.size for one in signed), default=0)) as progress:
        return of_export(lines, _distinct(signed), progress.advance_by), unsigned


async def _kept(at: World) -> list[tuple[int | None, str]]:
    found: list[tuple[int | None, str]] = []
    size = 0
    while more := await at.store.checkpoints.after(size, NOTES_AT_ONCE):
        found += more
        size = more[-1][0]
    return found


def _checked(
    notes: Sequence[tuple[int | None, str]], verifiers: Sequence[Verifier]
) -> tuple[list[Checkpoint], int]:
    """The checkpoints that are signed, and how many are not, or not for the size that they are kept under."""
    found = [(size, opened_note(note, verifiers)) for size, note in notes]
    signed = [one for size, one in found if one is not None and size in (None, one.size)]
    return signed, len(found) - len(signed)


def _distinct(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    return list({(one.size, one.root): one for one in checkpoints}.values())


def _notes(files: Sequence[Path]) -> list[str]:
    notes = []
    for file in files:
        try:
            found = notes_in(file.read_text(errors="replace"))
        except OSError as error:
            raise ConfigurationError([f"{file}: cannot be read ({error.strerror})."]) from None
        if not found:
            raise ConfigurationError([f"{file}: there is no checkpoint in it."])
        notes += found
    return notes


def _verifier(text: str) -> Verifier:
    try:
        return Verifier.parse(text)
    except ValueError:
        raise Usage(f"--key {text}: not a verifier key as `dispenser audit key` prints it.") from None


def _tell(review: Review, unsigned: int, restored: Sequence[RestoredGrant], *, as_json: bool) -> None:
    if as_json:
        value(
            {
                "ok": review.fault is None and not unsigned and not restored,
                "unsigned_checkpoints": unsigned,
                "restored_grants": [asdict(one) for one in restored],
                **asdict(review),
            }
        )
        return
    for one in restored:
        screen.print(f"restored: {one}.", style="red", soft_wrap=True)
    if unsigned:
        screen.print(f"{unsigned} checkpoints are not signed by the key.", style="red")
    if review.fault is not None:
        screen.print(f"{review.fault.tampering.value}: {review.fault.says}", style="red", soft_wrap=True)
        return
    screen.print(
        f"{review.records} records are whole and in order; the first {review.signed} are as they were signed."
        + (f" {review.purged} before them were purged." if review.purged else ""),
        style="green",
        soft_wrap=True,
    )


class _Bar:
    def __init__(self, bar: Progress, total: int) -> None:
        self._bar = bar
        self._task = bar.add_task("Verifying", total=total or None)

    def advance_by(self, records: int) -> None:
        self._bar.advance(self._task, records)


@contextmanager
def _progress(total: int) -> Iterator[_Bar]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=aside, transient=True) as bar:
        yield _Bar(bar, total)


# ----------------------------------------------------------------------------------------------- proving


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
