"""The commands of ``benchmarks/gpu.md`` are commands: each is read, and fails on the device."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

DOCUMENT = (Path(__file__).parents[2] / "benchmarks" / "gpu.md").read_text()
STANDS_FOR = {
    "$data": "--data-dir pictures", "$peer": "--reference nowhere", "$how": "graphs",
    '"$PICTURES"': "pictures", '"$copy"': "JPEG",
    "HOW": "graphs", "CORES": "4",
}  # fmt: skip


def commands() -> list[str]:
    """What is told to be run with Python, what is to be filled in filled in."""
    code = "".join(re.findall(r"```sh\n(.*?)```", DOCUMENT, flags=re.DOTALL))
    code = code.replace("\\\n", " ")
    for line in re.findall(r"^many=.*", code, flags=re.MULTILINE):  # as a shell puts it in place
        code = code.replace("$many", shlex.split(line)[0].removeprefix("many="))
    code = code.replace("$RUNS", "runs")
    for name, value in STANDS_FOR.items():
        code = code.replace(name, value)
    found = re.findall(r"timeout (\d+) python (.*?)(?=\s*(?:2>&1|#|\||\n|$))", code)
    assert len(found) == code.count("python ")
    assert all(int(seconds) <= 600 for seconds, _ in found)
    return [words for _, words in found]


@pytest.mark.parametrize("command", commands())
def test_the_command_is_read(script, capsys, monkeypatch, tmp_path, command) -> None:
    monkeypatch.chdir(tmp_path)
    first, *words = shlex.split(command)
    if first == "-m":
        assert words.pop(0) == "compact_vit.train"
        main = importlib.import_module("compact_vit.train.cli").main
    else:
        main = script(Path(first).stem).main
    assert main([*words, "--device", "abacus"]) == 2
    captured = capsys.readouterr()
    assert "device must be one of this machine's, got 'abacus'" in captured.err
    assert captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_tables_say_that_the_pictures_are_a_copy() -> None:
    tables = [line for line in commands() if "accuracy.py --dataset folder" in line]
    assert len(tables) == 5
    assert all("--copy JPEG" in line for line in tables)


def test_each_session_fits_into_ten_minutes() -> None:
    """By the limits that are set, with what a loop repeats."""
    sessions = re.split(r"^## ", DOCUMENT, flags=re.MULTILINE)[1:]
    told = {title.split(":")[0]: text for title, text in (s.split("\n", 1) for s in sessions)}
    for name in ("First session", "Second session", "Third session"):
        limit, times = 0, 1
        for line in told[name].splitlines():
            times = 3 if line.startswith("for how in") else 1 if line.startswith("done") else times
            limit += times * sum(map(int, re.findall(r"timeout (\d+)", line)))
        assert 0 < limit <= 600, name
