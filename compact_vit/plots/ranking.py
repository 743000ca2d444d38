"""Accuracy against what it costs, with the front that no other result beats."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..scoring import pareto_front
from .style import (
    BLUE,
    GRAY,
    NOTE,
    ORANGE,
    PAGE_WIDTH,
    TICK,
    label_axes,
    log_ticks,
    new_figure,
    open_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

#: How many times as far as its own point the next one must be from a name.
_CLEAR = 1.3

#: Where a label may stand beside its point: (right, up) in points, how it hangs there.
_PLACES = (
    (5, 3, "left", "bottom"),
    (-5, 3, "right", "bottom"),
    (5, -3, "left", "top"),
    (-5, -3, "right", "top"),
    (0, 7, "center", "bottom"),
    (0, -7, "center", "top"),
    (7, 0, "left", "center"),
    (-7, 0, "right", "center"),
)


class Mark(NamedTuple):
    """One result."""

    name: str
    cost: float
    """In the unit that the axis title says."""
    accuracy: float
    """Percent."""
    deviation: float | None = None
    """Standard deviation over the seeds, drawn as a bar."""
    published: bool = False


def plot_ranking(marks: Sequence[Mark], cost: str, title: str = "") -> Figure:
    """Accuracy (percent) against ``cost``, the axis title with its unit, on a logarithmic axis.

    A line joins the Pareto front. Results on it and runs are named first; the others where there
    is room.
    """
    figure = new_figure(PAGE_WIDTH, 0.68 * PAGE_WIDTH, title)
    axes = figure.subplots()
    axes.set_xscale("log")
    front = pareto_front([(mark.cost, mark.accuracy) for mark in marks])
    corners = _corners([marks[i] for i in front])
    if len(corners) > 1:
        axes.plot(
            *zip(*corners, strict=True),
            color=GRAY,
            linewidth=1,
            linestyle="--",
            label="Pareto front: none as accurate costs less",
            zorder=1,
        )
    _scatter(axes, [mark for mark in marks if mark.published], "published", BLUE, "o")
    _scatter(axes, [mark for mark in marks if not mark.published], "measured", ORANGE, "D")
    label_axes(axes, cost, "accuracy (%)")
    open_axes(axes)
    _set_limits(axes, marks)
    axes.legend(frameon=False, fontsize=TICK, loc="lower right")
    order = sorted(
        range(len(marks)), key=lambda i: (marks[i].published, i not in front, -marks[i].accuracy)
    )
    _name(figure, axes, [marks[i] for i in order], _corners([marks[i] for i in front]))
    return figure


def _scatter(axes: Axes, marks: Sequence[Mark], label: str, colour: str, marker: str) -> None:
    if not marks:
        return
    spread = any(mark.deviation for mark in marks)
    axes.errorbar(
        [mark.cost for mark in marks],
        [mark.accuracy for mark in marks],
        yerr=[mark.deviation or 0 for mark in marks] if spread else None,
        label=f"{label} (± standard deviation over seeds)" if spread else label,
        color=colour,
        marker=marker,
        markersize=5,
        linestyle="none",
        capsize=2,
    )


def _set_limits(axes: Axes, marks: Sequence[Mark]) -> None:
    """Room on all sides for the names, and for the legend below."""
    low, high = (end(mark.cost for mark in marks) for end in (min, max))
    margin = max(1.25, (high / low) ** 0.12)
    axes.set_xlim(low / margin, high * margin)
    log_ticks(axes.xaxis, low / margin, high * margin)
    bottom = min(mark.accuracy - (mark.deviation or 0) for mark in marks)
    top = max(mark.accuracy + (mark.deviation or 0) for mark in marks)
    room = max(0.5, top - bottom)
    axes.set_ylim(bottom - 0.3 * room, min(101, top + 0.12 * room))
    axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= 100])


def _corners(front: Sequence[Mark]) -> list[tuple[float, float]]:
    """The front's line: to the right at one accuracy, then up to the next."""
    corners: list[tuple[float, float]] = []
    for mark in front:
        if corners:
            corners.append((mark.cost, corners[-1][1]))
        corners.append((mark.cost, mark.accuracy))
    return corners


def _name(
    figure: Figure, axes: Axes, marks: Sequence[Mark], line: Sequence[tuple[float, float]]
) -> None:
    """Write names beside points, in the order given, where they hide nothing drawn before.

    Each stands where it is clearest whose it is; nearer to another's point it would be read as
    that one's.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.transforms import Bbox

    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # arranges the axes, so that the places of points are known
    renderer: Any = canvas.get_renderer()
    legend = axes.get_legend()
    assert legend is not None
    taken = [legend.get_window_extent(renderer)]
    places = axes.transData.transform([(mark.cost, mark.accuracy) for mark in marks])
    points = [(float(x), float(y)) for x, y in places]
    taken += [Bbox.from_bounds(x - 3, y - 3, 6, 6) for x, y in points]
    bars = [[(m.cost, m.accuracy + s * (m.deviation or 0)) for s in (-1, 1)] for m in marks]
    for ends in [*bars, *itertools.pairwise(line)]:
        taken.append(Bbox(axes.transData.transform(ends)))
    inside = axes.get_window_extent(renderer)
    for i, mark in enumerate(marks):
        best, most = None, 0.0
        for right, up, across, along in _PLACES:
            text = axes.annotate(
                mark.name,
                (mark.cost, mark.accuracy),
                (right, up),
                textcoords="offset points",
                ha=across,
                va=along,
                fontsize=NOTE,
                color=BLUE if mark.published else ORANGE,
            )
            box = text.get_window_extent(renderer)
            within = inside.x0 <= box.x0 and box.x1 <= inside.x1 and box.y1 <= inside.y1
            free = box.y0 >= inside.y0 and not any(box.overlaps(other) for other in taken)
            clear = _clearness(box, i, points) if within and free else 0.0
            if clear > most:
                best, most, text = text, clear, best
            if text is not None:
                text.remove()
        if best is not None:
            taken.append(best.get_window_extent(renderer))


def _clearness(box: Bbox, own: int, points: Sequence[Sequence[float]]) -> float:
    """How many times as far from the box the nearest other point is, at most 2; 0 if unclear."""
    gaps = [
        math.hypot(max(box.x0 - x, 0, x - box.x1), max(box.y0 - y, 0, y - box.y1))
        for x, y in points
    ]
    nearest = min((gap for i, gap in enumerate(gaps) if i != own), default=math.inf)
    return min(2.0, nearest / gaps[own]) if nearest >= _CLEAR * gaps[own] else 0.0
