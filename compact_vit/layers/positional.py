"""Where a token stands: learnt positions, sine positions, or none, and their resizing.

Letters: B batch, h x w token grid, P prefix tokens (the class token), N = P + h * w, D width.
"""

from __future__ import annotations

import math

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn


def sine_positions(num_tokens: int, embed_dim: int) -> Tensor:
    """Sinusoids over the flattened token index: ``[1, N, D]`` float32 (arXiv 1706.03762, 3.5).

    Channel ``i`` has the frequency ``10000 ** (-2 * (i // 2) / D)``; even channels are sines, odd
    ones cosines.
    """
    # in float64, of which a float32 angle of many radians is far off; not all devices have it
    channel = torch.arange(embed_dim, device="cpu")
    frequency = torch.exp((channel // 2).double() * (-2.0 * math.log(10000.0) / embed_dim))
    angle = torch.arange(num_tokens, device="cpu").unsqueeze(1) * frequency  # [N, D]
    table = torch.where(channel % 2 == 0, angle.sin(), angle.cos()).float()
    return table.unsqueeze(0).to(torch.empty(0).device)


def resize_positions(
    table: Tensor, old: tuple[int, int], new: tuple[int, int], num_prefix_tokens: int = 0
) -> Tensor:
    """A position table made for the grid ``old`` at the grid ``new``: ``[1, N, D] -> [1, N', D]``.

    The grid part is interpolated (bicubic, antialiased) in float32 at least; prefix tokens stay.
    """
    if old == new:
        return table
    prefix, grid = table[:, :num_prefix_tokens], table[:, num_prefix_tokens:]
    grid = grid.to(torch.promote_types(grid.dtype, torch.float32))
    grid = grid.unflatten(1, old).permute(0, 3, 1, 2)  # [1, hw, D] -> [1, D, h, w]
    grid = F.interpolate(grid, size=new, mode="bicubic", antialias=True, align_corners=False)
    grid = grid.permute(0, 2, 3, 1).flatten(1, 2).to(table.dtype)
    return torch.cat((prefix, grid), dim=1)


@torch.fx.wrap  # what is traced chooses when it is called, by its picture's size
def _table_at(
    table: Tensor, kind: str, old: tuple[int, int], new: tuple[int, int], num_prefix_tokens: int
) -> Tensor:
    """The ``table`` of positions of a ``kind``, made for the grid ``old``, at the grid ``new``."""
    if new == old:
        return table
    if kind == "sine":
        num_tokens = num_prefix_tokens + new[0] * new[1]
        return sine_positions(num_tokens, table.shape[2]).to(table)
    return resize_positions(table, old, new, num_prefix_tokens)


class PositionalEmbedding(nn.Module):
    """Add positions to tokens: ``[B, N, D] -> [B, N, D]``, for any token grid.

    ``learnable`` is a table trained with the rest, interpolated to other grids; ``sine`` is fixed
    (kept in the state, never trained) and computed anew for other grids. For no positions at all,
    leave the module out.
    """

    def __init__(
        self,
        kind: str,
        embed_dim: int,
        grid_size: tuple[int, int],
        num_prefix_tokens: int = 0,
    ) -> None:
        super().__init__()
        if kind not in ("learnable", "sine"):
            raise ValueError(f"kind must be 'learnable' or 'sine', got {kind!r}")
        self.kind = kind
        self.embed_dim = embed_dim
        self.grid_size = grid_size
        self.num_prefix_tokens = num_prefix_tokens
        num_tokens = num_prefix_tokens + grid_size[0] * grid_size[1]
        if kind == "sine":
            table = sine_positions(num_tokens, embed_dim).to(torch.get_default_dtype())
            self.table = nn.Parameter(table, requires_grad=False)
        else:
            self.table = nn.Parameter(torch.empty(1, num_tokens, embed_dim))
            nn.init.trunc_normal_(self.table, std=0.2)

    def at(self, grid_size: tuple[int, int]) -> Tensor:
        """The table for another token grid: ``[1, P + h * w, D]``."""
        return _table_at(self.table, self.kind, self.grid_size, grid_size, self.num_prefix_tokens)

    def forward(self, x: Tensor, grid_size: tuple[int, int]) -> Tensor:
        return x + self.at(grid_size)

    def extra_repr(self) -> str:
        height, width = self.grid_size
        return f"{self.kind}, grid {height}x{width}, prefix {self.num_prefix_tokens}"
