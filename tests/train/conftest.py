"""Runs of a second: the folder of 36 pictures, the smallest model, pictures of 16 pixels."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from compact_vit.train import TrainResult, epoch
from compact_vit.train.checkpoint import load_checkpoint
from compact_vit.train.config import TrainConfig

#: what a clock says differs from run to run
CLOCK = ("seconds", "pictures_per_second")


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


@pytest.fixture
def timeless() -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    """Rows of metrics without what a clock says."""
    return lambda rows: [{k: v for k, v in row.items() if k not in CLOCK} for row in rows]


@pytest.fixture
def same() -> Callable[[Any, Any], bool]:
    """Whether two nested values are equal, tensors bit for bit."""

    def equal(a: Any, b: Any) -> bool:
        if isinstance(a, torch.Tensor):
            return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
        if isinstance(a, (list, tuple)):
            return len(a) == len(b) and all(map(equal, a, b))
        return a == b

    return equal


@pytest.fixture
def assert_same_run(same, timeless) -> Callable[[TrainResult, TrainResult], None]:
    """That two runs ended alike, bit for bit: weights, all state, metrics and summary."""

    def check(a: TrainResult, b: TrainResult) -> None:
        for name in ("last.pt", "best.pt"):
            assert same(*(load_checkpoint(run.output / name) for run in (a, b))), name
        assert timeless(a.history) == timeless(b.history)
        lines = [(run.output / "metrics.jsonl").read_text().splitlines() for run in (a, b)]
        assert timeless(map(json.loads, lines[0])) == timeless(map(json.loads, lines[1]))
        assert timeless([a.summary]) == timeless([b.summary])

    return check
