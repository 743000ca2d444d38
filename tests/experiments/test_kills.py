"""Real runs that are killed or stopped end as runs that never were."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compact_vit.experiment import plan_runs, pool, read_experiment, run_grid
from compact_vit.train import train

TRAIN = {"dataset": "digits", "model": "mlp", "epochs": 25, "batch_size": 256, "device": "cpu"}
#: of digits, 1,437 to train on: an epoch takes about as long as a look at the processes
CLOCK = ("seconds", "pictures_per_second")


@pytest.fixture
def experiment(write):
    return read_experiment(write(train=TRAIN, grid={"lr": [0.001]}))


@pytest.fixture
def assert_as_one_piece(experiment, tmp_path) -> Callable[[], None]:
    """That ``out`` holds the run that the same configuration gives in one piece."""

    def read(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        summary = json.loads((folder / "summary.json").read_text())
        kept = {key: summary[key] for key in ("final", "best", "parameters", "score")}
        return [{k: v for k, v in row.items() if k not in CLOCK} for row in rows], kept

    def check() -> None:
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            (run,) = plan_runs(experiment)
            train(run.config, output=tmp_path / "whole", quiet=True)
        finally:
            torch.set_num_threads(threads)
        assert read(Path("out/lr0.001")) == read(tmp_path / "whole")

    return check


def test_a_process_killed(experiment, monkeypatch, assert_as_one_piece) -> None:
    look, killed = pool._look, []

    def kill_once(children, on_end):
        for child in children:
            if not killed and Path(child.job.told["output"], "metrics.jsonl").exists():
                child.process.kill()
                killed.append(child)
        return look(children, on_end)

    monkeypatch.setattr(pool, "_look", kill_once)
    result = run_grid(experiment, output="out", cores=1, quiet=True)
    assert [row["state"] for row in result.rows] == ["unfinished"]
    assert "killed by SIGKILL" in result.rows[0]["error"]
    result = run_grid(experiment, output="out", cores=1, quiet=True)
    assert [row["state"] for row in result.rows] == ["finished"]
    assert_as_one_piece()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda n: n.name)
def test_the_whole_command_killed_or_stopped(experiment, number, assert_as_one_piece) -> None:
    words = [sys.executable, "-m", "compact_vit.experiment", "grid", str(experiment.path)]
    words += ["--output", "out", "--cores", "1"]
    command = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    log, tick = Path("out/lr0.001/metrics.jsonl"), threading.Event()
    while not log.exists():
        assert command.poll() is None
        tick.wait(0.01)
    os.kill(command.pid, number)
    _, err = command.communicate(timeout=120)
    if number == signal.SIGTERM:
        assert command.returncode == 128 + signal.SIGTERM
        said = "stopped by SIGTERM, 0 of 1 runs finished and the others saved: go on with"
        assert err.splitlines()[-1].startswith(said)
    # its process leaves with it, and is waited for: two would spoil the run
    result = run_grid(experiment, output="out", cores=1, quiet=True)
    assert [row["state"] for row in result.rows] == ["finished"]
    assert_as_one_piece()
