"""How a score is told: its convention, the formats, and what the documentation says."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from glob import glob
from pathlib import Path

import pytest

from compact_vit.cli import main as program
from compact_vit.score import main
from compact_vit.scoring import score_interval


def test_one_score_says_its_convention(capsys, printed) -> None:
    text = printed("--accuracy", "75.145", "--parameters", "3191397")
    assert text == (
        "score 161.215 = 100 x (75.145 - 70) / 3.191397\n"
        "accuracy in percent, floor 70%, millions of parameters; 3,191,397 counted without "
        "positions (assumed: --positions says)\n"
    )
    words = "--accuracy 80 --parameters 500k --floor 60 --positions with --n 1000"
    text = printed(*words.split())
    low, high = score_interval(80.0, 500_000, 1000, 60.0)
    assert text == (
        "score 4,000.000 = 100 x (80 - 60) / 0.5\n"
        "accuracy in percent, floor 60%, millions of parameters; 500,000 counted with positions\n"
        f"95%, for having tested on 1,000 pictures only: {low:,.3f} to {high:,.3f} (Wilson)\n"
    )
    assert "score 0.000 = 100 x (65 - 70) / 3.19, 0 below 70%" in printed(
        "--accuracy", "65", "--parameters", "3.19M"
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("3191397", 3_191_397),
        ("3,191,397", 3_191_397),
        ("3.19M", 3_190_000),
        ("3.191397m", 3_191_397),
        ("500k", 500_000),
        ("0.5K", 500),
        ("1.5G", 1_500_000_000),
        ("2e6", 2_000_000),
    ],
)
def test_sizes_as_people_write_them(rows_of, text, wanted) -> None:
    (row,) = rows_of("--accuracy", "75", "--parameters", text)
    assert row["parameters"] == wanted
    assert row["score"] == pytest.approx(5e8 / wanted)


def test_bytes_of_a_file_count_as_parameters(printed, rows_of, tmp_path) -> None:
    weights = tmp_path / "half.bin"
    weights.write_bytes(bytes(2 * 1_000_001))  # half precision; rounded up to whole parameters
    words = "--accuracy", "80", "--effective", weights
    assert "500,001 counted bytes / 4, positions too: 'half.bin'" in printed(*words)
    (row,) = rows_of(*words)
    assert row["score"] == pytest.approx(1000 / 0.500001)


def test_formats_say_the_same(capsys, printed, rows_of, write_run, tmp_path) -> None:
    runs = [
        write_run(tmp_path / "a|b", 85.0),
        write_run(tmp_path / "c", 75.0, model="cvt_2_4"),
    ]
    rows = rows_of("--runs", *runs)
    main(["--runs", *map(str, runs), "--format", "csv"])
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    for row in rows:  # a number a cell
        row["interval_low"], row["interval_high"] = row.pop("interval")
    assert [{k: str(v) for k, v in row.items() if v is not None} for row in rows] == [
        {k: v for k, v in row.items() if v} for row in table
    ]
    assert all(row["counted"] == "without positions" and row["floor"] == "70.0" for row in table)
    lines = printed("--runs", *runs, "--format", "markdown").splitlines()
    assert lines[0].startswith("| rank | model | accuracy % | seeds | epochs | parameters |")
    assert lines[2].startswith("| 1 | cct_2_3x2 | 85.000 | 1 | 3 | 275,531 | without positions |")
    assert lines[2].endswith("a\\|b |")
    whole = json.loads(printed("--runs", *runs, "--format", "json"))
    assert whole["dataset"] == "cifar10"
    assert whole["floor"] == 70
    assert "100 x (accuracy in percent - 70)" in whole["conventions"][0]


def test_output_goes_to_the_file(printed, tmp_path) -> None:
    path = tmp_path / "deep" / "table.md"
    words = "--published", "cifar10", "--format", "markdown"
    assert printed(*words, "--output", path) == ""
    assert path.read_text() == printed(*words)
    assert [entry.name for entry in path.parent.iterdir()] == ["table.md"]


def test_it_needs_no_torch() -> None:
    code = (
        "import sys\nfrom compact_vit.score import main\n"
        "main(['--published', 'cifar10'])\nsys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "score.md").read_text()

BLOCKS = re.findall(r"```(\w+)\n(.*?)```\n*(?:```text\n(.*?)```)?", DOCS, re.DOTALL)


@pytest.mark.parametrize(
    ("code", "output"),
    [(code, output) for language, code, output in BLOCKS if language == "python"],
)
def test_documented_python_prints_what_it_says(capsys, code, output) -> None:
    exec(compile(code, "score.md", "exec"), {})
    assert capsys.readouterr().out == output


@pytest.mark.parametrize(
    ("line", "output"),
    [
        (line, output)
        for language, code, output in BLOCKS
        if language == "sh"
        for line in code.splitlines()
    ],
)
def test_documented_commands_run(capsys, write_run, tmp_path, monkeypatch, line, output) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(Path("RUN"), 85.0)
    Path("benchmarks").symlink_to(ROOT / "benchmarks")
    python, flag, module, *words = [
        name for word in line.split() for name in sorted(glob(word)) or [word]
    ]
    assert (python, flag) == ("python", "-m")
    assert program([module.removeprefix("compact_vit."), *words]) == 0
    said = capsys.readouterr().out
    assert said == output if output else said
    assert not any(word.endswith(".png") and not Path(word).exists() for word in words)
