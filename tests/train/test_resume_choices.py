"""Every optimiser and every schedule goes on from within an epoch as if never stopped."""

from __future__ import annotations

import itertools

import pytest

from compact_vit.train import resume, train
from compact_vit.train.progress import Progress
from compact_vit.train.rules import OPTIMIZERS, SCHEDULES

#: each optimiser with a schedule, each schedule with an optimiser
PAIRS = [
    (optimizer, schedule)
    for optimizer, schedule in zip(OPTIMIZERS, itertools.cycle(SCHEDULES), strict=False)
]


@pytest.mark.parametrize(("optimizer", "schedule"), PAIRS)
def test_the_same_run(everything, tmp_path, monkeypatch, assert_same_run, optimizer, schedule):
    values = {"optimizer": optimizer, "schedule": schedule, "val_fraction": 0.25, "epochs": 3,
              "batch_size": 13, "cooldown_ratio": 0.2}  # fmt: skip
    if schedule == "cosine_restarts":
        values["restarts"] = 1
    if optimizer == "adagrad":
        values |= {"precision": "fp16"}
    config = everything(**values)
    whole = train(config, output=tmp_path / "whole", quiet=True)
    assert len({row["lr"] for row in whole.history}) > 1
    original, calls = Progress.advance, []

    def stopped(self, pictures: int) -> None:
        calls.append(1)
        if len(calls) == 4:  # two steps an epoch: this is in the second
            raise OSError("the machine goes off")
        original(self, pictures)

    with monkeypatch.context() as patch:
        patch.setattr("compact_vit.train.epoch.SAVE_SECONDS", -1.0)
        patch.setattr(Progress, "advance", stopped)
        with pytest.raises(OSError, match="goes off"):
            train(config, output=tmp_path / "stopped", quiet=True)
    assert_same_run(resume(tmp_path / "stopped", quiet=True), whole)
