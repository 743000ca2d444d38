"""Geometry of a uint8 batch: affine maps, crops, flips, each sample with its own draw.

B batch, C channels, H height, W width, A attempts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import unknown
from ...resampling import KERNELS
from ._batch import draw, draw_below, draw_up_to, per_operation, to_uint8
from ._checks import require_interval, require_number, require_pictures, require_whole

ATTEMPTS = 10


def affine(images: Tensor, matrix: Tensor) -> Tensor:
    """The nearest source pixel under ``matrix`` ``[B,2,3]``, float32, and 0 outside the picture.

    The matrix leads from an output pixel (x, y, 1) to its source, in pixels from the centre, as in
    torchvision's ``affine``; coordinates are computed in its order too, so that half-way cases
    round alike, but for some on processors that multiply and add in one.
    """
    height, width = images.shape[2:]
    x = torch.arange(width, device=images.device, dtype=torch.float32) - (width - 1) / 2
    y = torch.arange(height, device=images.device, dtype=torch.float32) - (height - 1) / 2
    y = y.unsqueeze(1)
    column = _source(matrix[:, 0], x, y, width)
    row = _source(matrix[:, 1], x, y, height)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)  # [B,H,W]
    pixel = row.clamp_(0, height - 1).mul_(width).add_(column.clamp_(0, width - 1)).long()
    found = images.flatten(2).gather(
        2, pixel.flatten(1).unsqueeze(1).expand(-1, images.shape[1], -1)
    )
    return found.view(images.shape) * inside.unsqueeze(1)


def _source(matrix_row: Tensor, x: Tensor, y: Tensor, size: int) -> Tensor:
    """Source column (or row) of every output pixel, whole numbers as floats ``[B,H,W]``."""
    a, b, shift = (matrix_row / (size / 2)).view(-1, 3, 1, 1).unbind(1)
    normalized = (x * a + y * b).add_(shift)  # -1 and 1 are the picture's edges
    return normalized.add_(1).mul_(size / 2).sub_(0.5).round_()


@dataclass(frozen=True)
class RandomCrop:
    """A window of the picture's own size at a random place of the picture padded with zeros."""

    padding: int

    def __post_init__(self) -> None:
        require_whole("padding", self.padding, 0)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        require_pictures(images, generator)
        top, left = draw_below(generator, 2 * self.padding + 1, 2, len(images))
        return crop(images, top, left, self.padding)


def crop(images: Tensor, top: Tensor, left: Tensor, padding: int) -> Tensor:
    """Windows ``[B,C,H,W]`` of zero-padded pictures at top, left: ``[B]`` in 0..2*padding."""
    batch, channels, height, width = images.shape
    padded = F.pad(images, (padding,) * 4)
    rows, columns = padded.shape[2:]
    plane = torch.arange(batch * channels, device=images.device).view(batch, channels, 1) * rows
    row = plane + top.view(batch, 1, 1) + torch.arange(height, device=images.device)
    start = row * columns + left.view(batch, 1, 1)
    # a row of a window is a run of W values in memory: copy runs, not pixels
    runs = padded.flatten().unfold(0, width, 1)
    return runs.index_select(0, start.flatten()).view(images.shape)


@dataclass(frozen=True)
class RandomHorizontalFlip:
    """Each picture mirrored left to right with probability ``p``."""

    p: float = 0.5

    def __post_init__(self) -> None:
        require_number("p", self.p, 0, 1)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        require_pictures(images, generator)
        flipped = (draw(generator, len(images)) < self.p).long()
        return per_operation(flipped, (lambda kept: kept, lambda rows: rows.flip(3)), images)


@dataclass(frozen=True)
class RandomResizedCrop:
    """A random part of the picture, resized to the picture's own size (Szegedy et al. 2015).

    ``scale`` bounds the part's share of the area, ``ratio`` its width over its height; ten tries,
    then the largest central part of a permitted ratio. A part is never larger than the picture, so
    the resize never shrinks and anti-aliasing would change nothing but the cubic's constant: here,
    as in PIL, a = -0.5, and weights outside the part are dropped and the rest renormalised.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        require_interval("scale", self.scale, 0, 1)
        require_interval("ratio", self.ratio, 0)
        if self.interpolation not in KERNELS:
            raise unknown("interpolation", str(self.interpolation), KERNELS)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        require_pictures(images, generator)
        return resized_crop(images, *self._boxes(images, generator), self.interpolation)

    def _boxes(
        self, images: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        batch, _, height, width = images.shape
        w, h = draw_sizes(generator, batch, height * width, self.scale, self.ratio)
        fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
        w, h, found = first_fitting(w, h, fits)
        central_w = min(width, max(1, round(height * self.ratio[1])))
        central_h = min(height, max(1, round(width / self.ratio[0])))
        w = torch.where(found, w, central_w)
        h = torch.where(found, h, central_h)
        top, left = draw_up_to(generator, height - h), draw_up_to(generator, width - w)
        top = torch.where(found, top, (height - central_h) // 2)
        left = torch.where(found, left, (width - central_w) // 2)
        return top, left, h, w


def draw_sizes(
    generator: torch.Generator,
    batch: int,
    area: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[Tensor, Tensor]:
    """Sides a and b, whole numbers as floats ``[B,A]``: a*b a share of ``area``, a/b a ratio."""
    low, high = math.log(ratio[0]), math.log(ratio[1])
    share = area * (scale[0] + (scale[1] - scale[0]) * draw(generator, batch, ATTEMPTS))
    aspect = (low + (high - low) * draw(generator, batch, ATTEMPTS)).exp()
    return (share * aspect).sqrt().round(), (share / aspect).sqrt().round()


def first_fitting(a: Tensor, b: Tensor, fits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each row's attempts ``[B,A]`` the first that fits, and whether there was one: ``[B]``."""
    first = fits.byte().argmax(1, keepdim=True)
    return a.gather(1, first).squeeze(1), b.gather(1, first).squeeze(1), fits.any(1)


def resized_crop(
    images: Tensor,
    top: Tensor,
    left: Tensor,
    height: Tensor,
    width: Tensor,
    interpolation: str = "bilinear",
) -> Tensor:
    """The box of each picture, four whole numbers ``[B]``, resized to ``[B,C,H,W]``."""
    rows = _resize_weights(top, height, images.shape[2], interpolation)  # [B,H,H]
    columns = _resize_weights(left, width, images.shape[3], interpolation)  # [B,W,W]
    # [B,H,C,W]: one product then serves all channels
    lines = images.transpose(1, 2).contiguous().float()
    down = rows @ lines.flatten(2)  # [B,H,C*W]
    across = down.view(len(images), -1, images.shape[3]) @ columns.mT  # [B,H*C,W]
    return to_uint8(across.round_()).view(lines.shape).transpose(1, 2).contiguous()


def _resize_weights(start: Tensor, length: Tensor, size: int, interpolation: str) -> Tensor:
    """Weight of each source pixel in each output pixel ``[B,size,size]``; output rows sum to 1."""
    start, length = start.view(-1, 1, 1).float(), length.view(-1, 1, 1).float()
    pixel = torch.arange(size, device=start.device, dtype=torch.float32)
    centre = start + (pixel.unsqueeze(1) + 0.5) * (length / size) - 0.5
    inside = (pixel >= start) & (pixel < start + length)
    weights = KERNELS[interpolation]((pixel - centre).abs()) * inside
    return weights / weights.sum(2, keepdim=True)
