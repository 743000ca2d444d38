"""Tables and notes for the terminal, in Markdown, as CSV and as JSON; and a time in words."""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .files import write_whole

FORMATS = ("table", "markdown", "csv", "json")
_WIDTH = 100


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first is the header, whose cells may have several lines."""

    rows: Sequence[Sequence[str]]
    words: Sequence[int] = (0,)
    """The columns of words, flush left; numbers are flush right."""


@dataclass(frozen=True)
class Notes:
    """Sentences below each other."""

    lines: Sequence[str]


#: What a report is made of; a string of several lines is set as it is.
Block = str | Table | Notes


class Column(NamedTuple):
    """One figure of every record, as people read it."""

    key: str
    title: str
    show: Callable[[Any], str] = str
    text: bool = False
    """Whether it is words rather than a number."""


def render(
    format: str,
    columns: Sequence[Column],
    records: Sequence[Mapping[str, Any]],
    head: Mapping[str, Any],
    notes: Sequence[str],
) -> str:
    """The ``records`` in one of ``FORMATS``, with the notes that they cannot be read without.

    Tables and Markdown show the ``columns`` in which there is anything; JSON and CSV hold every
    key of a record unrounded. CSV has no place for ``notes`` and ``head``, so what a record must
    say of itself is one of its keys.
    """
    if format == "json":
        whole = {**head, "rows": list(records), "notes": list(notes)}
        return json.dumps(whole, indent=2, ensure_ascii=False)
    if format == "csv":
        return comma_separated(records)
    table = _tabulated(columns, records)
    if format == "table":
        return terminal([table, "\n".join(notes)])  # a line each, for programs that look for one
    return markdown([table, Notes(notes)])


def terminal(blocks: Sequence[Block]) -> str:
    """The blocks in aligned columns, two spaces apart, and lines that fit a terminal."""

    def lines(block: Block) -> str:
        if isinstance(block, Table):
            return _aligned(block)
        if isinstance(block, Notes):
            return "\n".join(textwrap.fill(line, _WIDTH) for line in block.lines)
        return block

    return "\n\n".join(map(lines, blocks))


def markdown(blocks: Sequence[Block]) -> str:
    """The blocks in Markdown."""

    def lines(block: Block) -> str:
        if isinstance(block, Table):
            rows = [[in_a_cell(text) for text in row] for row in block.rows]
            rule = ["---" if i in block.words else "---:" for i in range(len(rows[0]))]
            return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:]))
        if isinstance(block, Notes):
            return "\n".join(f"- {line}" for line in block.lines)
        return f"```text\n{block}\n```" if "\n" in block else block

    return "\n\n".join(map(lines, blocks))


def comma_separated(records: Sequence[Mapping[str, Any]]) -> str:
    """The records as CSV, under the keys of the first one."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().rstrip("\n")


def write_text(path: Path, text: str) -> None:
    """Write ``text`` whole or not at all; makes the folders above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, f"{text}\n".encode())


def duration(seconds: float) -> str:
    """Seconds as a person says them: ``45 s``, ``12 min``, ``3 h 20 min``, ``4 d 2 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def _tabulated(columns: Sequence[Column], records: Sequence[Mapping[str, Any]]) -> Table:
    shown = [c for c in columns if any(record[c.key] is not None for record in records)]
    cells = [
        ["" if record[c.key] is None else c.show(record[c.key]) for c in shown]
        for record in records
    ]
    words = [i for i, column in enumerate(shown) if column.text]
    return Table([[column.title for column in shown], *cells], words)


def in_a_cell(text: str) -> str:
    """``text`` as a cell of a table in Markdown."""
    return text.replace("\n", " ").replace("|", "\\|")


def _aligned(table: Table) -> str:
    header = [cell.split("\n") for cell in table.rows[0]]
    height = max(map(len, header))
    above = [[cell[i] if i < len(cell) else "" for cell in header] for i in range(height)]
    rows = [*above, *table.rows[1:]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in table.words else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
