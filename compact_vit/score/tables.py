"""One table in four formats: for the terminal, for Markdown, as CSV, as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

FORMATS = ("table", "markdown", "csv", "json")


class Column(NamedTuple):
    """One figure of every row, as people read it."""

    key: str
    title: str
    show: Callable[[Any], str] = str
    text: bool = False
    """Whether it is words, flush left, rather than a number."""


def render(
    format: str,
    columns: Sequence[Column],
    rows: Sequence[Mapping[str, Any]],
    head: Mapping[str, Any],
    notes: Sequence[str],
) -> str:
    """The ``rows`` in one of ``FORMATS``, with the notes that they cannot be read without.

    Tables and Markdown show the ``columns`` in which there is anything; JSON and CSV hold every
    key of a row unrounded. CSV has no place for ``notes`` and ``head``, so what a row must say of
    itself is one of its keys.
    """
    if format == "json":
        whole = {**head, "rows": list(rows), "notes": list(notes)}
        return json.dumps(whole, indent=2, ensure_ascii=False)
    if format == "csv":
        stream = io.StringIO()
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return stream.getvalue().rstrip("\n")
    columns = [column for column in columns if any(row[column.key] is not None for row in rows)]
    cells = [[_cell(column, row) for column in columns] for row in rows]
    draw = _markdown if format == "markdown" else _aligned
    return f"{draw(columns, cells)}\n\n" + _listed(notes, "- " if format == "markdown" else "")


def write_text(path: Path, text: str) -> None:
    """Write ``text`` whole or not at all; makes the folders above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _cell(column: Column, row: Mapping[str, Any]) -> str:
    value = row[column.key]
    return "" if value is None else column.show(value)


def _listed(notes: Sequence[str], mark: str) -> str:
    return "\n".join(mark + note for note in notes)


def _aligned(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> str:
    lines = [[column.title for column in columns], *cells]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column.text else cell.rjust(width)
            for column, cell, width in zip(columns, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def _markdown(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> str:
    def line(texts: Sequence[str]) -> str:
        return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"

    rule = "| " + " | ".join("---" if column.text else "---:" for column in columns) + " |"
    return "\n".join([line([column.title for column in columns]), rule, *map(line, cells)])
