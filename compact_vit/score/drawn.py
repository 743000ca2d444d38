"""A ranking as a picture: accuracy against what it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..latency import ROUNDS, latencies_ms, this_machine
from ..ranking import Result, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(
    rows: Sequence[Row], against: str, pictures: str | None, as_published: bool = False
) -> tuple[Figure, list[str]]:
    """The picture of ``rows``, tested on ``pictures``, and the names that are not in it.

    ``against`` is ``parameters``, ``macs``, or ``latency``, which is measured here: what it is not
    known of is left out. Raises ``UsageError`` if nothing can be drawn.
    """
    from ..plots.ranking import Mark, plot_ranking

    costs, label = _costs(rows, against, as_published)
    marks, missing = [], []
    names = Counter(row.result.name for row in rows)
    for row, cost in zip(rows, costs, strict=True):
        result = row.result
        if cost is None or result.accuracy is None:
            missing.append(result.name)
            continue
        name = result.name
        if names[name] > 1 and result.epochs:
            name += f" ({result.epochs} epochs)"
        marks.append(
            Mark(name, cost, result.accuracy, result.deviation, result.origin == "published")
        )
    if not marks:
        raise UsageError(f"nothing to draw: no result here has its {against}")
    title = "accuracy against " + label.partition(" (")[0].partition(",")[0]
    if pictures is not None:
        title = f"{pictures}: {title}"
    return plot_ranking(marks, label, title), list(dict.fromkeys(missing))


def _costs(rows: Sequence[Row], against: str, as_published: bool) -> tuple[list[float | None], str]:
    """What each row costs, and the axis title that says so."""
    results = [row.result for row in rows]
    if against == "macs":
        macs = [None if r.macs is None else r.macs / 1e6 for r in results]
        return macs, "multiply-accumulates of one picture (millions)"
    if against == "latency":
        configs = list(dict.fromkeys(r.config for r in results if r.config is not None))
        taken = dict(zip(configs, latencies_ms(configs), strict=True))
        label = (
            f"latency of one picture (ms, median of {ROUNDS} turns in float32)\n"
            f"measured on this machine: {this_machine()}"
        )
        return [None if r.config is None else taken[r.config] for r in results], label
    counted = {r.counted for r in results if not _foreign(r)}
    how = [*sorted(counted), *["others as published"] * any(_foreign(r) for r in results)]
    counting = "as each source counts them" if as_published else "; ".join(how)
    label = f"parameters (millions, counted {counting})"
    return [None if r.parameters is None else r.parameters / 1e6 for r in results], label


def _foreign(result: Result) -> bool:
    """Whether it is of another architecture, whose parameters only its source counts."""
    return result.origin == "published" and result.config is None
