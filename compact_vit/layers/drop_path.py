"""Stochastic depth: residual branches dropped at random (Huang et al. 2016, arXiv 1603.09382)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """Zero each sample's branch with probability ``rate`` in training, and scale the rest.

    Shapes: ``[B, ...] -> [B, ...]``. The survivors are divided by ``1 - rate``, so the expected
    value is the input's; in evaluation the input is returned as it is.
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"drop path rate must be in [0, 1), got {rate}")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if self.rate == 0.0 or not self.training:
            return x
        shape = [x.shape[0]] + [1] * (x.dim() - 1)
        keep = torch.empty(shape, dtype=x.dtype, device=x.device).bernoulli_(1.0 - self.rate)
        return x * (keep / (1.0 - self.rate))

    def extra_repr(self) -> str:
        return f"rate={self.rate:.4g}"
