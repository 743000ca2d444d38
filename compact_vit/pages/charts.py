"""Charts as places in pixels, for the page's template to draw. Imports no torch.

They are no matplotlib figures because they take their colours from the page, light or dark, cost a
thousandth of the time and a tenth of the bytes, and can be read by a screen reader.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..ranking import Row
from ..scoring import pareto_front

WIDTH, HEIGHT = 440.0, 270.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 14.0, 22.0, 40.0
_TICKS = 5
#: Points are marked in lines of so few.
_MARKED = 40
#: A letter of a label is about so wide and high.
_LETTER, _LINE = 6.2, 13.0


class Tick(NamedTuple):
    """A number on an axis, and where it stands."""

    place: float
    text: str


class Line(NamedTuple):
    """A line through ``points``, written as SVG writes them."""

    points: str
    kind: str
    name: str = ""
    """What the key says; nothing for a line that explains itself."""


class Bar(NamedTuple):
    x: float
    y: float
    width: float
    height: float
    kind: str
    said: str
    """What is shown where one points at it."""


class Dot(NamedTuple):
    x: float
    y: float
    kind: str
    said: str = ""
    label: str = ""
    """What is written beside it, to the upper left; nothing where there is no room."""


@dataclass
class Chart:
    """What is drawn, in pixels from the upper left corner; ``kind`` is a class of the style."""

    said: str
    """The picture in words, for who cannot see it."""
    x_label: str
    y_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    width: float = WIDTH
    height: float = HEIGHT
    bars: list[Bar] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    dots: list[Dot] = field(default_factory=list)
    dot_names: Mapping[str, str] = field(default_factory=dict)
    """What the key says of a kind of dots."""

    left, right, top, bottom = _LEFT, _RIGHT, _TOP, _BOTTOM


class _Scale:
    """From a number to its place along an axis, linear or logarithmic."""

    def __init__(
        self, low: float, high: float, start: float, end: float, *, log: bool = False
    ) -> None:
        self._of: Callable[[float], float] = math.log10 if log else float
        self._low, self._high = self._of(low), self._of(high)
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        share = (self._of(value) - self._low) / (self._high - self._low)
        return round(self._start + share * (self._end - self._start), 1)


def _horizontal(low: float, high: float, width: float = WIDTH, *, log: bool = False) -> _Scale:
    return _Scale(low, high, _LEFT, width - _RIGHT, log=log)


def _vertical(low: float, high: float) -> _Scale:
    return _Scale(low, high, HEIGHT - _BOTTOM, _TOP)


def curve_charts(history: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Loss (nats) and accuracy (percent) of each split over the epochs of ``metrics.jsonl``.

    Numbers that are not finite are left out.
    """
    last = max(row["epoch"] for row in history)
    x = _horizontal(0.5, last + 0.5) if last < _MARKED else _horizontal(0, last)
    epochs = [e for e in round_numbers(1, max(2, last)) if e == int(e) and 1 <= e <= last]
    charts = []
    for quantity, unit in (("loss", "nats"), ("accuracy", "%")):
        found = {
            split: [(r["epoch"], r[key]) for r in history if math.isfinite(r.get(key, math.nan))]
            for key in history[0]
            if (split := key.removesuffix(f"_{quantity}")) != key
        }
        values = [value for points in found.values() for _, value in points] or [0.0, 1.0]
        ticks = round_numbers(min(values), max(values))
        y = _vertical(ticks[0], ticks[-1])
        chart = Chart(
            f"{quantity} of each split over the epochs",
            "epoch",
            f"{quantity} ({unit})",
            [Tick(x(epoch), f"{epoch:g}") for epoch in epochs],
            [Tick(y(value), f"{value:g}") for value in ticks],
        )
        for split, points in found.items():
            places = [(x(epoch), y(value)) for epoch, value in points]
            kind = split if split in ("train", "val") else "test"
            chart.lines.append(Line(_joined(places), kind, split))
            if len(points) <= _MARKED:
                chart.dots += [
                    Dot(*place, kind, f"{split} {quantity} at epoch {epoch}: {value:.4g}")
                    for place, (epoch, value) in zip(places, points, strict=True)
                ]
        charts.append(chart)
    return charts


def reliability_chart(
    counts: Sequence[int], confidences: Sequence[float], accuracies: Sequence[float]
) -> Chart:
    """Accuracy in each bin of confidence, and what it lacks of the confidence (both percent)."""
    bins = len(counts)
    x, y, chart = _percentages("confidence (%)", "accuracy (%)")
    chart.said = "accuracy of the pictures in each bin of confidence, beside perfect calibration"
    width = x(100 / bins) - x(0)
    for i, (n, said, right) in enumerate(zip(counts, confidences, accuracies, strict=True)):
        if not n:
            continue
        start, top, end = x(100 * i / bins), min(y(said), y(right)), max(y(said), y(right))
        what = f"{n:,} pictures: {right:.1f}% right at a mean confidence of {said:.1f}%"
        chart.bars.append(Bar(start, y(right), width, round(y(0) - y(right), 1), "right", what))
        chart.bars.append(Bar(start, top, width, round(end - top, 1), "gap", what))
    chart.lines.append(Line(_joined([(x(0), y(0)), (x(100), y(100))]), "ideal", "as sure as right"))
    return chart


