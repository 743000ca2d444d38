"""A real run that was stopped and killed in every way ends as one that never was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import torch

from compact_vit.experiment import plan_runs, pool, read_experiment, run_grid
from compact_vit.train import TrainConfig, train

TRAIN = {"dataset": "digits", "model": "mlp", "epochs": 16, "batch_size": 256, "device": "cpu"}
CLOCK = ("seconds", "pictures_per_second")


LOG = Path("out/lr0.001/metrics.jsonl")


def test_stopped_and_killed_it_ends_the_same(write, tmp_path, monkeypatch) -> None:
    experiment = read_experiment(write(train=TRAIN, grid={"lr": [0.001]}))
    status, said = command_hit_by(signal.SIGTERM)
    assert status == 128 + signal.SIGTERM
    stopped = "stopped by SIGTERM, 0 of 1 runs finished and the others saved: go on with"
    assert said.splitlines()[-1].startswith(stopped)
    assert "--resume" not in said  # which is not how an experiment goes on
    first = LOG.read_text().splitlines()[0]

    status, _ = command_hit_by(signal.SIGKILL)
    assert status == -signal.SIGKILL

    # the process that it left behind leaves too, and is waited for: two would spoil the run
    look, begun = pool._look, epochs()

    def kill(children, on_end):
        for child in children:
            if epochs() > begun:
                child.process.kill()
        return look(children, on_end)

    monkeypatch.setattr(pool, "_look", kill)
    result = run_grid(experiment, output="out", cores=1, quiet=True)
    assert [row["state"] for row in result.rows] == ["unfinished"]
    assert "killed by SIGKILL" in result.rows[0]["error"]

    monkeypatch.setattr(pool, "_look", look)
    result = run_grid(experiment, output="out", cores=1, quiet=True)
    assert [row["state"] for row in result.rows] == ["finished"], result.rows
    assert LOG.read_text().splitlines()[0] == first  # to the second: nothing was done twice
    (run,) = plan_runs(experiment)
    assert read(LOG.parent) == in_one_piece(run.config, tmp_path / "whole")


def epochs() -> int:
    """How many the run has done."""
    return LOG.read_text().count("\n") if LOG.exists() else 0


def command_hit_by(number: signal.Signals) -> tuple[int, str]:
    """What the command left with and said, to which this signal came after an epoch more."""
    words = [sys.executable, "-m", "compact_vit.experiment", "grid", "exp.yaml"]
    words += ["--output", "out", "--cores", "1"]
    begun, tick = epochs(), threading.Event()
    command = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    while epochs() <= begun:
        assert command.poll() is None
        tick.wait(0.01)
    os.kill(command.pid, number)
    _, said = command.communicate(timeout=120)
    return command.returncode, said


def in_one_piece(config: TrainConfig, folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What the run gives that nothing happens to."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(config, output=folder, quiet=True)
    finally:
        torch.set_num_threads(threads)
    return read(folder)


def read(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A run's lines and its results without what a clock says."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    summary = json.loads((folder / "summary.json").read_text())
    kept = {key: summary[key] for key in ("final", "best", "parameters", "score")}
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in rows], kept
