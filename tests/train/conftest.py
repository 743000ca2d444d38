"""Runs of a second: the folder of 36 pictures, the smallest model, pictures of 16 pixels."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from compact_vit.train import epoch
from compact_vit.train.config import TrainConfig


@pytest.fixture
def tiny(picture_folder) -> Callable[..., TrainConfig]:
    """A configuration on the folder of pictures, in fp32, other values by keyword."""

    def configured(**values: Any) -> TrainConfig:
        base = {
            "dataset": "folder",
            "data_dir": str(picture_folder),
            "model": "cvt_2_8",
            "img_size": 16,
            "epochs": 2,
            "batch_size": 12,
            "device": "cpu",
            "precision": "fp32",  # the same figures where the processor has bf16
        }
        return TrainConfig(**base | values)

    return configured


@pytest.fixture
def everything(tiny) -> Callable[..., TrainConfig]:
    """The same with every draw and every moving part switched on."""

    def configured(**values: Any) -> TrainConfig:
        base = {
            "dropout": 0.1,
            "attention_dropout": 0.1,
            "drop_path": 0.2,
            "auto_augment": "cifar10",
            "crop_padding": 2,
            "min_crop_area": 0.8,
            "erasing": 0.5,
            "mixup": 0.8,
            "cutmix": 1.0,
            "clip_grad": 1.0,
            "ema": 0.9,
            "epochs": 4,
        }
        return tiny(**base | values)

    return configured


@pytest.fixture
def steps_of(monkeypatch) -> Callable[..., SimpleNamespace]:
    """Make a run's steps take so many seconds by a clock that nothing else moves; returns it."""

    def taking(*seconds: float) -> SimpleNamespace:
        clock, step, left = SimpleNamespace(now=0.0), epoch.train_step, iter(seconds)
        clock.perf_counter = lambda: clock.now

        def slow(*args):
            clock.now += next(left)
            return step(*args)

        monkeypatch.setattr(epoch, "time", clock)
        monkeypatch.setattr(epoch, "train_step", slow)
        return clock

    return taking
