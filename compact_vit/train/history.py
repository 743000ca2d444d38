"""What a run has written of its epochs so far. Imports no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError

#: What may be evaluated every epoch: ``learnt`` are the pictures that ``overfit`` learns by heart.
WATCHED = ("val", "learnt", "test")


def watched(rows: Sequence[Mapping[str, Any]]) -> str:
    """The split that was evaluated after every epoch of ``rows``."""
    return next(split for split in WATCHED if f"{split}_loss" in rows[0] or split == "test")


def read_history(path: Path, figures: Sequence[str] = ("loss",)) -> list[dict[str, Any]]:
    """The whole lines of the log ``path``: the last may be half written; none if there is no file.

    Each has these ``figures`` of the training pictures and of the split that is evaluated every
    epoch; ``UsageError`` if it has not.
    """
    try:
        text = path.read_text() if path.exists() else ""
        rows = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        splits = ("train", watched(rows)) if rows else ()
        keys = ("epoch", *(f"{s}_{q}" for s in splits for q in figures))
        whole = all(math.isfinite(row[key]) for row in rows for key in keys)
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        whole = False
    if not whole:
        raise UsageError(f"'{path}' is damaged: it must hold a line of figures for every epoch")
    return rows
