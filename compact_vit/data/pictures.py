"""Pictures in memory: the containers every data set is loaded into, their size, their statistics.

Letters: N pictures of M in memory, C channels, H and W the height and width.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import UsageError
from ..resampling import covered
from .prefetch import exceeds_memory

_log = logging.getLogger(__name__)

#: of 255: pictures with hardly a pixel above it are black to whoever looks at them
_DARK = 32
#: elements handled at a time, so that a pass over a large set stays within a few megabytes
_CHUNK = 1 << 22


@dataclass(frozen=True)
class Pictures:
    """Pictures ``uint8 [M,C,H,W]``, the ``rows int64 [N]`` that count, their labels ``int64 [N]``.

    ``UsageError`` for others. Without ``rows`` all count, in their order. The pictures may lie in a
    file: what is written into them is not written there. One larger than the memory may be
    read-only, and writing ends the process: copy before.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor | None = None

    def __post_init__(self) -> None:
        for name, value in (("images", self.images), ("labels", self.labels)):
            if not isinstance(value, Tensor):
                kind = type(value).__name__
                raise UsageError(f"{name} must be a tensor, got {kind}: torch.from_numpy makes one")
        count = len(self.images if self.rows is None else self.rows)
        if len(self.labels) != count:
            raise UsageError(
                f"wanted as many labels as pictures, got {count} pictures and "
                f"{len(self.labels)} labels"
            )
        kinds = [(given.dtype, given.dim()) for given in (self.images, self.labels)]
        if kinds != [(torch.uint8, 4), (torch.int64, 1)]:
            raise UsageError(
                "pictures must be uint8 [N,C,H,W] and labels int64 [N], got "
                f"{self.images.dtype} {list(self.images.shape)} and "
                f"{self.labels.dtype} {list(self.labels.shape)}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, index: Tensor | slice) -> Tensor:
        """The pictures at ``index int64 [n]``: ``uint8 [n,C,H,W]``."""
        return self.images[index if self.rows is None else self.rows[index]]

    def part(self, index: Tensor | slice) -> Pictures:
        """The pictures at ``index int64 [n]``: a copy, or rows of a file too large to copy.

        A slice of pictures that all count copies nothing.
        """
        labels = self.labels[index]
        if self.rows is not None:
            rows = self.rows[index]
        elif isinstance(index, slice):
            return Pictures(self.images[index], labels)
        else:
            rows = index
        if not exceeds_memory(self.images):
            return Pictures(self.images[rows], labels)
        return Pictures(self.images, labels, rows)


@dataclass(frozen=True)
class DataSplits:
    """A loaded data set; ``mean`` and ``std`` per channel, of pictures scaled to 0..1.

    ``skipped`` files of its folder were no readable pictures, and left out; ``files`` is a checksum
    of the names of all, in their order.
    """

    train: Pictures
    test: Pictures
    val: Pictures | None
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    skipped: int = 0
    files: str | None = None

    def marks(self) -> dict[str, str | None]:
        """Checksums of the labels and of the files' names, each in the order that parts go by."""
        sha = hashlib.sha256(repr(self.classes).encode())
        for part in (self.train, self.val, self.test):
            sha.update(b"none" if part is None else part.labels.numpy().tobytes())
        return {"labels": sha.hexdigest(), "files": self.files}

    def divided_as(self, marks: Mapping[str, Any]) -> bool:
        """Whether parts drawn from these pictures are those of ``marks``, where that has them."""
        return all(marks.get(name) in (None, mark) for name, mark in self.marks().items())


def height_width(img_size: int | tuple[int, int]) -> tuple[int, int]:
    """``(height, width)`` in pixels, of a side or of a pair."""
    pair = tuple(img_size) if isinstance(img_size, (tuple, list)) else (img_size, img_size)
    if len(pair) != 2 or not all(isinstance(side, int) and side > 0 for side in pair):
        raise UsageError(
            f"img_size: wanted a positive number of pixels, or height and width, got {img_size!r}"
        )
    return pair


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Scale ``uint8 [N,C,h,w]`` until it covers ``size``, then crop its centre to ``[N,C,H,W]``.

    Antialiased bilinear; pictures that have the size already come back as they are.
    """
    if images.shape[-2:] == size:
        return images
    out = images.new_empty((*images.shape[:2], *size))
    step = max(1, _CHUNK // max(images[:1].numel(), out[:1].numel(), 1))
    for source, target in zip(images.split(step), out.split(step), strict=True):
        target.copy_(covered(source, size))
    return out


def channel_sums(images: Tensor) -> Tensor:
    """Sum and sum of squares of every channel: ``uint8 [N,C,H,W]`` -> ``int64 [2,C]``, exact."""
    total = torch.zeros(2, images.shape[1], dtype=torch.int64)
    for chunk in images.split(max(1, _CHUNK // max(images[:1].numel(), 1))):
        values = chunk.double()  # exact: every sum of a chunk stays far below 2**53
        total[0] += values.sum((0, 2, 3)).long()
        total[1] += values.square_().sum((0, 2, 3)).long()
    return total


def statistics(sums: Tensor, pixels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and (population) standard deviation per channel in 0..1, of ``channel_sums``.

    A channel without any variation gets a deviation of 1, so that dividing by it is harmless.
    """
    mean, square = sums.double() / pixels / torch.tensor([[255.0], [255.0**2]]).double()
    std = (square - mean.square()).clamp(min=0).sqrt()
    std[std < 1e-6] = 1.0
    return tuple(mean.tolist()), tuple(std.tolist())


def warn_of_dark(where: str, mean: Sequence[float], std: Sequence[float], advice: str) -> None:
    """Say that the training pictures in ``where``, by their ``statistics``, show next to nothing.

    All of one colour, or in every channel three deviations above the mean still almost black, where
    ``advice`` follows.
    """
    plain = all(value == 1 for value in std)  # of a channel without variation: none deviates so far
    bright = 255 * max(m + (0 if s == 1 else 3 * s) for m, s in zip(mean, std, strict=True))
    if not plain and bright >= _DARK:
        return
    what = "all of one colour" if plain else "almost black"
    told = f"{where}: the training pictures are {what}, {255 * max(mean):.1f} of 255 in the mean"
    if bright < _DARK:
        told += f"; {advice}"
    _log.warning("warning: %s", told)
