"""The transformer's encoder layer, in the published form and in the standard one.

Letters: B batch, P prefix tokens, h x w token grid, N = P + h * w tokens, D width, M hidden width.
"""

# annotations stay objects: TorchScript reads them
import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import SelfAttention
from .drop_path import DropPath, take


class MLP(nn.Module):
    """Two linear maps with exact GELU between, per token: ``[B, N, D] -> [B, N, D]``.

    With a ``kernel_size`` (odd; 0 for none) each hidden channel is also convolved over the token
    grid, on a residual branch before the GELU, so that neighbours meet there (as in the
    feed-forward layers of LocalViT, arXiv 2104.05707, and of DHVT, arXiv 2210.05958).
    """

    def __init__(
        self, embed_dim: int, hidden_dim: int, *, dropout: float = 0.0, kernel_size: int = 0
    ) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, hidden_dim)
        self.conv = DepthwiseConv(hidden_dim, kernel_size) if kernel_size else None
        self.fc2 = nn.Linear(hidden_dim, embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        x = self.fc1(x)
        if self.conv is not None:
            if grid is None:
                raise ValueError("grid must be (h, w), of the tokens to convolve, got None")
            x = x + self.conv(x, grid)
        return self.dropout(self.fc2(self.dropout(F.gelu(x))))


class DepthwiseConv(nn.Module):
    """Each channel convolved over the token grid: ``[B, N, M] -> [B, N, M]``.

    ``grid`` is ``(h, w)``; the P tokens before it have no neighbours and become 0.
    """

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            channels, channels, kernel_size, padding=kernel_size // 2, groups=channels
        )

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        prefix = x.shape[1] - grid[0] * grid[1]
        # tokens row by row are a picture in the channels-last format: no copy
        y = x[:, prefix:].unflatten(1, grid).permute(0, 3, 1, 2)  # [B, N, M] -> [B, M, h, w]
        y = self.conv(y).permute(0, 2, 3, 1).flatten(1, 2)  # [B, h * w, M]
        return _after_zeros(y, prefix)


@torch.fx.wrap  # what is traced chooses when it is called
def _after_zeros(y: Tensor, prefix: int) -> Tensor:
    """``y`` behind P tokens of zeros: ``[B, h * w, M] -> [B, N, M]``."""
    return F.pad(y, (0, 0, prefix, 0)) if prefix else y


class EncoderLayer(nn.Module):
    """Attention and MLP, each on a residual branch with stochastic depth: ``[B, N, D] -> same``.

    ``residual="pre_norm"`` is the standard layer: ``x + attn(norm1(x))``, then
    ``x + mlp(norm2(x))``. ``residual="published"`` is what the weights of arXiv 2104.05704 were
    trained with: the second residual starts from the normalised tokens, ``norm2(x) +
    mlp(norm2(x))``. The authors call it a mistake; it is the default because their numbers and
    weights have it. ``mlp_kernel`` is the MLP's ``kernel_size``, which wants the token grid
    ``(h, w)`` as well.
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
        mlp_kernel: int = 0,
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
        hidden_dim = int(embed_dim * mlp_ratio)
        self.mlp = MLP(embed_dim, hidden_dim, dropout=dropout, kernel_size=mlp_kernel)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        kept = self.drop_path.kept(x)
        x = self.drop_path.add(x, self.attn(self.norm1(take(x, kept))), kept)
        kept = self.drop_path.kept(x)
        normed = self.norm2(x)
        if self.normed_residual:
            x = normed
        return self.drop_path.add(x, self.mlp(take(normed, kept), grid), kept)
