"""The picture of a search: how it went, and what each searched field had to do with it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..plots.style import (
    BLUE,
    GRAY,
    LABEL,
    NOTE,
    ORANGE,
    PAGE_WIDTH,
    TICK,
    grid_of,
    label_axes,
    log_ticks,
    new_figure,
    open_axes,
    plain,
    shortened,
)
from .fields import DOTTED
from .space import Choice, Range
from .words import apart, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Panels beside each other.
_COLUMNS = 3

Rows = Sequence[Mapping[str, Any]]


def draw_search(rows: Rows, space: Mapping[str, Choice | Range], title: str) -> Figure:
    """Validation accuracy (percent) over the trials with the best so far, and against each field.

    Trials that were pruned are crosses, at what they had reached.
    """
    seen = [row for row in rows if row["val_accuracy"] is not None]
    count, columns = grid_of(len(space), _COLUMNS)
    figure = new_figure(PAGE_WIDTH, 2.6 + 2.1 * count, title)
    grid = figure.add_gridspec(1 + count, columns)
    over = figure.add_subplot(grid[0, :])
    _dots(over, seen, [row["trial"] for row in seen])
    finished = [row for row in seen if row["state"] == "finished"]
    if finished:
        best = list(itertools.accumulate((row["val_accuracy"] for row in finished), max))
        numbers = [row["trial"] for row in finished]
        over.step(
            [*numbers, rows[-1]["trial"]], [*best, best[-1]], where="post", color=ORANGE,
            linewidth=1.2, label=f"best so far, {best[-1]:.2f}%", zorder=1,
        )  # fmt: skip
    label_axes(over, "trial", "val accuracy (%)")
    from matplotlib.ticker import MaxNLocator

    over.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    open_axes(over)
    figure.legend(*over.get_legend_handles_labels(), loc="outside lower center", ncols=4,
                  frameon=False, fontsize=TICK)  # fmt: skip
    for place, (field, span) in enumerate(space.items()):
        axes = figure.add_subplot(grid[1 + place // columns, place % columns], sharey=over)
        _against(axes, seen, field, span)
        if place % columns == 0:
            axes.set_ylabel("val accuracy (%)", fontsize=LABEL)
    return figure


def _dots(axes: Axes, rows: Rows, places: Sequence[float]) -> None:
    for states, marker, colour, label in (
        (("finished",), "o", BLUE, "finished"),
        (("pruned",), "x", GRAY, "pruned"),
        (("failed", "unfinished"), "1", GRAY, "not finished"),
    ):
        mine = [(x, row["val_accuracy"]) for x, row in zip(places, rows, strict=True)
                if row["state"] in states]  # fmt: skip
        if mine:
            axes.plot(*zip(*mine, strict=True), marker, color=colour, markersize=4.5, label=label)


def _against(axes: Axes, rows: Rows, field: str, span: Choice | Range) -> None:
    """The validation accuracy against ``field``."""
    from matplotlib.ticker import MaxNLocator

    label_axes(axes, plain(field.removeprefix(DOTTED)), "")
    open_axes(axes)
    if isinstance(span, Choice):
        names, places = apart(span.values), list(map(shown, span.values))
        _dots(axes, rows, [places.index(shown(row[field])) for row in rows])
        axes.set_xticks(range(len(names)), shortened(names, 14))
        axes.set_xlim(-0.5, len(names) - 0.5)
        if sum(map(len, names)) > 24:
            axes.tick_params(axis="x", labelrotation=30, labelsize=NOTE)
        return
    _dots(axes, rows, [row[field] for row in rows])
    if span.log:  # powers of ten, for which there is room
        axes.set_xscale("log")
        axes.set_xlim(span.low / 1.2, span.high * 1.2)
        if span.high < 10 * span.low:
            log_ticks(axes.xaxis, span.low, span.high, integer=span.whole)
        return
    margin = 0.05 * (span.high - span.low)
    axes.set_xlim(span.low - margin, span.high + margin)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=span.whole, min_n_ticks=1))
