"""The picture of a grid: its curves as long as they can be told apart, then what they came to."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..plots.curves import compare_curves
from ..plots.style import (
    NOTE,
    PAGE_WIDTH,
    PALETTE,
    TICK,
    label_axes,
    new_figure,
    open_axes,
    plain,
    shortened,
)
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
    these are too many as well, every run's accuracy against the first field that varies.
    """
    data = " and ".join(sorted({data_name(run.config) for run in runs}))
    title = f"{experiment.path.stem}: {len(runs)} of {len(rows)} runs on {data}"
    histories = {run.name: read_history(folder / run.name) for run in runs}
    if len(runs) <= MOST_CURVES:
        return compare_curves(histories, title, experiment.axes)
    averaged = _averaged(runs, histories)
    if len(averaged) <= MOST_CURVES:
        return compare_curves(averaged, f"{title}, means over seeds", experiment.axes)
    return _dots([row for row in rows if row["state"] == "finished"], title, list(runs[0].varied))


def _averaged(
    runs: Sequence[Planned], histories: Mapping[str, list[dict[str, Any]]]
) -> dict[str, list[dict[str, Any]]]:
    """The mean curves of runs alike but for their seed, by what sets them apart.

    As long as the shortest of them.
    """
    fields = [
        field for field in varying([run.varied for run in runs], list(runs[0].varied))
        if field != "seed"
    ]  # fmt: skip
    groups: dict[str, list[list[dict[str, Any]]]] = {}
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


def _dots(rows: Sequence[Mapping[str, Any]], title: str, fields: Sequence[str]) -> Figure:
    """The last epoch's accuracy (percent) of each run by the first field, coloured by another.

    By the first other of which there are no more values than colours; seeds are not coloured. Of
    pretraining, which has no accuracy, the lowest loss.
    """
    key, title_y = "accuracy", f"{rows[0]['split']} accuracy (%), last epoch"
    if any(row[key] is None for row in rows):
        key, title_y = "lowest_loss", f"lowest {rows[0]['watched']} loss"
    varied = [field for field in varying(rows, fields) if field != "seed"] or ["name"]
    first, others = varied[0], varied[1:]
    values = list(dict.fromkeys(brief(row[first]) for row in rows))
    tones = next((f for f in others if len({brief(row[f]) for row in rows}) <= len(PALETTE)), None)
    kinds = list(dict.fromkeys(brief(row[tones]) for row in rows)) if tones else [""]
    figure = new_figure(PAGE_WIDTH, 4.2, title)
    axes = figure.subplots()
    for number, kind in enumerate(kinds):
        mine = [row for row in rows if tones is None or brief(row[tones]) == kind]
        shift = 0.6 * ((number + 0.5) / len(kinds) - 0.5)
        axes.plot(
            [values.index(brief(row[first])) + shift for row in mine],
            [row[key] for row in mine],
            "o",
            markersize=4,
            alpha=0.7,
            color=PALETTE[number],
            label=plain(f"{(tones or '').removeprefix(DOTTED)} {kind}"),
        )
    label_axes(axes, plain(first.removeprefix(DOTTED)), title_y)
    long = max(map(len, values)) * len(values) > 80
    axes.set_xticks(
        range(len(values)), shortened(values, 24), rotation=60 if long else 0,
        ha="right" if long else "center", fontsize=NOTE if long else TICK,
    )  # fmt: skip
    open_axes(axes)
    if tones:
        figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=TICK)
    return figure
