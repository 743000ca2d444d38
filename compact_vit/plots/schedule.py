"""The learning rate over the epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .style import BLUE, PAGE_WIDTH, TICK, label_axes, new_figure, open_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_schedule(epochs: Sequence[float], rates: Sequence[float], title: str = "") -> Figure:
    """The learning rate ``rates[i]`` of the step taken at ``epochs[i]`` epochs."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(0.7 * PAGE_WIDTH, 2.8, title)
    axes = figure.subplots()
    axes.plot(epochs, rates, color=BLUE, linewidth=1.4)
    label_axes(axes, "epoch", "learning rate")
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
    axes.yaxis.get_offset_text().set_fontsize(TICK)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
    # the last step is taken before the last epoch ends: up to its number, which has room
    axes.set_xlim(0, max(1, math.ceil(max(epochs))))
    axes.set_ylim(bottom=0)
    open_axes(axes)
    return figure
