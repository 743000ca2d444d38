"""The picture of a grid: its curves as long as they can be told apart, then what they came to."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..plots.curves import History, compare_curves, held_out, named
from ..train.config import data_name
from .fields import DOTTED
from .plan import Experiment, Planned
from .record import read_history
from .table import varying
from .words import brief

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Curves that a reader still tells apart in one picture.
MOST_CURVES = 14


def draw(
    experiment: Experiment, runs: Sequence[Planned], folder: Path, rows: Sequence[Mapping[str, Any]]
) -> Figure:
    """The comparison of the finished ``runs`` in ``folder``, which may not be all of the ``rows``.

    Up to ``MOST_CURVES`` runs by their curves; if there are more, means over seeds by theirs; if
    these are too many as well, those that came to the lowest losses, and the title says so.
    """
    data = " and ".join(sorted({data_name(run.config) for run in runs}))
    title = f"{experiment.path.stem}: {len(runs)} of {len(rows)} runs on {data}"
    histories = {
        run.name: named(read_history(folder / run.name), run.config.overfit) for run in runs
    }
    if len(runs) <= MOST_CURVES:
        return compare_curves(histories, title, experiment.axes)
    averaged = _averaged(runs, histories)
    title += ", means over seeds" * (len(averaged) < len(runs))
    if len(averaged) > MOST_CURVES:
        title += f", the {MOST_CURVES} of the lowest losses of {len(averaged)}"
        best = sorted(averaged, key=lambda name: _lowest_loss(averaged[name]))[:MOST_CURVES]
        averaged = {name: curve for name, curve in averaged.items() if name in best}
    return compare_curves(averaged, title, experiment.axes)


def _lowest_loss(history: Sequence[Mapping[str, Any]]) -> float:
    return min(row[f"{held_out(history)}_loss"] for row in history)


def _averaged(runs: Sequence[Planned], histories: Mapping[str, History]) -> dict[str, History]:
    """The mean curves of runs alike but for their seed, by what sets them apart.

    As long as the shortest of them.
    """
    fields = [
        field for field in varying([run.varied for run in runs], list(runs[0].varied))
        if field != "seed"
    ]  # fmt: skip
    groups: dict[str, list[History]] = {}
    for run in runs:
        name = ", ".join(
            brief(run.varied[field])
            if isinstance(run.varied[field], str)
            else f"{field.removeprefix(DOTTED)} {brief(run.varied[field])}"
            for field in fields
            if run.varied[field] is not None
        )
        groups.setdefault(name or "all", []).append(histories[run.name])
    return {
        name: [
            {key: statistics.fmean(row[key] for row in epoch) for key in epoch[0]}
            for epoch in zip(*group, strict=False)
        ]
        for name, group in groups.items()
    }
