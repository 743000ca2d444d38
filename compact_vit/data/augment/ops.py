"""Point-wise, colour and sharpness operations on a uint8 batch, each sample with its own strength.

The arithmetic is that of ``torchvision.transforms.functional`` on uint8 tensors, step for step, so
that results are equal bit for bit (contrast: up to 65,792 pixels a picture, beyond which a float32
sum is no longer exact). That of ``torchvision.transforms.v2`` rounds differently here and there.

B batch, C channels (1 or 3), H height, W width. Strengths are ``[B]``, best in float64.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from ._batch import constant, precise, to_uint8


def lookup(images: Tensor, tables: Tensor) -> Tensor:
    """Replace every value by its entry: images ``[B,C,H,W]``, float tables ``[B,C,256]``."""
    return to_uint8(tables).gather(2, images.flatten(2).long()).view(images.shape)


def pointwise(table: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """An operation that maps values one by one, as its look-up tables.

    Called with images ``[B,C,H,W]`` and, where the operation has one, a strength ``[B]``, it gives
    float32 ``[B,C,256]``, to be cut to 0..255 and truncated. Tables are a quarter of a 32x32
    picture: to build them and look up once is how many samples with different operations are served
    together.
    """

    @functools.wraps(table)
    def tables(images: Tensor, *strength: Tensor) -> Tensor:
        return table(images, *strength).expand(*images.shape[:2], 256)

    return tables


@pointwise
def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the highest ``bits`` (0 to 8, truncated to whole) of each value."""
    dropped = 8 - _rows(bits.to(torch.int32))
    return (_values(images).to(torch.int32) >> dropped << dropped).float()


@pointwise
def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert the values that are at least ``threshold``."""
    values = _values(images)
    return torch.where(values >= _rows(threshold), 255 - values, values)


@pointwise
def solarize_add(images: Tensor, amount: Tensor) -> Tensor:
    """Add ``amount`` to the values below 128, up to 255."""
    values = _values(images)
    return torch.where(values < 128, values + _rows(amount).float(), values)


@pointwise
def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with black: 0 is black, 1 the picture."""
    return _values(images) * _rows(factor).float()


@pointwise
def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the mean grey: 0 is that grey, 1 the picture."""
    height, width = images.shape[2:]
    mean = gray(images).sum((1, 2, 3)).float() / (height * width)
    ours, theirs = _shares(factor)
    return _values(images) * _rows(ours) + _rows(mean * theirs)


@pointwise
def autocontrast(images: Tensor, _: Tensor | None = None) -> Tensor:
    """Stretch each channel to the whole range 0..255; a channel of one value stays."""
    low = images.amin((2, 3)).float().unsqueeze(2)
    high = images.amax((2, 3)).float().unsqueeze(2)
    values = _values(images)
    stretched = (values - low) * (255 / (high - low).clamp(min=1))
    return torch.where(high > low, stretched, values)


@pointwise
def equalize(images: Tensor, _: Tensor | None = None) -> Tensor:
    """Flatten the histogram of each channel."""
    batch, channels, height, width = images.shape
    counts = torch.zeros(batch, channels, 256, dtype=torch.int32, device=images.device)
    one = torch.ones((), dtype=torch.int32, device=images.device)
    flat = images.flatten(2).long()
    counts.scatter_add_(2, flat, one.expand(flat.shape))
    highest = counts.gather(2, flat.amax(2, keepdim=True))  # how many have the highest value
    step = (height * width - highest) // 255
    below = counts.cumsum(2, dtype=torch.int32) - counts
    ranks = (below + step // 2) // step.clamp(min=1)
    return torch.where(step > 0, ranks, _values(images))


@pointwise
def invert(images: Tensor, _: Tensor | None = None) -> Tensor:
    """Turn every value v into 255 - v."""
    return 255 - _values(images)


def color(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the picture's grey: 0 is grey, 1 the picture; one channel is grey already."""
    return images if images.shape[1] == 1 else _blend(images, gray(images), factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the picture smoothed by [1 1 1; 1 5 1; 1 1 1] / 13, its border left as it is."""
    if min(images.shape[2:]) <= 2:
        return images
    values = images.float()
    rows = values[:, :, :-2] + values[:, :, 1:-1] + values[:, :, 2:]
    box = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    smooth = values.clone()
    inner = smooth[..., 1:-1, 1:-1]
    # whole numbers over 13 are never half-way: rounding is safe in any arithmetic
    inner.copy_(box.add_(inner, alpha=4).div_(13).round_())
    return _blend(values, smooth, factor)


def gray(images: Tensor) -> Tensor:
    """The grey of each pixel, truncated: ``[B,C,H,W]`` -> int32 ``[B,1,H,W]``."""
    if images.shape[1] == 1:
        return images.to(torch.int32)
    red, green, blue = images.float().unsqueeze(1).unbind(2)
    return (0.2989 * red).add_(0.587 * green).add_(0.114 * blue).to(torch.int32)


def _blend(images: Tensor, others: Tensor, factor: Tensor) -> Tensor:
    ours, theirs = (share.view(-1, 1, 1, 1) for share in _shares(factor))
    return to_uint8((images.float() * ours).add_(others.float() * theirs))


def _shares(factor: Tensor) -> tuple[Tensor, Tensor]:
    """factor and 1 - factor as float32, the difference taken before rounding."""
    exact = factor.to(precise(factor.device))
    return exact.float(), (1 - exact).float()


def _values(images: Tensor) -> Tensor:
    return _every_value(images.device)


@constant
def _every_value(device: torch.device) -> Tensor:
    return torch.arange(256, dtype=torch.float32, device=device).view(1, 1, 256)


def _rows(strength: Tensor) -> Tensor:
    return strength.view(-1, 1, 1)
