"""What runs of an experiment have come to, read from their folders. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..files import write_whole
from ..train.config import TrainConfig, with_whole_paths
from .words import shown


def read_json(
    path: Path, way_out: str = "delete its folder, and it is run again"
) -> dict[str, Any]:
    """The object in the file ``path``; ``UsageError`` with the ``way_out`` if it is damaged."""
    try:
        value = json.loads(path.read_text())
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UsageError(f"'{path}' is damaged: {way_out}")
    return value


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, whole or not at all."""
    write_whole(path, f"{json.dumps(value, indent=2)}\n".encode())


def read_history(run: Path) -> list[dict[str, Any]]:
    """The rows of the run's ``metrics.jsonl`` so far; a line half written is not among them."""
    try:
        text = (run / "metrics.jsonl").read_text()
    except FileNotFoundError:
        return []
    try:
        rows = [json.loads(line) for line in text.split("\n")[:-1]]
    except (ValueError, RecursionError):
        rows = [None]
    if not all(isinstance(row, dict) and "epoch" in row for row in rows):
        raise UsageError(
            f"'{run}/metrics.jsonl' is damaged: delete its folder, and it is run again"
        )
    return rows


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
    found = comparable(TrainConfig.from_dict(read_json(run / "config.json")))
    wanted = comparable(with_whole_paths(config))
    for field, value in wanted.items():
        if found.get(field) != value:
            raise UsageError(
                f"'{run}' is a run with {field} {shown(found.get(field)):.60}, and now {field} is "
                f"{shown(value):.60}: delete it, or choose another --output"
            )
    return "finished" if (run / "summary.json").exists() else "unfinished"


def comparable(config: TrainConfig) -> dict[str, Any]:
    """The fields of ``config`` as JSON brings them back."""
    return json.loads(json.dumps(config.to_dict()))


#: What a summary is told by.
_TOLD = {"final", "best", "score", "seconds", "parameters", "parameters_without_positions"}


def row_of(run: Path, summary: Mapping[str, Any]) -> dict[str, Any]:
    """What a table says of the finished ``run``.

    ``accuracy`` is the last epoch's, ``picked`` that of the epoch which did best on the validation
    split if there was one, both on ``split``. What was best over the epochs is of ``watched``, the
    split evaluated every epoch: a ceiling and no result where that is the test set. Of a run that
    learns by heart both are the pictures it trains on, though its lines call them test.
    """
    history = read_history(run)
    if not history or not summary.keys() >= _TOLD:
        raise UsageError(f"'{run}' is damaged: delete its folder, and it is run again")
    final, best = summary["final"], summary["best"]
    key = "val" if "val_loss" in history[0] else "test"
    watched = "train" if final["split"] == "train" else key
    return {
        "parameters": summary["parameters"],
        "parameters_without_positions": summary["parameters_without_positions"],
        "split": final["split"],
        "n": final["n"],
        "epoch": final["epoch"],
        "accuracy": final.get("accuracy"),  # a pretraining has none
        "picked": best.get("accuracy") if best["picked_on"] else None,
        "picked_epoch": best["epoch"] if best["picked_on"] else None,
        "watched": watched,
        "lowest_loss": min(row[f"{key}_loss"] for row in history),
        "highest_accuracy": max(
            (row[f"{key}_accuracy"] for row in history if f"{key}_accuracy" in row),
            default=None,
        ),
        "score": summary["score"]["value"] if summary["score"] else None,
        "seconds": summary["seconds"],
    }


#: A row of a run that has not finished.
NOTHING = dict.fromkeys(
    ("parameters", "parameters_without_positions", "split", "n", "epoch", "accuracy", "picked",
     "picked_epoch", "watched", "lowest_loss", "highest_accuracy", "score", "seconds")
)  # fmt: skip
