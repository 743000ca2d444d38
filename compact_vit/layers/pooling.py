"""From tokens to one vector: sequence pooling, or a class token.

Letters: B batch, N tokens, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SequencePooling(nn.Module):
    """The tokens' mean by learnt weights: ``[B, N, D] -> [B, D]`` (arXiv 2104.05704, eq. 4-6)."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.attention = nn.Linear(embed_dim, 1)

    def weights(self, x: Tensor) -> Tensor:
        """What each token counts for: ``[B, N, D] -> [B, N]``, summing to one."""
        return self.attention(x).squeeze(-1).softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        return (self.weights(x).unsqueeze(1) @ x).squeeze(1)  # [B, 1, N] @ [B, N, D]


class ClassToken(nn.Module):
    """A learnt token put before the others: ``[B, N, D] -> [B, 1 + N, D]`` (arXiv 2010.11929)."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, embed_dim))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.token.to(x.dtype).expand(x.shape[0], -1, -1), x), dim=1)
