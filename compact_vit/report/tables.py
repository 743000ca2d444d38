"""Text and tables for the terminal, for Markdown, and as CSV."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_WIDTH = 100


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first is the header, whose cells may have several lines."""

    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Notes:
    """Sentences below each other."""

    lines: Sequence[str]


#: What a page is made of; a string of several lines is set as it is.
Block = str | Table | Notes


def terminal(blocks: Sequence[Block]) -> str:
    """The page in aligned columns."""

    def lines(block: Block) -> str:
        if isinstance(block, Table):
            return _aligned(block.rows)
        if isinstance(block, Notes):
            return "\n".join(textwrap.fill(line, _WIDTH) for line in block.lines)
        return block

    return "\n\n".join(map(lines, blocks))


def markdown(blocks: Sequence[Block]) -> str:
    """The page in Markdown."""

    def lines(block: Block) -> str:
        if isinstance(block, Table):
            header, *rows = ([cell.replace("\n", " ") for cell in row] for row in block.rows)
            rule = ["---"] + ["---:"] * (len(header) - 1)
            return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *rows))
        if isinstance(block, Notes):
            return "\n".join(f"- {line}" for line in block.lines)
        return f"```text\n{block}\n```" if "\n" in block else block

    return "\n\n".join(map(lines, blocks))


def comma_separated(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as CSV, under the names of the first row's fields."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns two spaces apart, the first flush left and the others flush right."""
    header = [cell.split("\n") for cell in rows[0]]
    height = max(map(len, header))
    above = [[cell[i] if i < len(cell) else "" for cell in header] for i in range(height)]
    widths = [max(map(len, column)) for column in zip(*above, *rows[1:], strict=True)]
    lines = []
    for first, *rest in [*above, *rows[1:]]:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
