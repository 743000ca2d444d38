"""Parts for models of your own: a wider CCT by configuration, and a classifier from layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compact_vit import (
    CompactTransformer,
    ConvTokenizer,
    EncoderLayer,
    ModelConfig,
    SequencePooling,
)


class TinyClassifier(nn.Module):
    """A tokenizer, one encoder layer, a pooling, a classifier: ``[B, 3, H, W] -> [B, 10]``."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.Sequential(
            ConvTokenizer(in_chans=3, embed_dim=64, kernel_size=3, num_convs=2),
            EncoderLayer(embed_dim=64, num_heads=2, mlp_ratio=2, residual="pre_norm"),
            SequencePooling(embed_dim=64),
            nn.Linear(64, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.parts(x)


def main() -> None:
    config = ModelConfig(
        family="cct",
        depth=5,
        num_heads=3,
        mlp_ratio=2,
        embed_dim=192,
        kernel_size=3,
        num_convs=2,
        img_size=(32, 48),
        num_classes=7,
    )
    wide = CompactTransformer(config)
    print(tuple(wide(torch.randn(1, 3, 32, 48)).shape))
    print(tuple(TinyClassifier()(torch.randn(1, 3, 64, 64)).shape))


if __name__ == "__main__":
    main()
