"""Any baseline from its configuration, with the methods of a classifier of timm's.

Letters: B batch, C channels, H x W pixels, F features, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..checks import checked_classes
from ..errors import UsageError
from .blocks import initialise
from .bodies import Body, cifar_resnet_body, conv_body, mlp_body, residual_encoder_body
from .config import (
    BaselineConfig,
    CifarResNetConfig,
    ConvConfig,
    MLPConfig,
    ResidualEncoderConfig,
    TimmConfig,
)


def build_body(config: BaselineConfig) -> Body:
    """All before the last linear map, ``[B, C, H, W] -> [B, F]``, initialised; and F."""
    if isinstance(config, TimmConfig):
        from .pretrained import timm_body

        return timm_body(config)  # timm initialises its own
    if isinstance(config, MLPConfig):
        body, features = mlp_body(config)
    elif isinstance(config, ResidualEncoderConfig):
        body, features = residual_encoder_body(config)
    elif isinstance(config, ConvConfig):
        body, features = conv_body(config)
    else:
        assert isinstance(config, CifarResNetConfig)
        body, features = cifar_resnet_body(config)
    initialise(body, config.activation)
    return body, features


@torch.fx.wrap  # what is traced looks when it is called
def _of_size(x: Tensor, size: tuple[int, int]) -> Tensor:
    """``x [B, C, H, W]``; ``UsageError`` if H and W are not ``size``."""
    if tuple(x.shape[-2:]) != size:
        (height, width), got = size, "x".join(map(str, x.shape[-2:]))
        raise UsageError(
            f"the model was built for pictures of {height}x{width} pixels, got {got}: "
            "build it with that img_size"
        )
    return x


class Baseline(nn.Module):
    """A body that its configuration describes and a linear classifier: ``[B, C, H, W] -> [B, K]``.

    Pictures of another size than ``config.img_size`` are a ``UsageError``, but for configurations
    of ``any_size``.
    """

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__()
        self.config = config
        self.in_chans = config.in_chans
        self.body, self.num_features = build_body(config)
        # faster convolutions and pools
        self.channels_last = not isinstance(config, MLPConfig) and not _subsamples_picture(self)
        self.reset_classifier(config.num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """What the classifier is given: ``[B, C, H, W] -> [B, F]``."""
        if not self.config.any_size:
            x = _of_size(x, self.config.height_width)
        if self.channels_last:  # as vmap knows it
            x = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        return self.body(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Features ``[B, F]`` to logits ``[B, K]``, or as they are."""
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """The last linear map, or an identity when there are no classes."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Give the model a new classifier; 0 classes leave the features ``[B, F]``."""
        if global_pool is not None:
            raise UsageError(f"the pooling is the model's own, global_pool={global_pool!r} is not")
        num_classes = checked_classes(num_classes)
        self.num_classes = num_classes
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        initialise(self.head, "linear")
        parameter = next(self.body.parameters(), None)
        if parameter is not None:
            self.head.to(parameter.device, parameter.dtype)

    def no_weight_decay(self) -> set[str]:
        """Parameters of two and more dimensions that take no decay: those that timm's model names.

        Of the other baselines none, beyond what has one dimension.
        """
        named: set[str] = set()
        for prefix, module in self.named_modules():
            if module is not self and hasattr(module, "no_weight_decay"):
                named |= {f"{prefix}.{name}" for name in module.no_weight_decay()}
        return named & {name for name, _ in self.named_parameters()}


def _subsamples_picture(model: Baseline) -> bool:
    """Whether a 1x1 convolution takes every other pixel of the picture itself.

    Some of timm's models begin so (repvgg_a0, fastvit_t8). Of a few channels laid out last, the
    gradient of such a layer on a CPU writes past its memory in torch 2.15, and the process dies.
    """
    return any(
        isinstance(layer, nn.Conv2d)
        and layer.in_channels == model.in_chans
        and layer.kernel_size == (1, 1) != layer.stride
        for layer in model.body.modules()
    )
