"""``benchmarks/soak.py`` for a moment: it kills, counts, and sees a run that ends otherwise."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def soak(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("soak")


def test_a_moment_of_it(soak, capsys, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "")  # which is set, and must not stay
    assert soak.main(["--minutes", "0.1", "--seed", "1"]) == 0
    out = capsys.readouterr().out
    print(out)
    runs, processes, killed, late = map(int, re.findall(r"\d+", out)[:4])
    assert runs >= 1
    assert killed + late > 0
    assert processes == 2 + runs + killed  # a run takes one more than it is killed
    assert out.endswith("mismatches: 0, lost: 0\n")
    table = [line.split() for line in out.splitlines()[2:5]]
    assert [row[0] for row in table] == ["SIGKILL", "SIGTERM", "SIGINT"]
    assert sum(int(count) for row in table for count in row[1:]) == killed


def test_a_run_that_ends_otherwise_is_said(soak, capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(soak.tempfile, "mkdtemp", lambda prefix: str(tmp_path))
    monkeypatch.setattr(soak.Soak, "soak", lambda self, minutes: self.wrong.append("run1: last.pt"))
    assert soak.main(["--minutes", "1"]) == 1
    out = capsys.readouterr().out
    assert "mismatch: run1: last.pt\nmismatches: 1, lost: 0\n" in out
    assert f"kept for a look: {tmp_path}" in out


def test_a_process_that_fails_is_lost(soak, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("COMPACT_VIT_CACHE", str(tmp_path / "cache"))
    tried = soak.Soak(tmp_path, 0)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{")
    assert not tried.killed(tmp_path / "run", 0.0, 0.0)  # nothing is killed any more
    (line,) = tried.lost
    assert "status 2" in line


def test_two_runs_that_differ(soak, few, tmp_path) -> None:
    from compact_vit.train import train

    for name in ("a", "b"):
        train(few(), output=tmp_path / name, quiet=True)
    assert soak.compare(tmp_path / "a", tmp_path / "b") == ""
    train(few(seed=1), output=tmp_path / "c", quiet=True)
    assert soak.compare(tmp_path / "c", tmp_path / "a") == "last.pt"
    summary = json.loads((tmp_path / "b" / "summary.json").read_text())
    (tmp_path / "b" / "summary.json").write_text(json.dumps(summary | {"macs": 1}))
    assert soak.compare(tmp_path / "b", tmp_path / "a") == "summary.json"
    (tmp_path / "b" / "metrics.jsonl").write_text("{}\n")
    assert soak.compare(tmp_path / "b", tmp_path / "a") == "metrics.jsonl"
