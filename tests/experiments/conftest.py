"""Experiments on the digits, in a folder of their own, by a stand-in for training or really."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from compact_vit import plots
from compact_vit.experiment import main, pool


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty folder, in which the test is."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def write(here) -> Callable[..., Path]:
    """Writes an experiment's file from its keys, by default with what all share."""

    def to_file(name: str = "exp.yaml", /, **keys: object) -> Path:
        keys.setdefault("train", {"dataset": "digits", "model": "mlp", "epochs": 3})
        path = here / name
        path.write_text(yaml.safe_dump(keys, sort_keys=False))
        return path

    return to_file


@pytest.fixture
def starts(tmp_path, monkeypatch) -> Callable[[], list[str]]:
    """Puts the stand-in in training's place; the names of the runs that were started so far."""
    log = tmp_path / "starts.txt"
    monkeypatch.setenv("STARTS", str(log))
    for module in ("grid", "trials"):
        monkeypatch.setattr(f"compact_vit.experiment.{module}.CHILD", "stand_in")
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    return lambda: (
        [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []
    )


@pytest.fixture(autouse=True)
def save(monkeypatch) -> Callable[..., Path]:
    """``save_figure``, left out of an experiment: it takes longer than a stand-in."""
    function = plots.save_figure
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: path.touch())
    return function


@pytest.fixture(autouse=True)
def waiting(monkeypatch) -> None:
    """Stand-ins take less than the time after which an experiment looks at its runs again."""
    monkeypatch.setattr(pool, "_LOOK", 0.005)


@pytest.fixture
def command(capsys) -> Callable[..., tuple[int, str, str]]:
    """What the command leaves with, and what it says on both outputs."""

    def run(*words: object) -> tuple[int, str, str]:
        try:
            status = main([str(word) for word in words])
        except SystemExit as leaving:
            status = leaving.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run
