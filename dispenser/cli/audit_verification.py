"""Whether the audit is as it was signed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dispenser.audit_review import Review, of_database, of_export
from dispenser.cli.failure import Exit, Usage
from dispenser.cli.output import AsJson, aside, screen, value
from dispenser.cli.session import execute, opened
from dispenser.restored import RestoredGrant, restored_grants
from dispenser.wiring.world import World, checkpoint_folder, journal_folder
from shared.adapters.checkpoint_folder import CheckpointFolder
from shared.checkpoint import Checkpoint, Verifier, notes_in, origin
from shared.checkpoint import opened as opened_note
from shared.errors import ConfigurationError
from workers.audit_shipping import AuditShipping
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    review: Review
    #: Checkpoints that none of the keys has signed.
    unsigned_checkpoints: int
    #: This machine's, before they are shipped.
    altered_journals: list[str] = field(default_factory=list)
    restored_grants: list[RestoredGrant] = field(default_factory=list)

    @property
    def well(self) -> bool:
        faults = (self.review.fault, self.unsigned_checkpoints, self.altered_journals, self.restored_grants)
        return not any(faults)


def register(audit: typer.Typer) -> None:
    """Verification."""
    audit.command()(verify)


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
        verdict = execute(_of_database(checkpoints or (), known))
    elif known and checkpoints:
        verdict = _of_export(export, checkpoints, known)
    else:
        raise Usage("--export takes --checkpoints FILE and --key KEY: they are what it must agree with.")
    if as_json:
        value({"ok": verdict.well, **asdict(verdict)})
    else:
        _tell(verdict)
    if not verdict.well:
        raise typer.Exit(Exit.WORLD)


async def _of_database(files: Sequence[Path], known: Sequence[Verifier]) -> _Verdict:
    async with opened() as at:
        verifiers = known or verifiers_of(at.keys, origin(at.settings.vault_name))
        if not verifiers:
            raise Usage("This keyring has no checkpoint key: give --key KEY.")
        outside = [*CheckpointFolder(checkpoint_folder(at.settings)).last_of_each_day(), *_notes(files)]
        notes = [*((None, note) for note in outside), *await _kept(at)]
        signed, unsigned = _checked(notes, verifiers)
        with _progress(await at.store.audit_tree.size()) as progress:
            review = await of_database(at.store, _distinct(signed), progress.advance_by)
        journals = AuditShipping(journal_folder(at.settings), at.store.audit.append, at.clock)
        return _Verdict(
            review=review,
            unsigned_checkpoints=unsigned,
            altered_journals=journals.altered(),
            restored_grants=await restored_grants(at.store),
        )


def _of_export(export: Path, files: Sequence[Path], verifiers: Sequence[Verifier]) -> _Verdict:
    signed, unsigned = _checked([(None, note) for note in _notes(files)], verifiers)
    with export.open("rb") as lines, _progress(max((one.size for one in signed), default=0)) as progress:
        review = of_export(lines, _distinct(signed), progress.advance_by)
    return _Verdict(review=review, unsigned_checkpoints=unsigned)


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


def _tell(verdict: _Verdict) -> None:
    for journal in verdict.altered_journals:
        screen.print(f"changed: the journal {journal} is not as it was written.", style="red", soft_wrap=True)
    for one in verdict.restored_grants:
        screen.print(f"restored: {one}.", style="red", soft_wrap=True)
    if verdict.unsigned_checkpoints:
        screen.print(f"{verdict.unsigned_checkpoints} checkpoints are not signed by the key.", style="red")
    review = verdict.review
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
