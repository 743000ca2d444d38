"""The training loss.

Letters: B batch, K classes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class LabelSmoothingCrossEntropy(nn.Module):
    """Cross-entropy against targets mixed with the uniform distribution (arXiv 1512.00567, sec. 7).

    ``logits [B, K]`` with class indices ``[B]`` or class probabilities ``[B, K]`` give the mean
    over the batch, in nats. A target ``t`` is used as ``(1 - smoothing) * t + smoothing / K``.

    With ``weight`` [K] every class's share of a target counts so many times, as in torch's
    ``CrossEntropyLoss(weight=)`` of probabilities, and the sum is divided by B. Other than there,
    what smoothing takes from a share keeps that share's weight: torch's would ask for a class of
    10 pictures beside nine of 1,000, at a smoothing of 0.1, in every picture of the others.
    """

    weight: Tensor | None

    def __init__(self, smoothing: float = 0.1, weight: Tensor | None = None) -> None:
        super().__init__()
        if not 0.0 <= smoothing < 1.0:
            raise ValueError(f"smoothing must be in [0, 1), got {smoothing}")
        self.smoothing = smoothing
        self.register_buffer("weight", weight)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        if self.weight is None:
            return F.cross_entropy(logits, targets, label_smoothing=self.smoothing)
        shares = self.shares(targets).type_as(logits)
        spread = shares.sum(dim=1, keepdim=True) / shares.shape[1]  # [B, 1]
        return F.cross_entropy(logits, shares.lerp(spread, self.smoothing))

    def shares(self, targets: Tensor) -> Tensor:
        """The classes' shares of ``targets`` [B] or [B, K], times their weight: ``[B, K]``."""
        assert self.weight is not None
        if targets.ndim == 1:
            targets = F.one_hot(targets, len(self.weight))
        return targets * self.weight

    def extra_repr(self) -> str:
        return f"smoothing={self.smoothing}"
