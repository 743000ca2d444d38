"""What a model is wrong about while it is sure.

Letters: N pictures, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import UsageError
from .style import NOTE, grid_of, new_figure, shortened, show_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

_COLUMNS = 6


def plot_errors(
    images: Tensor,
    labels: Tensor,
    probabilities: Tensor,
    classes: Sequence[str],
    title: str = "mistakes",
    count: int = 24,
) -> Figure:
    """The ``count`` mistakes with the highest probability, the surest first.

    ``images`` are ``uint8 [N, C, H, W]``, ``labels`` ``[N]``, ``probabilities`` ``[N, K]``. Raises
    ``UsageError`` if there is no mistake.
    """
    if count < 1:
        raise UsageError(f"count must be a whole number of at least 1, got {count}")
    surest, said = probabilities.max(dim=1)
    wrong = (said != labels).nonzero().flatten()  # [number of mistakes]
    if not len(wrong):
        raise UsageError(f"there are no mistakes to show: all {len(labels):,} pictures are right")
    order = surest[wrong].argsort(descending=True, stable=True)
    shown = wrong[order[:count]].tolist()
    names = shortened(classes, 14)
    rows, columns = grid_of(len(shown), _COLUMNS)
    shape = images.shape[2] / images.shape[3]  # of a picture, height over width
    heading = f"{title}: {len(shown)} surest of {len(wrong):,} mistakes in {len(labels):,} pictures"
    figure = new_figure(max(1.4 * columns, 5.5), (shape + 0.65) * rows + 0.6, heading)
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.set_axis_off()
    for axes, i in zip(figure.axes, shown, strict=False):
        show_picture(axes, images[i])
        truth, answer = names[int(labels[i])], names[int(said[i])]
        axes.set_title(
            f"{answer} {100 * float(surest[i]):.1f}%\ntrue: {truth}", fontsize=NOTE, pad=3
        )
    return figure
