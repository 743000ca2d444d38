"""Where the parameters, the multiply-accumulates and the activations of models sit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UsageError
from ..models.arithmetic import KINDS, Part, parts, tokens
from ..models.config import ModelConfig
from .style import (
    BLACK,
    BLUE,
    GRAY,
    GREEN,
    LABEL,
    NOTE,
    ORANGE,
    PAGE_WIDTH,
    PURPLE,
    SKY,
    TICK,
    YELLOW,
    label_axes,
    new_figure,
    open_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class _Quantity(NamedTuple):
    title: str
    unit: str
    of: Callable[[Part], int]


_QUANTITIES = (
    _Quantity("parameters", "", lambda part: part.parameters),
    _Quantity("MACs of one picture", "", lambda part: part.macs),
    _Quantity("activations of one picture", "B", lambda part: part.activation_bytes),
)

#: kind -> its colour, and whether writing on it is white
_COLOURS = {
    "tokenizer": (GREEN, True),
    "class token": ("#BBBBBB", False),
    "positions": (YELLOW, False),
    "attention, linear maps": (BLUE, True),
    "attention, products": (SKY, False),
    "MLP": (ORANGE, True),
    "norms": (PURPLE, False),
    "pooling": (GRAY, True),
    "head": (BLACK, True),
    "dropout, drop path": ("#DDDDDD", False),
}
#: Shares of a panel's width: what can be seen, and so is in the key, and what holds a number.
_SEEN, _WRITTEN = 0.005, 0.09


def plot_sizes(models: Sequence[tuple[str, ModelConfig]], title: str = "") -> Figure:
    """Stacked bars by kind of part: a panel for each quantity, a bar for each ``(name, model)``.

    Numbers in the bars are percent of the bar, those after them the whole. Parameters are counted
    with positions, MACs with the attention products, activations in bytes of float32 with
    attention written out, as ``compact_vit.models.arithmetic`` says. Raises ``UsageError`` for no
    models.
    """
    if not models:
        raise UsageError("a picture of sizes needs at least one model, got none")
    found = [parts(config) for _, config in models]
    figure = new_figure(PAGE_WIDTH, 1.75 + 0.36 * len(models), title)
    panels = figure.subplots(1, len(_QUANTITIES), sharey=True)
    for axes, quantity in zip(panels, _QUANTITIES, strict=True):
        _draw(axes, found, quantity)
    names = [f"{name}\n{tokens(config):,} tokens" for name, config in models]
    panels[0].set_yticks(range(len(models)), names, fontsize=TICK)
    panels[0].set_ylim(len(models) - 0.5, -0.5)  # the first on top
    handles: dict[str, Any] = {}
    for axes in panels:
        bars, labels = axes.get_legend_handles_labels()
        handles |= zip(labels, bars, strict=True)
    kinds = [kind for kind in KINDS if kind in handles]
    figure.legend(
        [handles[kind] for kind in kinds],
        kinds,
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=TICK,
        title="numbers in the bars: percent of the bar",
        title_fontsize=NOTE,
    )
    return figure


def _draw(axes: Axes, models: Sequence[Sequence[Part]], quantity: _Quantity) -> None:
    """One panel: a bar for each model, its kinds of parts one after the other."""
    totals = [sum(map(quantity.of, found)) for found in models]
    scale, unit = _scale(max(totals), quantity.unit)
    limit = 1.3 * max(totals)  # room for the totals
    left = [0] * len(models)
    for kind in KINDS:
        sizes = [sum(quantity.of(p) for p in found if p.kind == kind) for found in models]
        shares = [size / total for size, total in zip(sizes, totals, strict=True)]
        colour, dark = _COLOURS[kind]
        bars = axes.barh(
            range(len(models)),
            [size / scale for size in sizes],
            left=[start / scale for start in left],
            height=0.6,
            color=colour,
            edgecolor="white",
            linewidth=0.4,
            label=kind if max(sizes) >= _SEEN * limit else f"_{kind}",
        )
        written = [
            f"{100 * share:.0f}" if size >= _WRITTEN * limit else ""
            for share, size in zip(shares, sizes, strict=True)
        ]
        axes.bar_label(
            bars, written, label_type="center", fontsize=NOTE, color="white" if dark else "black"
        )
        left = [start + size for start, size in zip(left, sizes, strict=True)]
    for i, total in enumerate(totals):
        axes.annotate(
            f"{total / scale:#.3g}".rstrip("."),
            (total / scale, i),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=NOTE,
        )
    label_axes(axes, unit, "")
    axes.set_title(quantity.title, fontsize=LABEL)
    axes.set_xlim(0, limit / scale)
    open_axes(axes)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _scale(largest: int, unit: str) -> tuple[float, str]:
    """What to divide by so that the largest number has at most four digits, and that unit."""
    if unit:
        steps = [(1e3, f"k{unit}"), (1e6, f"M{unit}"), (1e9, f"G{unit}")]
    else:
        steps = [(1e3, "thousands"), (1e6, "millions"), (1e9, "billions (10⁹)")]
    return next((step for step in reversed(steps) if largest >= step[0]), steps[0])
