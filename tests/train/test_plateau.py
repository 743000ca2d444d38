"""The learning rate that falls when the validation loss does not."""

from __future__ import annotations

import pytest
import torch
from torch.optim.lr_scheduler import LRScheduler

from compact_vit.train import resume, train
from compact_vit.train.config import TrainConfig
from compact_vit.train.progress import Progress
from compact_vit.train.schedule import Plateau, build_schedule


def told(losses: list[float], **values: float) -> list[float]:
    """The learning rate of each epoch of a plateau that hears ``losses``, three steps an epoch."""
    config = TrainConfig(
        schedule="plateau", lr=1.0, warmup_lr=0.1, epochs=len(losses), val_fraction=0.1,
        **{"warmup_ratio": 0.0, "plateau_patience": 2, "min_lr": 1e-3} | values,
    )  # fmt: skip
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.lr)
    schedule = build_schedule(optimizer, config, 3)
    assert isinstance(schedule, Plateau)
    found = []
    for loss in losses:
        found.append(optimizer.param_groups[0]["lr"])
        assert schedule.get_last_lr() == [found[-1]]
        for _ in range(3):
            optimizer.step()
            schedule.step()
        schedule.end_epoch(loss)
    return found


def test_plateau_falls_after_its_patience() -> None:
    falling = [9.0, 8.0, 7.0, 6.0, 5.0]
    assert told(falling) == [1.0] * 5
    # two epochs no better than the third are borne, and at the end of the next the rate falls
    assert told([9, 8, 7, 7, 8, 7, 7, 6, 6]) == pytest.approx([1.0] * 6 + [0.1] * 3)
    assert told([7.0] * 13, plateau_patience=1) == pytest.approx(
        [1.0] * 3 + [0.1] * 2 + [0.01] * 2 + [1e-3] * 6
    )
    assert told([7.0] * 5, plateau_patience=1, decay_rate=0.5)[3:] == [0.5, 0.5]


def test_plateau_waits_for_the_warm_up_and_ends_with_the_cool_down() -> None:
    got = told([7.0] * 12, plateau_patience=1, warmup_ratio=0.25, cooldown_ratio=0.25)
    # the first epoch after three of warm-up is the first whose loss counts
    assert got == pytest.approx([0.1, 0.4, 0.7, 1.0, 1.0, 1.0, 0.1, 0.1, 0.01, 1e-3, 1e-3, 1e-3])


def test_plateau_goes_on_from_its_state() -> None:
    config = TrainConfig(schedule="plateau", epochs=9, val_fraction=0.1, plateau_patience=1)

    def built() -> tuple[torch.optim.Optimizer, LRScheduler]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.lr)
        return optimizer, build_schedule(optimizer, config, 2)

    def on(optimizer, schedule, epochs: int) -> list[float]:
        found = []
        for _ in range(epochs):
            for _ in range(2):
                optimizer.step()
                schedule.step()
            schedule.end_epoch(1.0)
            found.append(optimizer.param_groups[0]["lr"])
        return found

    whole = on(*built(), 9)
    optimizer, schedule = built()
    first = on(optimizer, schedule, 4)
    again, resumed = built()
    again.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    assert first + on(again, resumed, 5) == whole
    assert len(set(whole)) > 2


def test_plateau_hears_of_every_epoch_and_goes_on(tiny, tmp_path, assert_same_run) -> None:
    config = tiny(
        val_fraction=0.25, epochs=6, batch_size=9, schedule="plateau", plateau_patience=1,
        warmup_ratio=0.0, lr=1e-9, min_lr=0.0, warmup_lr=0.0,
    )  # fmt: skip
    whole = train(config, output=tmp_path / "whole", quiet=True)
    expected, best, bad, rate = [], float("inf"), 0, 1e-9
    for row in whole.history:
        expected.append(rate)
        if row["val_loss"] < best * (1 - 1e-4):
            best, bad = row["val_loss"], 0
        else:
            bad += 1
        if bad > 1:
            rate, bad = max(rate * 0.1, config.min_lr), 0
    assert [row["lr"] for row in whole.history] == pytest.approx(expected)
    assert len(set(expected)) > 1  # or nothing would be shown

    original, calls = Progress.end_epoch, []

    def stopped(self, row):
        calls.append(1)
        if len(calls) == 3:
            raise OSError("the machine goes off")
        original(self, row)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "end_epoch", stopped)
        with pytest.raises(OSError, match="goes off"):
            train(config, output=tmp_path / "stopped", quiet=True)
    assert_same_run(resume(tmp_path / "stopped", quiet=True), whole)
