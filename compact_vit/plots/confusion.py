"""Which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .style import LABEL, TICK, label_axes, new_figure, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Up to so many classes a share is written into its field, and a name beside its row.
_WRITTEN, _NAMED = 20, 120
#: Inches a class takes: with a number in its field, and with a name alone.
_ROOMY, _TIGHT = 0.42, 0.105


def plot_confusion(
    matrix: Sequence[Sequence[int]], classes: Sequence[str], title: str = "confusion"
) -> Figure:
    """Shares, in percent, of each true class (rows) that are predicted as each class (columns).

    ``matrix`` holds counts. Shades follow the square root of the share, so that rare mistakes
    among many classes are seen; the title says how many pictures are right.
    """
    import numpy as np
    from matplotlib.colors import PowerNorm

    counts = np.asarray(matrix)
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    k = len(classes)
    names = shortened(classes, 24)
    side = min(14.0, max(3.0, k * (_ROOMY if k <= _WRITTEN else _TIGHT)))
    margin = 0.075 * max(map(len, names)) if k <= _NAMED else 0.0
    accuracy = 100 * counts.trace() / max(1, counts.sum())
    said = f"{title}: {accuracy:.2f}% of {counts.sum():,} right"
    figure = new_figure(side + margin + 1.5, side + margin + 0.8, said)
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=100))
    label_axes(axes, "predicted class", "true class")
    bar = figure.colorbar(image, ax=axes, shrink=0.8, ticks=[0, 1, 5, 10, 25, 50, 75, 100])
    bar.set_label("share of the true class (%)", fontsize=LABEL)
    bar.ax.tick_params(labelsize=TICK)
    if k <= _NAMED:
        size = TICK if k <= _WRITTEN else 6.0
        axes.set_xticks(range(k), names, rotation=90, fontsize=size)
        axes.set_yticks(range(k), names, fontsize=size)
        axes.tick_params(length=2 if k <= _WRITTEN else 0)
    if k <= _WRITTEN:
        for i, j in zip(*counts.nonzero(), strict=True):
            colour = "white" if share[i, j] > 35 else "black"
            axes.text(
                j, i, f"{share[i, j]:.1f}", ha="center", va="center", color=colour, fontsize=7
            )
    return figure
