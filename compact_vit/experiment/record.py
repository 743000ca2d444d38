"""What runs of an experiment have come to, read from their folders. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..checks import is_real
from ..errors import UsageError
from ..files import read_json
from ..plots.curves import held_out
from ..train import history
from ..train.config import TrainConfig, with_whole_paths
from .words import shown

#: What to do about a run's file that is damaged.
AGAIN = "delete its folder, and it is run again"


def read_history(run: Path) -> list[dict[str, Any]]:
    """The rows of the run's ``metrics.jsonl`` so far; a line half written is not among them."""
    try:
        return history.read_history(run / "metrics.jsonl")
    except UsageError as error:
        raise UsageError(f"{error}; {AGAIN}") from None


def state_of(run: Path, config: TrainConfig) -> str:
    """``finished``, ``unfinished`` or ``new``: what the folder ``run`` holds of ``config``'s run.

    Raises ``UsageError`` if it holds anything else.
    """
    if not run.exists():
        return "new"
    if not run.is_dir():
        raise UsageError(f"'{run}' must be the folder of a run, and is a file: move it away")
    if not (run / "config.json").exists():
        if all(entry.suffix == ".tmp" for entry in run.iterdir()):
            return "new"
        raise UsageError(f"'{run}' is not the folder of a run: move it away, or change --output")
    found = comparable(TrainConfig.from_dict(read_json(run / "config.json", AGAIN)))
    wanted = comparable(with_whole_paths(config))
    for field, value in wanted.items():
        if found.get(field) != value:
            back = "put the pictures back, " if field == "data_dir" else ""
            raise UsageError(
                f"'{run}' is a run with {field} {shown(found.get(field)):.60}, and now {field} is "
                f"{shown(value):.60}: {back}delete it, or choose another --output"
            )
    return "finished" if (run / "summary.json").exists() else "unfinished"


def comparable(config: TrainConfig) -> dict[str, Any]:
    """The fields of ``config`` as JSON brings them back."""
    return json.loads(json.dumps(config.to_dict()))


def row_of(run: Path, summary: Mapping[str, Any]) -> dict[str, Any]:
    """What a table says of the finished ``run``.

    ``accuracy`` is the last epoch's, ``picked`` that of the epoch which did best on the validation
    split if there was one, both on ``split``. What was best over the epochs is of ``watched``, the
    split evaluated every epoch: a ceiling and no result where that is the test set.
    """
    rows = read_history(run)
    try:
        return _row(rows, summary)
    except (LookupError, TypeError, AttributeError, UsageError):  # no rows, or no summary
        raise UsageError(f"'{run}' is damaged: {AGAIN}") from None


def _row(rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> dict[str, Any]:
    final, best = summary["final"], summary["best"]
    key = held_out(rows)
    watched = "train" if key == "learnt" else key
    figures = {
        "parameters": summary["parameters"],
        "parameters_without_positions": summary["parameters_without_positions"],
        "n": final["n"],
        "epoch": final["epoch"],
        "accuracy": final.get("accuracy"),  # a pretraining has none
        "picked": best.get("accuracy") if best["picked_on"] else None,
        "picked_epoch": best["epoch"] if best["picked_on"] else None,
        "lowest_loss": min(row[f"{key}_loss"] for row in rows),
        "highest_accuracy": max(
            (row[f"{key}_accuracy"] for row in rows if f"{key}_accuracy" in row),
            default=None,
        ),
        "score": summary["score"]["value"] if summary["score"] else None,
        "seconds": summary["seconds"],
    }
    for name, value in figures.items():
        if value is not None and not is_real(value):
            raise TypeError(f"{name} must be a finite number, got {value!r:.40}")
    return figures | {"split": final["split"], "watched": watched}


#: A row of a run that has not finished.
NOTHING = dict.fromkeys(
    ("parameters", "parameters_without_positions", "split", "n", "epoch", "accuracy", "picked",
     "picked_epoch", "watched", "lowest_loss", "highest_accuracy", "score", "seconds")
)  # fmt: skip
