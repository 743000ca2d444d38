"""The tables of a grid: a row a run, and means over seeds where they vary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..scoring import mean_and_spread, size_accuracy_score
from ..tables import Column
from .fields import DOTTED
from .names import SPEAKING
from .words import brief

#: One row: what a run, or a group of seeds, came to.
Rows = Sequence[Mapping[str, Any]]

_percent = "{:.2f}".format
_loss = "{:.4f}".format


def _seconds(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def varying(rows: Rows, fields: Sequence[str]) -> list[str]:
    """Those of ``fields`` that are not the same in all ``rows``."""
    return [field for field in fields if len({repr(row[field]) for row in rows}) > 1]


def field_columns(fields: Sequence[str]) -> list[Column]:
    """A column for each field of a training."""
    return [
        Column(field, field.removeprefix(DOTTED), brief, text=field in SPEAKING) for field in fields
    ]


def run_columns(rows: Rows, fields: Sequence[str]) -> list[Column]:
    """The columns of a row a run."""
    return [
        Column("name", "run", text=True),
        *field_columns(varying(rows, fields)),
        *_split_columns(rows),
        Column("parameters", "parameters", "{:,}".format),
        *(Column(*figure) for figure in _figures(rows)),
        Column("score", "score", "{:,.2f}".format),
        Column("seconds", "seconds", _seconds),
        Column("error", "not finished", text=True),
    ]


def _split_columns(rows: Rows) -> list[Column]:
    """What the figures are of, where that is not the same in all ``rows``."""
    columns = [
        Column("split", "accuracy\nis of", text=True),
        Column("watched", "lowest and\nhighest are of", text=True),
    ]
    return [column for column in columns if _said(rows, column.key) is None]


def _figures(rows: Rows) -> list[tuple[str, str, Callable[[float], str]]]:
    """The key, the title and the form of each figure, which says its split if all have the same."""
    split, watched = (f"{_said(rows, key) or ''} ".lstrip() for key in ("split", "watched"))
    return [
        ("accuracy", f"{split}accuracy %,\nlast epoch", _percent),
        ("picked", f"{split}accuracy %,\nepoch picked on val", _percent),
        ("lowest_loss", f"lowest\n{watched}loss", _loss),
        ("highest_accuracy", f"highest\n{watched}accuracy %", _percent),
    ]


def means(rows: Rows, fields: Sequence[str]) -> list[dict[str, Any]]:
    """Means over the seeds of rows alike in all other ``fields``; nothing where no seeds vary.

    With sample standard deviations, and the number of runs that finished and that did not.
    """
    if "seed" not in varying(rows, fields):
        return []
    others = [field for field in fields if field != "seed"]
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(repr([row[field] for field in others]), []).append(row)
    return [_mean(group, others) for group in groups.values()]


_AVERAGED = ("accuracy", "picked", "lowest_loss", "highest_accuracy", "seconds")


def _mean(group: Rows, others: Sequence[str]) -> dict[str, Any]:
    done = [row for row in group if row["state"] == "finished"]
    mean: dict[str, Any] = {field: group[0][field] for field in others}
    mean |= {"seeds": len(done), "missing": len(group) - len(done)}
    # alike in all of them, which share the rest
    for key in ("split", "watched", "parameters", "parameters_without_positions"):
        mean[key] = done[0][key] if done else None
    for key in _AVERAGED:
        values = [row[key] for row in done if row[key] is not None]
        spread = mean_and_spread(values) if values else None
        mean[key] = spread.mean if spread else None
        mean[f"{key}_deviation"] = spread.deviation if spread else None
    scored = bool(done) and done[0]["score"] is not None
    # not the mean of the scores, which are cut at 0
    mean["score"] = (
        size_accuracy_score(
            mean["accuracy"], mean["parameters_without_positions"], known_percent=True
        )
        if scored
        else None
    )
    return mean


def mean_columns(rows: Rows, fields: Sequence[str]) -> list[Column]:
    """The columns of ``means``; ``rows`` are those of the runs."""
    return [
        *field_columns([field for field in varying(rows, fields) if field != "seed"]),
        *_split_columns(rows),
        Column("parameters", "parameters", "{:,}".format),
        Column("seeds", "seeds"),
        *([Column("missing", "missing")] if any(row["error"] for row in rows) else []),
        *(
            column
            for key, title, show in _figures(rows)
            for column in (Column(key, title, show), Column(f"{key}_deviation", "±", show))
        ),
        Column("seconds", "seconds", _seconds),
    ]


def mean_notes(rows: Rows) -> list[str]:
    """What the means over ``rows`` cannot be read without."""
    missing = "; missing: runs that did not finish" * any(row["error"] for row in rows)
    return [f"means over seeds; ±: sample standard deviation{missing}"]


def notes(rows: Rows) -> list[str]:
    """What the tables cannot be read without."""
    told = []
    if any(row["score"] is not None for row in rows):
        told.append("score: by the last epoch, its parameters counted without positions")
    if any(row["watched"] == "test" for row in rows):
        told.append(
            "highest test accuracy: over the epochs, which nobody could have picked without the "
            "test set: a ceiling, no result"
        )
    if any(row["picked"] is not None for row in rows):
        told.append("epoch picked on val: the one with the highest validation accuracy")
    return told


def _said(rows: Rows, key: str) -> str | None:
    """What ``key`` is in all rows that have it, empty where none has; None where they differ."""
    values = {row[key] for row in rows} - {None}
    return "".join(values) if len(values) < 2 else None
