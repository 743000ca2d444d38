"""Blocks of pixels taken away from a normalised batch, each sample with its own draw.

B batch, C channels, H height, W width, G = g * g' blocks, b side of a block.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ._batch import draw
from ._checks import require, require_floats, require_number, require_whole


@dataclass(frozen=True)
class RandomMask:
    """Blocks of ``block x block`` pixels of a normalised picture set to 0, the mean colour.

    In every picture exactly ``round(ratio * G)`` of its G blocks, every choice of them equally
    likely. Where a side is no multiple of ``block``, the blocks at the right and lower edge are
    cut off by it.
    """

    block: int
    ratio: float

    def __post_init__(self) -> None:
        require_whole("block", self.block, 1)
        require_number("ratio", self.ratio, 0, 1)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        require_floats(images, generator)
        height, width = images.shape[2:]
        rows, columns = -(-height // self.block), -(-width // self.block)
        wanted = f"smaller than a side of the {height}x{width} pictures"
        require(rows * columns > 1, "block", wanted, self.block)
        masked = _draw_blocks(generator, len(images), rows * columns, self.ratio)
        grid = masked.view(-1, 1, rows, 1, columns, 1)  # [B,G] -> [B,1,g,1,g',1]
        grid = grid.expand(-1, -1, -1, self.block, -1, self.block)  # [B,1,g,b,g',b]
        pixels = grid.flatten(4).flatten(2, 3)[:, :, :height, :width]  # [B,1,H,W]
        return images.masked_fill(pixels, 0)


def _draw_blocks(generator: torch.Generator, batch: int, blocks: int, ratio: float) -> Tensor:
    """For each picture ``round(ratio * blocks)`` of its blocks: bool ``[B,G]``."""
    order = draw(generator, batch, blocks).argsort(dim=1, stable=True)  # equal draws are no matter
    masked = torch.zeros_like(order, dtype=torch.bool)
    return masked.scatter(1, order[:, : round(ratio * blocks)], True)
