"""Whether a model is right as often as it says: the reliability diagram (arXiv 1706.04599)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import UsageError
from .style import BLUE, GRAY, LABEL, ORANGE, TICK, label_axes, new_figure, open_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_reliability(
    counts: Sequence[int],
    confidences: Sequence[float],
    accuracies: Sequence[float],
    title: str = "",
) -> Figure:
    """Accuracy against confidence (percent) in bins of equal width, over their pictures' shares.

    Per bin: the number of pictures, their mean confidence and their accuracy; what an empty bin
    has there does not matter. The gaps to the diagonal, weighted by the shares, add up to the
    expected calibration error.
    """
    if not sum(counts):
        raise UsageError("a reliability diagram needs pictures, got none")
    bins, total = len(counts), sum(counts)
    width = 100 / bins
    figure = new_figure(3.6, 4.2, title)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    filled = [i for i in range(bins) if counts[i]]
    left = [i * width for i in filled]
    accuracy = [accuracies[i] for i in filled]
    gaps = [confidences[i] - accuracies[i] for i in filled]
    look = {"align": "edge", "edgecolor": "white", "linewidth": 0.5}
    above.bar(left, accuracy, width, color=BLUE, label="accuracy", **look)
    above.bar(
        left,
        gaps,
        width,
        accuracy,
        align="edge",
        facecolor="none",
        edgecolor=ORANGE,
        hatch="////",
        linewidth=0.8,
        label="gap to the mean confidence",
    )
    above.plot([0, 100], [0, 100], color=GRAY, linestyle="--", linewidth=0.9)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=TICK)
    label_axes(above, "", "accuracy (%)")
    above.set_ylim(0, 100)
    error = sum(counts[i] * abs(gap) for i, gap in zip(filled, gaps, strict=True)) / total
    above.set_title(f"expected calibration error {error:.2f}%", fontsize=LABEL)
    below.bar(left, [100 * counts[i] / total for i in filled], width, color=GRAY, **look)
    label_axes(below, "confidence (%)", "pictures (%)")
    below.set_xlim(0, 100)
    for axes in (above, below):
        open_axes(axes)
    return figure
