"""From uint8 to the normalised floats a model takes, and erasing on those.

B batch, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Sized
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import unknown
from ._batch import draw, draw_up_to, per_channel
from ._checks import require, require_floats, require_interval, require_number, require_pictures
from .geometry import draw_sizes, first_fitting


@dataclass(frozen=True)
class Normalize:
    """uint8 ``[B,C,H,W]`` -> (value / 255 - mean) / std per channel in ``dtype``; draws nothing."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        for field in ("mean", "std"):
            given = getattr(self, field)
            several = isinstance(given, Sized) and len(given) in (1, 3)
            require(several, field, "1 or 3 numbers, such as (0.5,)", given)
            for value in given:  # of values from 0 to 1, and not from 0 to 255
                require_number(field, value, 0, 1 if field == "mean" else math.inf)
            object.__setattr__(self, field, tuple(given))  # a list is no key
        require(len(self.mean) == len(self.std), "std", f"{len(self.mean)} numbers", self.std)
        require(min(self.std) > 0, "std", "positive", self.std)
        require(self.dtype.is_floating_point, "dtype", "a floating point type", self.dtype)

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        require_pictures(images, generator, draws=False)
        channels = images.shape[1]
        require(len(self.mean) == channels, "mean", f"{channels} numbers, as the images", self.mean)
        scale = per_channel(tuple(1 / (255 * s) for s in self.std), images.device)
        shift = per_channel(
            tuple(-m / s for m, s in zip(self.mean, self.std, strict=True)), images.device
        )
        return images.float().mul_(scale).add_(shift).to(self.dtype)

    def undone(self, x: Tensor) -> Tensor:
        """Normalised pictures ``[B,C,H,W]`` as uint8 again, cut to 0..255."""
        mean, std = (per_channel(values, x.device) for values in (self.mean, self.std))
        return ((x * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class RandomErasing:
    """A random box of a normalised picture erased with probability ``p`` (Zhong et al. 2017).

    ``scale`` bounds the box's share of the area, ``ratio`` its height over its width; ten tries to
    find one that is smaller than the picture both ways, else nothing. ``mode`` pixel fills with
    Normal(0, 1) noise, const with 0, the mean colour.
    """

    p: float = 0.25
    scale: tuple[float, float] = (0.02, 1 / 3)
    ratio: tuple[float, float] = (0.3, 1 / 0.3)
    mode: str = "pixel"

    def __post_init__(self) -> None:
        require_number("p", self.p, 0, 1)
        require_interval("scale", self.scale, 0, 1)
        require_interval("ratio", self.ratio, 0)
        if self.mode not in ("pixel", "const"):
            raise unknown("erasing mode", str(self.mode), ("pixel", "const"))

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        require_floats(images, generator)
        batch, _, height, width = images.shape
        h, w = draw_sizes(generator, batch, height * width, self.scale, self.ratio)
        h, w, found = first_fitting(h, w, (h < height) & (w < width))
        top = draw_up_to(generator, (height - h).clamp(min=0))
        left = draw_up_to(generator, (width - w).clamp(min=0))
        erased = found & (draw(generator, batch) < self.p)
        box = inside(top, left, h * erased, w, height, width)
        if self.mode == "const":
            return images * ~box
        noise = torch.randn(
            images.shape, generator=generator, device=images.device, dtype=images.dtype
        )
        return torch.where(box, noise, images)


def inside(top: Tensor, left: Tensor, h: Tensor, w: Tensor, height: int, width: int) -> Tensor:
    """Whether a pixel is in the box of its picture, given as four ``[B]``: bool ``[B,1,H,W]``."""
    row = torch.arange(height, device=top.device).view(1, 1, -1, 1)
    column = torch.arange(width, device=top.device).view(1, 1, 1, -1)
    top, left, h, w = (side.view(-1, 1, 1, 1) for side in (top, left, h, w))
    return (row >= top) & (row < top + h) & (column >= left) & (column < left + w)
