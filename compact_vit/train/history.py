"""What a run has written of its epochs so far. Imports no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..plots.curves import held_out


def read_history(path: Path, figures: Sequence[str] = ("loss",)) -> list[dict[str, Any]]:
    """The whole lines of the log ``path``: the last may be half written; none if there is no file.

    Each has these ``figures`` of the training pictures and of the split that is evaluated every
    epoch; ``UsageError`` if it has not.
    """
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        rows = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        splits = ("train", held_out(rows)) if rows else ()
        keys = ("epoch", *(f"{s}_{q}" for s in splits for q in figures))
        whole = all(math.isfinite(row[key]) for row in rows for key in keys)
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        whole = False
    if not whole:
        raise UsageError(f"'{path}' is damaged: it must hold a line of figures for every epoch")
    return rows
