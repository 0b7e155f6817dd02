"""The rows as a table, as a document for programs, and as a picture."""

import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from bench.row import Row
from rich.table import Table

mpl.use("svg")
from matplotlib import pyplot as plt

_SIGNS = {True: "[green]yes[/green]", False: "[red]no[/red]", None: ""}


def table(rows: Sequence[Row]) -> Table:
    """For a terminal."""
    drawn = Table(title="Ours beside its peers", title_justify="left")
    drawn.add_column("measured, beside")
    for column in ("ours", "theirs", "unit", "ratio", "goal", "holds"):
        drawn.add_column(column, justify="right")
    for row in rows:
        sign = "≥" if row.better == "higher" else "≤"
        drawn.add_row(
            row.name,
            _figure(row.ours),
            _figure(row.theirs),
            row.unit,
            _figure(row.ratio),
            "" if row.goal is None else f"{sign} {_figure(row.goal)}",
            _SIGNS[row.holds],
        )
    return drawn


def write(rows: Sequence[Row], folder: Path) -> list[Path]:
    """`bench.json` and `bench.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    document, picture = folder / "bench.json", folder / "bench.svg"
    document.write_text(json.dumps([row.document() for row in rows], indent=1, ensure_ascii=False) + "\n")
    _draw([row for row in rows if row.ratio is not None], picture)
    return [document, picture]


def _draw(rows: Sequence[Row], file: Path) -> None:
    """Each ratio as a bar on a logarithmic scale, with a tick where its goal is."""
    figure, axes = plt.subplots(figsize=(10, 1 + 0.28 * len(rows)), layout="constrained")
    places = range(len(rows))
    colours = {True: "tab:green", False: "tab:red", None: "tab:gray"}
    axes.barh(places, [row.ratio for row in rows], color=[colours[row.holds] for row in rows], height=0.6)
    for place, row in zip(places, rows, strict=True):
        if row.goal is not None:
            axes.plot([row.goal, row.goal], [place - 0.4, place + 0.4], color="black")
    axes.set_yticks(places, [row.name for row in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.5)
    axes.set_xlabel("ours / theirs; a tick is the goal")
    figure.savefig(file)
    plt.close(figure)


def _figure(value: float | None) -> str:
    """Three digits that count."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
