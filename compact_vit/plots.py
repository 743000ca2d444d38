"""Pictures of results, as matplotlib figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Okabe and Ito's colours, told apart by colour-blind readers too.
_COLOURS = {"train": "#0072B2", "val": "#009E73", "test": "#D55E00"}
_MARKED_EPOCHS = 40


def check_picture(path: Path) -> None:
    """Refuse a file name whose ending is no kind of picture that can be written."""
    from matplotlib.figure import Figure

    kinds = Figure().canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in kinds:
        raise UsageError(f"output must end in .png, .pdf or .svg, got '{path}'")


def plot_curves(history: Sequence[dict[str, Any]], title: str = "") -> Figure:
    """Loss (nats) and accuracy (percent) of each split over the epochs, side by side.

    ``history`` are the rows of a run's ``metrics.jsonl``.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    epochs = [row["epoch"] for row in history]
    marker = "." if len(epochs) <= _MARKED_EPOCHS else None
    quantities = (("loss", "loss (nats)"), ("accuracy", "accuracy (%)"))
    for axes, (name, label) in zip(figure.subplots(1, 2), quantities, strict=True):
        for split, colour in _COLOURS.items():
            key = f"{split}_{name}"
            if history and key in history[0]:
                axes.plot(
                    epochs, [row[key] for row in history], color=colour, label=split, marker=marker
                )
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.set_xlim(0.5, len(epochs) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.suptitle(title)
    return figure


def plot_confusion(
    matrix: Sequence[Sequence[int]], classes: Sequence[str], title: str = "confusion"
) -> Figure:
    """Counts of true class (rows) against predicted class (columns), shaded by the row's share."""
    import numpy as np
    from matplotlib.figure import Figure

    counts = np.asarray(matrix)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    k = len(classes)
    side = min(16.0, max(4.5, 0.45 * k + 2.5))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(100 * share, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(image, ax=axes, label="share of the true class (%)", shrink=0.8)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if k <= 50:
        axes.set_xticks(range(k), classes, rotation=90)
        axes.set_yticks(range(k), classes)
    if k <= 20:
        for i in range(k):
            for j in range(k):
                if counts[i, j]:
                    colour = "white" if share[i, j] > 0.5 else "black"
                    axes.text(
                        j, i, str(counts[i, j]), ha="center", va="center", color=colour, size=8
                    )
    accuracy = 100 * counts.trace() / max(1, counts.sum())
    axes.set_title(f"{title}: {accuracy:.2f}% of {counts.sum():,} right")
    return figure
