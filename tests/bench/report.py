"""The rows as a table, as a document for programs, and as a picture."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib as mpl
from bench.row import Row
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from rich.table import Table

mpl.use("svg")
from matplotlib import pyplot as plt

_SIGNS = {True: "[green]yes[/green]", False: "[red]no[/red]", None: ""}
_COLOURS = {True: "tab:green", False: "tab:red", None: "silver"}
_PANELS = {"higher": "More is better", "lower": "Less is better"}
_INCHES_PER_ROW = 0.27


def table(rows: Sequence[Row]) -> Table:
    """For a terminal."""
    judged = [row for row in rows if row.holds is not None]
    drawn = Table(
        title="Ours beside its peers",
        title_justify="left",
        caption=f"{sum(row.holds is True for row in judged)} of {len(judged)} goals hold",
        caption_justify="left",
    )
    drawn.add_column("measured, beside")
    for column in ("ours", "theirs", "unit", "ratio", "goal", "holds"):
        drawn.add_column(column, justify="right")
    for row in rows:
        drawn.add_row(row.name, *_figures(row), _SIGNS[row.holds])
    return drawn


def line(row: Row) -> str:
    """For who waits for the table."""
    beside = "" if row.theirs is None else f" beside {_figure(row.theirs)}"
    return f"{row.name}: {_figure(row.ours)}{beside} {row.unit}"


def write(rows: Sequence[Row], folder: Path) -> list[Path]:
    """`bench.json`, `bench.md` and `bench.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    document, page, picture = (folder / f"bench.{form}" for form in ("json", "md", "svg"))
    document.write_text(json.dumps([row.document() for row in rows], indent=1, ensure_ascii=False) + "\n")
    page.write_text("\n".join(_markdown(rows)) + "\n")
    _draw([(row, row.ratio) for row in rows if row.ratio is not None], picture)
    return [document, page, picture]


def _markdown(rows: Sequence[Row]) -> Iterator[str]:
    """For a README."""
    yield "| measured, beside | ours | theirs | unit | ratio | goal | holds |"
    yield "|---|--:|--:|---|--:|--:|---|"
    for row in rows:
        sign = {True: "yes", False: "**no**", None: ""}[row.holds]
        yield f"| {' | '.join([row.name, *_figures(row), sign])} |"


def _figures(row: Row) -> list[str]:
    """From `ours` to `goal`."""
    sign = "≥" if row.better == "higher" else "≤"
    goal = "" if row.goal is None else f"{sign} {_figure(row.goal)}"
    return [_figure(row.ours), _figure(row.theirs), row.unit, _figure(row.ratio), goal]


def _draw(compared: Sequence[tuple[Row, float]], file: Path) -> None:
    """What has a ratio, on one scale: above what should be much, below what should be little."""
    panels = [[pair for pair in compared if pair[0].better == better] for better in _PANELS]
    figure, drawn = plt.subplots(
        len(panels),
        sharex=True,
        figsize=(11, 2.2 + _INCHES_PER_ROW * len(compared)),
        height_ratios=[max(1, len(panel)) for panel in panels],
        layout="constrained",
    )
    for axes, title, panel in zip(drawn, _PANELS.values(), panels, strict=True):
        _draw_panel(axes, title, panel)
    drawn[-1].set_xlabel("ours ÷ theirs")
    figure.suptitle("Ours beside its peers")
    figure.legend(handles=_legend(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(file)
    plt.close(figure)


def _draw_panel(axes: Axes, title: str, panel: Sequence[tuple[Row, float]]) -> None:
    """Each ratio as a bar that begins at 1, on a logarithmic scale, with a tick where its goal is."""
    places = range(len(panel))
    axes.set_title(title, loc="left", fontsize="medium", fontweight="bold")
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=1)
    for place, (row, ratio) in zip(places, panel, strict=True):
        axes.barh(place, ratio - 1, left=1, height=0.62, color=_COLOURS[row.holds])
        side = 1 if ratio >= 1 else -1
        axes.annotate(
            f"{_figure(ratio)}",
            (ratio, place),
            xytext=(4 * side, 0),
            textcoords="offset points",
            ha="left" if ratio >= 1 else "right",
            va="center",
            fontsize="small",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            zorder=3,
        )
        if row.goal is not None:
            axes.plot([row.goal, row.goal], [place - 0.45, place + 0.45], color="black", linewidth=2.5)
    axes.set_yticks(places, [row.name for row, _ in panel])
    axes.set_ylim(len(panel) - 0.4, -0.6)
    axes.margins(x=0.12)
    axes.grid(axis="x", color="gainsboro", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _legend() -> list[Patch | Line2D]:
    return [
        Patch(color=_COLOURS[True], label="goal holds"),
        Patch(color=_COLOURS[False], label="goal missed"),
        Patch(color=_COLOURS[None], label="no goal"),
        Line2D([], [], color="black", linewidth=2.5, label="goal"),
    ]


def _figure(value: float | None) -> str:
    """Three digits that count."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
