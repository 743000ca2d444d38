"""The training loss."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class LabelSmoothingCrossEntropy(nn.Module):
    """Cross-entropy against targets mixed with the uniform distribution (arXiv 1512.00567, sec. 7).

    ``logits [B, K]`` with class indices ``[B]`` or class probabilities ``[B, K]`` give the mean
    over the batch, in nats. A target ``t`` is used as ``(1 - smoothing) * t + smoothing / K``.
    """

    def __init__(self, smoothing: float = 0.1) -> None:
        super().__init__()
        if not 0.0 <= smoothing < 1.0:
            raise ValueError(f"smoothing must be in [0, 1), got {smoothing}")
        self.smoothing = smoothing

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets, label_smoothing=self.smoothing)

    def extra_repr(self) -> str:
        return f"smoothing={self.smoothing}"
