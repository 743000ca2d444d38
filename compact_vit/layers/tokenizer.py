"""From a picture to tokens: by patches (ViT-Lite, CVT) or by convolutions (CCT).

Letters: B batch, C channels of the picture, H x W its pixels, h x w the token grid, N = h * w
tokens in row-major order, D width.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PatchTokenizer(nn.Module):
    """One linear map per patch: ``[B, C, H, W] -> [B, N, D]`` (arXiv 2010.11929).

    Pixels at the right and lower edge that do not fill a patch are not seen.
    """

    def __init__(self, in_chans: int, embed_dim: int, patch_size: int) -> None:
        super().__init__()
        self.patch_size = self.reduction = patch_size
        self.proj = nn.Conv2d(in_chans, embed_dim, patch_size, stride=patch_size)
        nn.init.kaiming_normal_(self.proj.weight)

    def grid_size(self, height: int, width: int) -> tuple[int, int]:
        """The token grid ``(h, w)`` of a picture of ``height x width`` pixels, by arithmetic."""
        return height // self.patch_size, width // self.patch_size

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)  # [B, D, h, w] -> [B, N, D]


class ConvTokenizer(nn.Module):
    """Convolution, max pool and ReLU, ``num_convs`` times: ``[B, C, H, W] -> [B, N, D]``.

    The convolutional tokenizer of arXiv 2104.05704, eq. 7. Strides and paddings follow from the
    kernel as in the published code: stride ``max(1, k // 2 - 1)``, padding ``max(1, k // 2)``; the
    pool is 3 x 3 with stride 2. ReLU comes after the pool, not before it: both are monotonic, so
    values and gradients are the same, at a quarter of the work. ``batch_norm`` puts a batch norm
    (arXiv 1502.03167) between the two, which the published tokenizer does not have.
    """

    def __init__(
        self,
        in_chans: int,
        embed_dim: int,
        kernel_size: int,
        num_convs: int = 1,
        *,
        hidden_dim: int = 64,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = max(1, kernel_size // 2 - 1)
        self.padding = max(1, kernel_size // 2)
        self.reduction = (2 * self.stride) ** num_convs  # pixels from one token to the next
        widths = [in_chans] + [hidden_dim] * (num_convs - 1) + [embed_dim]
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        for inputs, outputs in itertools.pairwise(widths):
            conv = nn.Conv2d(inputs, outputs, kernel_size, self.stride, self.padding, bias=False)
            nn.init.kaiming_normal_(conv.weight)
            # as the pictures in forward, or every call would lay the weights out anew: 6% of one
            # of CCT-2/3x2, 15 to 35% of CCT-7/7x2 at 32 pixels. Tools that want them contiguous
            # (L-BFGS, parameters_to_vector) get them by .to(memory_format=torch.contiguous_format)
            self.convs.append(conv.to(memory_format=torch.channels_last))
            self.norms.append(nn.BatchNorm2d(outputs) if batch_norm else nn.Identity())

    def grid_size(self, height: int, width: int) -> tuple[int, int]:
        """The token grid ``(h, w)`` of a picture of ``height x width`` pixels, by arithmetic."""
        for _ in self.convs:
            height = (height + 2 * self.padding - self.kernel_size) // self.stride + 1
            width = (width + 2 * self.padding - self.kernel_size) // self.stride + 1
            height, width = (height - 1) // 2 + 1, (width - 1) // 2 + 1  # pool 3, stride 2, pad 1
        return height, width

    def forward(self, x: Tensor) -> Tensor:
        # channels last: faster convolutions and pools, and the tokens need no copy at the end;
        # not by contiguous(memory_format=...), which torch.func.vmap does not know
        x = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            # not in place, though neither pool nor norm needs its output: hooks may have it
            # nor F.max_pool2d, of which no trace can be saved
            x = F.relu(norm(torch.max_pool2d(conv(x), kernel_size=3, stride=2, padding=1)))
        return x.flatten(2).transpose(1, 2)  # [B, D, h, w] -> [B, N, D]
