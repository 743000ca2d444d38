"""How a score is told: never without what it counts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..ranking import COUNTED, Result, Row
from ..tables import Column

COLUMNS = (
    Column("rank", "rank"),
    Column("name", "model", text=True),
    Column("accuracy", "accuracy %", "{:.3f}".format),
    Column("deviation", "±", "{:.2f}".format),
    Column("seeds", "seeds"),
    Column("epochs", "epochs", "{:,}".format),
    Column("parameters", "parameters", "{:,}".format),
    Column("counted", "counted", text=True),
    Column("score", "score", "{:,.3f}".format),
    Column("interval", "95%", lambda ends: f"{ends[0]:,.1f} to {ends[1]:,.1f}"),
    Column("front", "front", lambda on: "*" if on else ""),
    # the first words of a source say which it is; JSON and CSV hold all of it
    Column("source", "from", lambda source: re.split("[,;]", source)[0], text=True),
)


def as_dict(row: Row, floor: float) -> dict[str, Any]:
    """A row in plain values."""
    result = row.result
    return {
        "rank": row.rank,
        "name": result.name,
        "origin": result.origin,
        "accuracy": result.accuracy,
        "deviation": result.deviation,
        "seeds": result.seeds,
        "n": result.n,
        "split": result.split,
        "epochs": result.epochs,
        "parameters": result.parameters,
        "counted": result.counted,
        "floor": floor,
        "score": row.score,
        "interval": None if row.interval is None else list(row.interval),
        "front": row.front,
        "macs": result.macs,
        "selection": result.selection,
        "source": result.source,
    }


def as_record(row: Row, floor: float) -> dict[str, Any]:
    """The same for CSV, a number a cell."""
    values = as_dict(row, floor)
    low, high = values.pop("interval") or (None, None)
    return values | {"interval_low": low, "interval_high": high}


def convention(floor: float, results: Sequence[Result]) -> dict[str, Any]:
    """The floor, the unit and what counts, for machines and in sentences."""
    sentences = [
        f"score: 100 x (accuracy in percent - {floor:g}) / millions of parameters, "
        f"0 below {floor:g}%",
        "counted: which parameters these are, and by whom where not by arithmetic here",
        "95%: of the score, for having tested on n pictures only (Wilson)",
        "front (*): no other here is as accurate at no more parameters",
    ]
    if any(result.counted.startswith(COUNTED["effective"]) for result in results):
        sentences.append("bytes / 4: effective parameters, 4 bytes of weights each, all stored")
    return {"floor": floor, "unit": "percent over millions of parameters", "conventions": sentences}


def one_score(row: Row, floor: float, remarks: Sequence[str]) -> str:
    """A single score in a sentence or two."""
    result = row.result
    assert row.score is not None
    assert result.parameters is not None
    assert result.accuracy is not None
    formula = f"100 x ({result.accuracy:g} - {floor:g}) / {result.parameters / 1e6:.7g}"
    below = f", 0 below {floor:g}%" if result.accuracy < floor else ""
    lines = [
        f"score {row.score:,.3f} = {formula}{below}",
        f"accuracy in percent, floor {floor:g}%, millions of parameters; "
        f"{result.parameters:,} counted {result.counted}",
    ]
    if row.interval is not None:
        low, high = row.interval
        lines.append(
            f"95%, for having tested on {result.n:,} pictures only: {low:,.3f} to {high:,.3f} "
            "(Wilson)"
        )
    return "\n".join([*lines, *remarks])
