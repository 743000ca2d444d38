"""One table in every format: aligned, Markdown, CSV, JSON."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from compact_vit.tables import (
    Column,
    Notes,
    Table,
    comma_separated,
    duration,
    markdown,
    render,
    terminal,
    write_text,
)

COLUMNS = (
    Column("name", "model", text=True),
    Column("size", "size", "{:,}".format),
    Column("empty", "nothing"),
    Column("said", "words", text=True),
)
RECORDS = [
    {"name": "a|b", "size": 1234567, "empty": None, "said": None, "hidden": 0.1 + 0.2},
    {"name": "long name", "size": None, "empty": None, "said": "x", "hidden": None},
]
NOTE = "a note that is much longer than any terminal is wide, " * 3


def test_words_stand_left_and_numbers_right() -> None:
    assert render("table", COLUMNS, RECORDS, {}, ["one", NOTE]).split("\n") == [
        "model           size  words",
        "a|b        1,234,567",
        "long name             x",
        "",
        "one",
        NOTE,
    ]


def test_markdown_escapes_what_would_end_a_cell() -> None:
    assert render("markdown", COLUMNS, RECORDS, {}, ["one", "two"]).split("\n") == [
        "| model | size | words |",
        "| --- | ---: | --- |",
        "| a\\|b | 1,234,567 |  |",
        "| long name |  | x |",
        "",
        "- one",
        "- two",
    ]


def test_machines_get_everything_unrounded() -> None:
    whole = json.loads(render("json", COLUMNS, RECORDS, {"floor": 70}, ["one"]))
    assert whole == {"floor": 70, "rows": RECORDS, "notes": ["one"]}
    table = list(csv.DictReader(io.StringIO(render("csv", COLUMNS, RECORDS, {}, ["one"]))))
    assert [row["hidden"] for row in table] == [str(0.1 + 0.2), ""]
    assert table[0].keys() == RECORDS[0].keys()
    assert comma_separated([{"a": 'x,"y'}]) == 'a\n"x,""y"'


def test_blocks_in_a_row() -> None:
    blocks = ["title", Table([["part", "all\nof it"], ["x", "1"]]), Notes([NOTE]), "two\nlines"]
    title, table, notes, lines = terminal(blocks).split("\n\n")
    assert (title, lines) == ("title", "two\nlines")
    assert table == "part    all\n      of it\nx         1"
    assert max(map(len, notes.split("\n"))) <= 100
    assert notes.split() == NOTE.split()
    assert markdown(blocks).split("\n\n") == [
        "title",
        "| part | all of it |\n| --- | ---: |\n| x | 1 |",
        f"- {NOTE}",
        "```text\ntwo\nlines\n```",
    ]


def test_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch) -> None:
    path = tmp_path / "deep" / "table.csv"
    write_text(path, "first")
    assert path.read_text() == "first\n"

    def interrupted(self: Path, other: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(OSError, match="disk full"):
        write_text(path, "second")
    assert path.read_text() == "first\n"
    assert list(path.parent.iterdir()) == [path]


def test_a_time_as_a_person_says_it() -> None:
    said = [duration(s) for s in (0.4, 99, 100, 3600, 12_000, 172_800, 180_000)]
    assert said == ["0 s", "99 s", "2 min", "60 min", "3 h 20 min", "2 d 0 h", "2 d 2 h"]
