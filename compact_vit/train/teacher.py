"""Who is learnt from in knowledge distillation.

Letters: B batch, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..baselines.pretrained import Resize, timm_model, timm_statistics
from ..data.pictures import DataSplits
from ..errors import UsageError
from .metrics import autocast
from .run import RunFolder
from .trained import load_model


class Statistics(NamedTuple):
    """What pictures are normalised with, of each channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class Teacher:
    """A trained model that answers its pupil's pictures: normalised ``[B,C,H,W] -> [B,K]``.

    It sees them at its ``own`` size and with its ``own`` statistics in place of the ``pupils``,
    and it learns nothing.
    """

    def __init__(
        self,
        model: nn.Module,
        size: tuple[int, int],
        own: Statistics,
        pupils: Statistics,
        device: torch.device,
        precision: str,
    ) -> None:
        self.model = model.to(device).eval().requires_grad_(False)
        self.resize = Resize(size, "bicubic")
        self.device, self.precision = device, precision
        mean, std, pupils_mean, pupils_std = (
            torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (*own, *pupils)
        )
        self.scale, self.shift = pupils_std / std, (pupils_mean - mean) / std

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        x = self.resize(x * self.scale + self.shift)
        with autocast(self.device, self.precision):
            logits: Tensor = self.model(x)
        return logits.float()


def load_teacher(name: str, splits: DataSplits, device: torch.device, precision: str) -> Teacher:
    """The teacher called ``name``, a run's folder or ``timm/NAME``, of the pictures of ``splits``.

    Raises ``UsageError`` if it has not finished, tells other classes, or sees other channels.
    """
    pupils = Statistics(splits.mean, splits.std)
    if name.startswith("timm/"):
        model, size, own = _from_timm(name, len(splits.mean))
        if model.num_classes != len(splits.classes):
            raise UsageError(
                f"teacher '{name}' tells {model.num_classes} classes, and the data set has "
                f"{len(splits.classes)}: train it on them first (--model {name} --model-options "
                "pretrained=true) and give that run"
            )
        return Teacher(model, size, own, pupils, device, precision)
    if not os.path.isdir(name):
        raise UsageError(
            f"teacher '{name}' is not the folder of a run: if it has moved, --teacher says where "
            "to, also beside --resume"
        )
    trained = load_model(name)
    if RunFolder.open(name).summary() is None:  # going on, it would be another teacher
        raise UsageError(
            f"teacher must be a run that has finished, got '{name}', which was stopped after "
            f"epoch {trained.epoch} of {trained.config.epochs}: go on with --resume {name} first"
        )
    if trained.classes != splits.classes:
        raise UsageError(
            f"teacher '{name}' must tell the data set's {len(splits.classes)} classes "
            f"({', '.join(splits.classes[:3])}, ...), got one of {len(trained.classes)} "
            f"({', '.join(trained.classes[:3])}, ...)"
        )
    size, own = trained.model.config.height_width, Statistics(trained.mean, trained.std)
    if len(own.mean) != len(pupils.mean):
        raise UsageError(
            f"teacher '{name}' must see {len(pupils.mean)} channels, got one of {len(own.mean)}"
        )
    return Teacher(trained.model, size, own, pupils, device, precision)


def _from_timm(name: str, in_chans: int) -> tuple[Any, tuple[int, int], Statistics]:
    """timm's model with its weights, its size, and its statistics."""
    name = name.removeprefix("timm/")
    model = timm_model(name, in_chans)
    _, height, width = model.pretrained_cfg["input_size"]
    return model, (height, width), Statistics(*timm_statistics(name, in_chans))
