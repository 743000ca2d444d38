"""What each baseline has before its last linear map: MLPs, CNNs, ResNets.

Letters: B batch, C channels, H x W pixels, F features. A body is ``[B, C, H, W] -> [B, F]``.
"""

from __future__ import annotations

import itertools
import math

from torch import Tensor, nn

from .blocks import (
    PreActivationBlock,
    ResidualBlock,
    bottleneck_block,
    convolutions,
    hidden_layers,
    make_activation,
)
from .config import (
    CifarResNetConfig,
    ConvConfig,
    MLPConfig,
    ResidualConvConfig,
    ResidualEncoderConfig,
)

#: A body and the number F of its features.
Body = tuple[nn.Module, int]


def mlp_body(config: MLPConfig) -> Body:
    """The flattened picture through the hidden linear maps."""
    inputs = config.in_chans * math.prod(config.height_width)
    layers = hidden_layers(
        inputs,
        config.widths,
        config.activation,
        dropout=config.dropout,
        batch_norm=config.batch_norm,
    )
    return nn.Sequential(nn.Flatten(), *layers), (config.widths or (inputs,))[-1]


def conv_body(config: ConvConfig) -> Body:
    """P convolutions and a pool, over and over, then the hidden linear maps."""
    layers, features = _conv_layers(config, config.in_chans)
    return nn.Sequential(*layers), features


def residual_encoder_body(config: ResidualEncoderConfig) -> Body:
    """Residual blocks at the picture's size, then what ``conv_body`` has."""
    blocks = ResidualStem(config)
    layers, features = _conv_layers(config, config.width)
    return nn.Sequential(blocks, *layers), features


class ResidualStem(nn.Module):
    """A 1x1 convolution and residual blocks: ``[B, C, H, W] -> [B, width, H, W]``."""

    def __init__(self, config: ResidualEncoderConfig) -> None:
        super().__init__()
        self.sees_picture = config.sees_picture
        self.widen = nn.Conv2d(config.in_chans, config.width, 1)
        self.blocks = nn.ModuleList(
            ResidualBlock(
                config.width,
                (config.inner_width, config.width),
                (config.kernel_size,) * 2,
                activation=config.activation,
                batch_norm=config.batch_norm,
                dropout_2d=config.dropout_2d,
                extra_channels=config.in_chans if config.sees_picture else 0,
            )
            for _ in range(config.blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        seen = x if self.sees_picture else None
        x = self.widen(x)
        for block in self.blocks:
            x = block(x, seen)
        return x


def _conv_layers(config: ConvConfig, in_channels: int) -> tuple[list[nn.Module], int]:
    """The layers of ``ConvConfig`` for inputs of ``in_channels``, and their features F."""
    layers: list[nn.Module] = []
    every, channels = config.pool_every, config.channels
    for start in range(0, len(channels), every):
        group = channels[start : start + every]
        layers += _group(config, in_channels, group)
        if len(group) == every:
            layers.append(nn.MaxPool2d(2))
        in_channels = group[-1]
    layers.append(nn.Flatten())
    features = in_channels * math.prod(config.grid)
    if config.dropout:
        layers.append(nn.Dropout(config.dropout))
    layers += hidden_layers(features, config.hidden, config.activation, dropout=config.dropout)
    return layers, (config.hidden or (features,))[-1]


def _group(config: ConvConfig, in_channels: int, channels: tuple[int, ...]) -> list[nn.Module]:
    """Convolutions from one pool to the next, with a shortcut around them where it is asked for."""
    kernels = (config.kernel_size,) * len(channels)
    if not isinstance(config, ResidualConvConfig):
        return convolutions(
            in_channels,
            channels,
            kernels,
            config.activation,
            batch_norm=config.batch_norm,
            dropout_2d=config.dropout_2d,
        )
    if config.bottleneck == 1:
        block = ResidualBlock(
            in_channels,
            channels,
            kernels,
            activation=config.activation,
            batch_norm=config.batch_norm,
            dropout_2d=config.dropout_2d,
        )
    else:
        block = bottleneck_block(
            channels[-1],
            [width // config.bottleneck for width in channels],
            kernels,
            in_channels=in_channels,
            activation=config.activation,
            batch_norm=config.batch_norm,
            dropout_2d=config.dropout_2d,
        )
    return [block]


def cifar_resnet_body(config: CifarResNetConfig) -> Body:
    """A convolution, three stages of residual blocks, the mean over all pixels."""
    widths, name = (16, 32, 64), config.activation
    layers: list[nn.Module] = [
        nn.Conv2d(config.in_chans, widths[0], 3, padding=1, bias=False),
        nn.BatchNorm2d(widths[0]),
        make_activation(name),
    ]
    for before, width in itertools.pairwise((widths[0], *widths)):
        stage = [
            _cifar_block(config, before, width, first=before == width == widths[0]),
            *(_cifar_block(config, width, width) for _ in range((config.depth - 2) // 6 - 1)),
        ]
        layers.append(nn.Sequential(*stage))
    if config.pre_activation:
        layers += [nn.BatchNorm2d(widths[-1]), make_activation(name)]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    if config.dropout:
        layers.append(nn.Dropout(config.dropout))
    return nn.Sequential(*layers), widths[-1]


def _cifar_block(
    config: CifarResNetConfig, in_channels: int, channels: int, *, first: bool = False
) -> nn.Module:
    """Two 3x3 convolutions and their shortcut; where the channels grow, the picture is halved."""
    stride = 1 if in_channels == channels else 2
    if config.pre_activation:
        return PreActivationBlock(
            in_channels,
            channels,
            stride=stride,
            activation=config.activation,
            shortcut=config.shortcut,
            first=first,
        )
    return ResidualBlock(
        in_channels,
        (channels, channels),
        (3, 3),
        stride=stride,
        activation=config.activation,
        shortcut=config.shortcut,
    )
