"""What a command shows: tables to people, JSON to programs."""

import io
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

#: The option that every listing takes.
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Row = Mapping[str, Any]

screen = Console(highlight=False)
#: For what is not the answer: progress, hints, warnings.
aside = Console(stderr=True, highlight=False)


def lose_nothing() -> None:
    """Where a pipe takes a part of what is written, an unbuffered stream (PYTHONUNBUFFERED) drops the rest.

    A signal is enough for that, as when a command is stopped and goes on.
    """
    stdout = sys.stdout
    if isinstance(getattr(stdout, "buffer", None), io.RawIOBase):
        sys.stdout = open(  # noqa: SIM115 - until the process ends
            stdout.fileno(), "w", buffering=1, encoding=stdout.encoding, errors=stdout.errors, closefd=False
        )


def listing(rows: Sequence[Row], *, as_json: bool, empty: str) -> None:
    """Rows of one shape, as a table with a heading per field or as a JSON array."""
    if as_json:
        value(list(rows))
    elif not rows:
        aside.print(empty)
    else:
        screen.print(_table(rows))


def value(shown: object) -> None:
    """A JSON document, indented."""
    typer.echo(json.dumps(shown, indent=2, default=_plain))


def ago(moment: datetime | None, now: datetime) -> str:
    """How far a moment is away, as people say it."""
    if moment is None:
        return "-"
    seconds = (moment - now).total_seconds()
    return f"in {_span(seconds)}" if seconds >= 0 else f"{_span(-seconds)} ago"


def local(moment: datetime) -> str:
    """A moment in the reader's own time."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(item) for item in row.values()))
    return table


def _cell(item: object) -> str:
    match item:
        case None:
            return "-"
        case datetime():
            return local(item)
        case list() | tuple():
            return " ".join(str(part) for part in item)
        case _:
            return str(item)


def _plain(item: object) -> object:
    if isinstance(item, datetime):
        return item.astimezone(UTC).isoformat()
    return str(item)


def _span(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
