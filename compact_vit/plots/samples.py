"""What the augmentation does to a batch.

Letters: B pictures, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import UsageError
from .style import LABEL, TICK, new_figure, shortened, show_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor


def plot_samples(
    originals: Tensor,
    draws: Sequence[Tensor],
    names: Sequence[str],
    title: str = "",
    said: Sequence[str] = (),
) -> Figure:
    """A grid: a row of pictures as they are, then a row for every draw of their augmentation.

    ``originals`` and each of ``draws`` are ``uint8 [B, C, H, W]``; ``names`` are the B classes.
    ``said`` names the draws, by default by their number.
    """
    if not len(originals):
        raise UsageError("a grid of samples needs at least one picture, got none")
    rows, columns = 1 + len(draws), len(originals)
    shape = originals.shape[2] / originals.shape[3]  # of a picture, height over width
    side = min(1.0, 12 / columns)
    figure = new_figure(max(3.0, side * columns + 0.6), (side * shape + 0.05) * rows + 0.7, title)
    figure.set_layout_engine("constrained", w_pad=0.01, h_pad=0.03, wspace=0.02, hspace=0.02)
    grid = figure.subplots(rows, columns, squeeze=False)
    for row, (panels, images) in enumerate(zip(grid, (originals, *draws), strict=True)):
        for axes, image in zip(panels, images, strict=True):
            show_picture(axes, image)
        panels[0].text(
            -0.08,
            0.5,
            ("original", *(said or (f"draw {i + 1}" for i in range(len(draws)))))[row],
            transform=panels[0].transAxes,
            rotation=90,
            va="center",
            ha="right",
            fontsize=TICK,
            weight="normal" if row else "bold",
        )
    for axes, name in zip(grid[0], shortened(names, 12), strict=True):
        axes.set_title(name, fontsize=LABEL if columns <= 8 else TICK, pad=3)
    return figure
