"""The transformer's encoder layer, in the published form and in the standard one.

Letters: B batch, N tokens, D width.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .attention import SelfAttention
from .drop_path import DropPath, take


class MLP(nn.Module):
    """Two linear maps with exact GELU between, per token: ``[B, N, D] -> [B, N, D]``."""

    def __init__(self, embed_dim: int, hidden_dim: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.fc2(self.dropout(F.gelu(self.fc1(x)))))


class EncoderLayer(nn.Module):
    """Attention and MLP, each on a residual branch with stochastic depth: ``[B, N, D] -> same``.

    ``residual="pre_norm"`` is the standard layer: ``x + attn(norm1(x))``, then
    ``x + mlp(norm2(x))``. ``residual="published"`` is what the weights of arXiv 2104.05704 were
    trained with: the second residual starts from the normalised tokens, ``norm2(x) +
    mlp(norm2(x))``. The authors call it a mistake; it is the default because their numbers and
    weights have it.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        mlp_ratio: float,
        *,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
        residual: str = "published",
    ) -> None:
        super().__init__()
        if residual not in ("published", "pre_norm"):
            raise ValueError(f"residual must be 'published' or 'pre_norm', got {residual!r}")
        self.normed_residual = residual == "published"
        self.norm1 = nn.LayerNorm(embed_dim)
        self.attn = SelfAttention(
            embed_dim, num_heads, attention_dropout=attention_dropout, dropout=dropout
        )
        self.norm2 = nn.LayerNorm(embed_dim)
        self.mlp = MLP(embed_dim, int(embed_dim * mlp_ratio), dropout=dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        kept = self.drop_path.kept(x)
        x = self.drop_path.add(x, self.attn(self.norm1(take(x, kept))), kept)
        kept = self.drop_path.kept(x)
        normed = self.norm2(x)
        if self.normed_residual:
            x = normed
        return self.drop_path.add(x, self.mlp(take(normed, kept)), kept)
