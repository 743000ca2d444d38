"""Loss and accuracy over the epochs, of a run or of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import UsageError, unknown
from .style import (
    BLUE,
    GREEN,
    LEGEND_WIDTH,
    NOTE,
    ORANGE,
    PAGE_WIDTH,
    PALETTE,
    TICK,
    label_axes,
    legend_columns,
    log_ticks,
    new_figure,
    open_axes,
    shortened,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: The rows of a run's ``metrics.jsonl``.
History = Sequence[Mapping[str, Any]]

AXES = ("linear", "log-log")
#: its key in a line, and its axis
Quantity = tuple[str, str]

_QUANTITIES: tuple[Quantity, ...] = (("loss", "loss (nats)"), ("accuracy", "accuracy (%)"))
#: What may be evaluated every epoch: ``learnt`` are the pictures that ``overfit`` learns by heart.
WATCHED = ("val", "learnt", "test")
_COLOURS = {"train": BLUE, "val": GREEN, "learnt": ORANGE, "test": ORANGE}
_DASHES = ("-", "--", ":")
_MARKED_EPOCHS = 40
#: Share of the axes' height that a number at its right edge takes.
_NUMBER_HEIGHT = 0.057


def plot_curves(history: History, title: str = "", axes: str = "linear") -> Figure:
    """Loss (nats) and accuracy (percent) of each split over the epochs, side by side.

    Of a pretraining, which has no accuracy, it is the squared error alone.

    A thin line marks, with its number, the best epoch on validation, which may pick, else the last
    epoch, which is the result. ``axes`` is ``"linear"`` or ``"log-log"``.
    """
    held = held_out(history)
    quantities = _quantities([history])
    figure, panels = _panels(quantities, title, axes, 3.0)
    for panel, (quantity, _) in zip(panels, quantities, strict=True):
        for split, colour in _COLOURS.items():
            if f"{split}_{quantity}" in history[0]:
                _draw(panel, history, f"{split}_{quantity}", color=colour, label=split)
        marked = _marked(history, held, quantity)
        _finish(panel, axes, history[-1]["epoch"], [(marked, _COLOURS[held])])
        panel.legend(frameon=False, fontsize=TICK)
    return figure


def compare_curves(
    histories: Mapping[str, History], title: str = "", axes: str = "linear"
) -> Figure:
    """The held-out loss (nats) and accuracy (percent) of several runs, by name, in one picture.

    Validation where a run held out a split, else test; the legend says so where runs differ. A thin
    line with its number is each run's as in ``plot_curves``.
    """
    most = len(PALETTE) * len(_DASHES)
    if len(histories) > most:
        raise UsageError(f"curves tell at most {most} runs apart, got {len(histories)}")
    held = {name: held_out(history) for name, history in histories.items()}
    mixed = len(set(held.values())) > 1
    columns = legend_columns(held)
    rows = -(-len(held) // columns)
    quantities = _quantities(list(histories.values()))
    height = 3.0 + 0.18 * rows + 0.1 * max(0, len(held) - 14)
    figure, panels = _panels(quantities, title, axes, height)
    for panel, (quantity, label) in zip(panels, quantities, strict=True):
        marks = []
        for i, (name, history) in enumerate(histories.items()):
            colour = PALETTE[i % len(PALETTE)]
            dashes = _DASHES[i // len(PALETTE) % len(_DASHES)]
            key = f"{held[name]}_{quantity}"
            said = f"{name} ({held[name]})" if mixed else name
            _draw(panel, history, key, color=colour, label=said, linestyle=dashes)
            marks.append((_marked(history, held[name], quantity), colour))
        if not mixed:
            panel.set_ylabel(f"{next(iter(held.values()))} {label}")
        _finish(panel, axes, max(h[-1]["epoch"] for h in histories.values()), marks)
    # by hand, as matplotlib would leave out a run whose name begins with _
    handles = panels[0].get_lines()[: len(held)]
    figure.legend(
        handles,
        shortened([str(handle.get_label()) for handle in handles], LEGEND_WIDTH),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=TICK,
    )
    return figure


def held_out(history: History) -> str:
    """The split that ``history`` was evaluated on every epoch: val, learnt or test."""
    if not history:
        raise UsageError("curves need at least one epoch, got none")
    return next(s for s in WATCHED if f"{s}_loss" in history[0] or s == "test")


def _marked(history: History, held: str, quantity: str) -> float:
    """The value that stands for a run: of the epoch picked on val; else of the last.

    Picked is the first of the highest accuracy, or of the lowest loss where there is none.
    """
    row = history[-1]
    if held == "val":
        row = max(history, key=lambda row: row.get("val_accuracy", -row["val_loss"]))
    return row[f"{held}_{quantity}"]


def _quantities(histories: Sequence[History]) -> Sequence[Quantity]:
    """What all ``histories`` have: a pretraining has a loss alone, a squared error."""
    if all("train_accuracy" in history[0] for history in histories):
        return _QUANTITIES
    pretrained = not any("train_accuracy" in history[0] for history in histories)
    return (("loss", "squared error" if pretrained else "loss"),)


def _panels(
    quantities: Sequence[Quantity], title: str, axes: str, height: float
) -> tuple[Figure, list[Axes]]:
    if axes not in AXES:
        raise unknown("axes", axes, AXES)
    figure = new_figure(PAGE_WIDTH, height, title)
    panels = list(figure.subplots(1, len(quantities), squeeze=False)[0])
    for panel, (_, label) in zip(panels, quantities, strict=True):
        label_axes(panel, "epoch", label)
        open_axes(panel)
    return figure, panels


def _draw(axes: Axes, history: History, key: str, **look: Any) -> None:
    epochs = [row["epoch"] for row in history]
    marker = "." if len(epochs) <= _MARKED_EPOCHS else None
    axes.plot(epochs, [row[key] for row in history], marker=marker, linewidth=1.4, **look)


def _finish(axes: Axes, scale: str, last: int, marks: Sequence[tuple[float, str]]) -> None:
    """Scales and ticks up to epoch ``last``, and each value marked as a thin line in its colour."""
    from matplotlib.ticker import MaxNLocator

    for value, colour in marks:
        axes.axhline(value, color=colour, linewidth=0.6, alpha=0.7, zorder=1.5)
    if scale == "linear":
        axes.set_xlim(0.5, last + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    else:
        axes.set_xscale("log")
        axes.set_yscale("log", nonpositive="mask")
        axes.set_xlim(0.9, max(2, last) * 1.1)
        log_ticks(axes.xaxis, 1, max(2, last), integer=True)
        log_ticks(axes.yaxis, *axes.get_ylim())
        marks = [mark for mark in marks if mark[0] > 0]
    low, high = (float(y) for y in axes.yaxis.get_transform().transform(axes.get_ylim()))
    heights = [
        (float(axes.yaxis.get_transform().transform(value)) - low) / (high - low)
        for value, _ in marks
    ]
    for (value, colour), place in zip(marks, spread(heights, _NUMBER_HEIGHT), strict=True):
        axes.annotate(
            f"{value:.2f}" if value >= 1 else f"{value:#.3g}",
            (1.0, place),
            xycoords="axes fraction",
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=NOTE,
            color=colour,
        )


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """``heights`` in [0, 1] moved until no two are closer than ``gap``, their order kept.

    Those that would touch stand in one block about their mean, inside [0, 1].
    """
    gap = min(gap, 1 / max(1, len(heights) - 1))
    blocks: list[list[int]] = []  # of indices, from below
    for i in sorted(range(len(heights)), key=lambda i: heights[i]):
        blocks.append([i])
        while len(blocks) > 1:
            (_, below), (above, _) = (_ends(heights, block, gap) for block in blocks[-2:])
            if above - below >= gap:
                break
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    places = list(heights)
    for block in blocks:
        lowest, _ = _ends(heights, block, gap)
        for rank, i in enumerate(block):
            places[i] = lowest + rank * gap
    return places


def _ends(heights: Sequence[float], block: Sequence[int], gap: float) -> tuple[float, float]:
    """Where the lowest and the highest of a block stand."""
    length = gap * (len(block) - 1)
    lowest = sum(heights[i] for i in block) / len(block) - length / 2
    lowest = min(max(lowest, 0.0), 1.0 - length)
    return lowest, lowest + length