def confidence_chart(counts: Sequence[int]) -> Chart:
    """How the pictures are spread over the bins of confidence (percent)."""
    bins, total = len(counts), sum(counts)
    x, y, chart = _percentages("confidence (%)", "pictures (%)")
    chart.said = "share of the pictures in each bin of confidence"
    width = x(100 / bins) - x(0)
    for i, n in enumerate(counts):
        top = y(100 * n / total)
        what = f"{n:,} pictures"
        chart.bars.append(Bar(x(100 * i / bins), top, width, round(y(0) - top, 1), "count", what))
    return chart


def ranking_chart(rows: Sequence[Row]) -> Chart:
    """Accuracy against parameters on a logarithmic axis, with the Pareto front; runs stand out."""
    placed = [
        (row, row.result.parameters, row.result.accuracy)
        for row in rows
        if row.result.parameters is not None and row.result.accuracy is not None
    ]
    sizes = [size / 1e6 for _, size, _ in placed]
    margin = max(1.3, (max(sizes) / min(sizes)) ** 0.1)
    low, high = min(sizes) / margin**2, max(sizes) * margin
    ticks = round_numbers(
        min(accuracy for _, _, accuracy in placed), max(accuracy for _, _, accuracy in placed)
    )
    width = 2 * WIDTH
    x, y = _horizontal(low, high, width, log=True), _vertical(ticks[0], ticks[-1])
    chart = Chart(
        "accuracy against parameters of this run and of published results",
        "parameters (millions)",
        "accuracy (%)",
        [Tick(x(value), f"{value:g}") for value in _log_numbers(low, high)],
        [Tick(y(value), f"{value:g}") for value in ticks],
        width,
        dot_names={"run": "this run", "published": "published"},
    )
    front = [placed[i] for i in pareto_front([(size, accuracy) for _, size, accuracy in placed])]
    steps: list[tuple[float, float]] = []
    for _, size, accuracy in front:
        if steps:
            steps.append((x(size / 1e6), steps[-1][1]))
        steps.append((x(size / 1e6), y(accuracy)))
    chart.lines.append(Line(_joined(steps), "front", "none as accurate is smaller"))
    dots = [
        (row, Dot(x(size / 1e6), y(accuracy), "run" if _own(row) else "published", _said(row)))
        for row, size, accuracy in placed
    ]
    named = [entry for entry in dots if entry[0].front or _own(entry[0])]
    chart.dots += [dot for row, dot in dots if (row, dot) not in named]
    # this run is named first, and drawn last
    chart.dots += reversed(_labelled(sorted(named, key=lambda e: (not _own(e[0]), e[1].x))))
    return chart


def _own(row: Row) -> bool:
    return row.result.origin == "run"


def _said(row: Row) -> str:
    result = row.result
    return f"{result.name}: {result.accuracy:.2f}% with {result.parameters:,} parameters"


def _labelled(dots: Sequence[tuple[Row, Dot]]) -> list[Dot]:
    """The dots, in the order given, with their names where these hide no other's."""
    taken: list[tuple[float, float, float]] = []
    labelled = []
    for row, dot in dots:
        start, end = dot.x - _LETTER * len(row.result.name), dot.x
        free = all(
            abs(dot.y - level) > _LINE or end < left or start > right
            for left, right, level in taken
        )
        if free and start > _LEFT:
            taken.append((start, end, dot.y))
            dot = dot._replace(label=row.result.name)
        labelled.append(dot)
    return labelled


def round_numbers(low: float, high: float) -> list[float]:
    """About five round numbers from one at or below ``low`` to one at or above ``high``."""
    span = high - low
    if span <= 1e-9 * abs(high):  # as good as one number
        span = abs(high) or 1.0
    unit = 10 ** math.floor(math.log10(span / _TICKS))
    step = next(s * unit for s in (1, 2, 5, 10) if s * unit * _TICKS >= span * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, max(last, first + 1) + 1)]


def _log_numbers(low: float, high: float) -> list[float]:
    """The numbers 1, 2 and 5 of every decade between ``low`` and ``high``."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    numbers = [float(f"{s}e{decade}") for decade in decades for s in (1, 2, 5)]
    return [number for number in numbers if low <= number <= high]


def _percentages(x_label: str, y_label: str) -> tuple[_Scale, _Scale, Chart]:
    """A chart whose axes go from 0 to 100 percent."""
    x, y = _horizontal(0, 100), _vertical(0, 100)
    hundred = range(0, 101, 20)
    x_ticks, y_ticks = ([Tick(scale(p), f"{p}") for p in hundred] for scale in (x, y))
    return x, y, Chart("", x_label, y_label, x_ticks, y_ticks)


def _joined(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in places)
