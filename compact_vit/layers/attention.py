"""Multi-head self-attention on torch's fused kernel (Vaswani et al. 2017, arXiv 1706.03762, eq. 1).

Where the kernel is slow, by products: on CPUs its backward pass in bf16.

Letters: B batch, N tokens, D width, H heads, C channels a head (D = H * C).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Tokens up to which a bf16 training step on a CPU is faster by products than by torch's kernel:
#: up to 4 times. Their weights are then a third, at most, of what an encoder layer keeps.
FEW_TOKENS = 256


class SelfAttention(nn.Module):
    """Every token gathers from all tokens: ``[B, N, D] -> [B, N, D]``.

    The rows of ``qkv`` are queries, keys and values, each head-major, as in the published
    weights. ``attention_dropout`` acts on the attention weights and ``dropout`` on the output.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        attention_dropout: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(
                f"embed_dim must be a multiple of num_heads, got {embed_dim} and {num_heads}"
            )
        self.num_heads = num_heads
        self.attention_dropout = attention_dropout
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim, bias=False)
        self.proj = nn.Linear(embed_dim, embed_dim)
        self.proj_dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        # [B, N, 3D] -> [B, N, 3, H, C] -> 3 x [B, N, H, C]; unbinding lets the gradients of the
        # three be written side by side, where indexing fills and adds three arrays of zeros
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).unbind(2)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # [B, H, N, C]
        dropout = self.attention_dropout if self.training else 0.0
        x = attend(q, k, v, dropout, self.training)  # [B, H, N, C]
        x = x.transpose(1, 2).flatten(2)  # [B, N, D]
        return self.proj_dropout(self.proj(x))

    def weights(self, x: Tensor) -> Tensor:
        """What each token gathers from every token: ``[B, N, D] -> [B, H, N, N]``, rows sum to one.

        To look at: ``forward`` never forms them. Dropout does not act.
        """
        q, k, _ = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).transpose(1, 3).unbind(2)
        # [B, N, 3, H, C] -> [B, H, 3, N, C] -> 3 x [B, H, N, C]
        return (q @ k.mT * q.shape[-1] ** -0.5).softmax(dim=-1)


@torch.fx.wrap  # what is traced chooses, too, when it is called
def attend(
    q: Tensor, k: Tensor, v: Tensor, dropout: float, training: bool, few: int = FEW_TOKENS
) -> Tensor:
    """What queries gather of the values ``v`` by the keys ``k``: all ``[B, H, N, C]``.

    ``few`` is an argument because TorchScript knows no constants of a file.
    """
    trained = training and q.dtype == torch.bfloat16 and q.requires_grad
    if trained and q.device.type == "cpu" and q.shape[2] <= few:
        weights = F.dropout((q * q.shape[-1] ** -0.5 @ k.mT).softmax(dim=-1), dropout)
        return weights @ v
    return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
