"""The loss: where the gradient begins.

Letters: B pictures in a batch, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor


class CrossEntropy:
    """Mean of -log p(true class) with p the softmax of the logits, in nats.

    For one picture with logits z and true class t, p_k = e^z_k / Σ_j e^z_j and

        L = -log p_t = log Σ_j e^z_j - z_t

    e^z overflows from z = 89 in float32, so the largest logit m is taken out first, which changes
    nothing (the log-sum-exp trick): log Σ_j e^z_j = m + log Σ_j e^(z_j - m), where every exponent
    is at most 0 and one is 0. The gradient is the softmax less the truth:

        ∂L/∂z_k = e^z_k / Σ_j e^z_j - [k = t] = p_k - [k = t]
    """

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss, a scalar, of ``logits [B,K]`` and the true classes ``int64 [B]``."""
        shifted = logits - logits.max(dim=1, keepdim=True).values  # [B,K] - [B,1]
        log_sum = shifted.exp().sum(dim=1, keepdim=True).log()  # [B,1]
        log_p = shifted - log_sum  # [B,K]
        self.p, self.picture, self.labels = log_p.exp(), torch.arange(len(labels)), labels
        return -log_p[self.picture, labels].mean()  # [B] -> []

    def backward(self) -> Tensor:
        """∂L/∂logits ``[B,K]`` of the ``forward`` called last."""
        dlogits = self.p.clone()
        dlogits[self.picture, self.labels] -= 1
        return dlogits / len(self.labels)  # the mean over the batch
