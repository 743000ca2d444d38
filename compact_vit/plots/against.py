"""What runs came to against what was varied: a line a group, its points means."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..checks import is_real
from ..errors import UsageError
from .style import (
    LEGEND_WIDTH,
    LETTER,
    NOTE,
    PAGE_WIDTH,
    PALETTE,
    TICK,
    label_axes,
    legend_columns,
    new_figure,
    open_axes,
    plain,
    shortened,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = ("o", "s", "^")


class Point(NamedTuple):
    """One mean."""

    x: Any
    """The value that was varied: a number, or anything else by its name."""
    mean: float
    deviation: float | None
    """Sample standard deviation, drawn as a bar; None for a single run."""


def plot_against(lines: Mapping[str, Sequence[Point]], x: str, y: str, title: str = "") -> Figure:
    """Means against a varied value, a line for each name; ``x`` and ``y`` title the axes.

    Numbers lie where they belong, on a logarithmic axis where the largest is ten times the
    smallest; other values stand side by side in their order.
    """
    most = len(PALETTE) * len(_MARKERS)
    if not 0 < len(lines) <= most:
        raise UsageError(f"a picture tells 1 to {most} lines apart, got {len(lines)}")
    values = list(dict.fromkeys(point.x for line in lines.values() for point in line))
    numbers = all(map(is_real, values))
    places = {value: value if numbers else i for i, value in enumerate(values)}
    columns = legend_columns(lines)
    labels = shortened(list(lines), LEGEND_WIDTH)
    named = len(lines) > 1
    figure = new_figure(PAGE_WIDTH, 3.2 + 0.18 * named * -(-len(lines) // columns), title)
    axes = figure.add_subplot()
    for i, (label, line) in enumerate(zip(labels, lines.values(), strict=True)):
        points = sorted(line, key=lambda point: places[point.x])
        axes.errorbar(
            [places[point.x] for point in points],
            [point.mean for point in points],
            [point.deviation or 0.0 for point in points],
            color=PALETTE[i % len(PALETTE)],
            marker=_MARKERS[i // len(PALETTE)],
            label=label,
            markersize=4.5,
            linewidth=1.2,
            capsize=2.5,
        )
    label_axes(axes, plain(x), plain(y))
    open_axes(axes)
    _ticks(axes, values, numbers)
    if named:
        figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=TICK)
    return figure


def _ticks(axes: Axes, values: Sequence[Any], numbers: bool) -> None:
    """A tick at each of the ``values``, with its name; with its number where there is room."""
    from matplotlib.ticker import NullLocator

    if not numbers:
        names = [str(value) for value in values]
        axes.set_xticks(range(len(names)), shortened(names, 24))
        axes.set_xlim(-0.5, len(names) - 0.5)
        if sum(map(len, names)) > 60:
            for label in axes.get_xticklabels():
                label.set(rotation=30, ha="right", rotation_mode="anchor", fontsize=NOTE)
        return
    if min(values) > 0 and max(values) >= 10 * min(values):
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    ordered = sorted(values)
    axes.get_xlim()  # fits them to the lines, so that places are known
    points = axes.transData.transform([(value, 0) for value in ordered])[:, 0]
    points *= 72 / axes.figure.dpi
    names, end = [], -math.inf
    for value, place in zip(ordered, points, strict=True):
        name = f"{value:g}"
        half = LETTER * TICK * (len(name) + 1) / 2
        names.append(name if place - half > end else "")
        end = place + half if names[-1] else end
    axes.set_xticks(ordered, names)
