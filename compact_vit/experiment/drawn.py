"""The picture of a grid: its curves, or what its runs came to against one of its fields."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checks import is_real
from ..plots.against import Point, plot_against
from ..plots.curves import History, compare_curves, held_out
from ..scoring import mean_and_spread
from ..train.config import data_name
from .fields import DOTTED
from .plan import Experiment, Planned
from .record import read_history
from .table import varying
from .words import apart

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
    Where the experiment says ``against`` what, all runs by what they came to.
    """
    data = " and ".join(sorted({data_name(run.config) for run in runs}))
    title = f"{experiment.path.stem}: {len(runs)} of {len(rows)} runs on {data}"
    if experiment.against is not None:
        return _drawn_against(experiment.against, rows, list(runs[0].varied), title)
    histories = {run.name: read_history(folder / run.name) for run in runs}
    if len(runs) <= MOST_CURVES:
        return compare_curves(histories, title, experiment.axes)
    averaged = _averaged(runs, histories)
    title += ", means over seeds" * (len(averaged) < len(runs))
    if len(averaged) > MOST_CURVES:
        title += f", the {MOST_CURVES} of the lowest losses of {len(averaged)}"
        best = sorted(averaged, key=lambda name: _lowest_loss(averaged[name]))[:MOST_CURVES]
        averaged = {name: curve for name, curve in averaged.items() if name in best}
    return compare_curves(averaged, title, experiment.axes)


def _drawn_against(
    field: str, rows: Sequence[Mapping[str, Any]], fields: Sequence[str], title: str
) -> Figure:
    """The means over seeds of the finished ``rows`` against ``field``, a line for all else."""
    done = [row for row in rows if row["state"] == "finished"]
    key, what = next(
        (key, what)
        for key, what in (
            ("picked", "accuracy (%), epoch picked on val"),
            ("accuracy", "accuracy (%), last epoch"),
            ("lowest_loss", "loss, lowest"),
        )
        if all(row[key] is not None for row in done)
    )
    others = [name for name in varying(done, fields) if name not in (field, "seed")]
    tried = [row[field] for row in done]
    places = _in_words(tried) | {repr(value): value for value in tried if is_real(value)}
    groups: dict[str, dict[Any, list[float]]] = {}
    for name, row in zip(_names(done, others), done, strict=True):
        groups.setdefault(name, {}).setdefault(places[repr(row[field])], []).append(row[key])
    lines = {
        name: [Point(value, *mean_and_spread(found)[:2]) for value, found in values.items()]
        for name, values in groups.items()
    }
    if len(lines) > MOST_CURVES:
        sign, extreme = (-1, "lowest") if key == "lowest_loss" else (1, "highest")
        title += f", the {MOST_CURVES} that come {extreme} of {len(lines)}"
        best = sorted(lines, key=lambda name: max(sign * point.mean for point in lines[name]))
        lines = {name: line for name, line in lines.items() if name in best[-MOST_CURVES:]}
    splits = {row["watched" if key == "lowest_loss" else "split"] for row in done}
    if any(len(found) > 1 for values in groups.values() for found in values.values()):
        title += ", means over seeds, ± sample standard deviation"
    return plot_against(lines, field.removeprefix(DOTTED), f"{'/'.join(splits)} {what}", title)


def _lowest_loss(history: Sequence[Mapping[str, Any]]) -> float:
    return min(row[f"{held_out(history)}_loss"] for row in history)


def _in_words(values: Iterable[Any]) -> dict[str, str]:
    """What each of the ``values`` is called, by its ``repr``."""
    different = list({repr(value): value for value in values}.values())
    return dict(zip(map(repr, different), apart(different), strict=True))


def _names(rows: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> list[str]:
    """What sets each of the ``rows`` apart in ``fields``, in words: the same for those alike."""
    words = {field: _in_words(row[field] for row in rows) for field in fields}

    def name(row: Mapping[str, Any], whole: bool) -> str:
        said = (
            words[field][repr(row[field])]
            if isinstance(row[field], str) and not whole
            else f"{field.removeprefix(DOTTED)} {words[field][repr(row[field])]}"
            for field in fields
            if whole or row[field] is not None
        )
        return ", ".join(said) or "all"

    groups = {repr([row[field] for field in fields]) for row in rows}
    names = [name(row, whole=False) for row in rows]
    return names if len(set(names)) == len(groups) else [name(row, whole=True) for row in rows]


def _averaged(runs: Sequence[Planned], histories: Mapping[str, History]) -> dict[str, History]:
    """The mean curves of runs alike but for their seed, by what sets them apart.

    As long as the shortest of them.
    """
    fields = [
        field for field in varying([run.varied for run in runs], list(runs[0].varied))
        if field != "seed"
    ]  # fmt: skip
    groups: dict[str, list[History]] = {}
    for name, run in zip(_names([run.varied for run in runs], fields), runs, strict=True):
        groups.setdefault(name, []).append(histories[run.name])
    return {
        name: [
            {key: statistics.fmean(row[key] for row in epoch) for key in epoch[0]}
            for epoch in zip(*group, strict=False)
        ]
        for name, group in groups.items()
    }
