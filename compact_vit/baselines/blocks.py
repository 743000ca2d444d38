"""What the baselines are built of: activations by name, runs of layers, residual blocks.

Letters: B batch, C channels, E further channels that a block sees, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UsageError, unknown
from .config import ACTIVATIONS, SHORTCUTS

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


def make_activation(name: str) -> nn.Module:
    """The activation called ``name``, torch's own; ``UsageError`` names the nearest right one."""
    if name not in _ACTIVATIONS:
        raise unknown("activation", name, ACTIVATIONS)
    return _ACTIVATIONS[name]()


def initialise(module: nn.Module, activation: str) -> None:
    """He's initialisation for what is followed by ``activation`` (arXiv 1502.01852, eq. 10).

    Weights are normal with variance gain^2 / inputs: gain^2 is 2 for the rectifiers, and for tanh
    and sigmoid what ``torch.nn.init.calculate_gain`` says. Biases are 0.
    """
    gain = activation if activation in ("tanh", "sigmoid", "linear") else "relu"
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity=gain)  # type: ignore[arg-type]
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def hidden_layers(
    features: int, widths: Sequence[int], name: str, *, dropout: float, batch_norm: bool = False
) -> list[nn.Module]:
    """``(linear, norm, activation, dropout)`` for each of ``widths``, from so many ``features``."""
    layers: list[nn.Module] = []
    for width in widths:
        # the norm subtracts whatever a bias would add
        layers.append(nn.Linear(features, width, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm1d(width))
        layers.append(make_activation(name))
        if dropout:
            layers.append(nn.Dropout(dropout))
        features = width
    return layers


def convolutions(
    in_channels: int,
    channels: Sequence[int],
    kernel_sizes: Sequence[int],
    name: str,
    *,
    stride: int = 1,
    batch_norm: bool,
    dropout_2d: float,
) -> list[nn.Module]:
    """``(convolution, norm, activation, dropout)`` for each of ``channels``, size kept.

    ``[B, in_channels, H, W] -> [B, channels[-1], H, W]``; with a ``stride``, which the first
    convolution takes, ``[B, channels[-1], ceil(H / stride), ceil(W / stride)]``.
    """
    layers: list[nn.Module] = []
    for outputs, kernel in zip(channels, kernel_sizes, strict=True):
        layers.append(
            nn.Conv2d(in_channels, outputs, kernel, stride, kernel // 2, bias=not batch_norm)
        )
        if batch_norm:
            layers.append(nn.BatchNorm2d(outputs))
        layers.append(make_activation(name))
        if dropout_2d:
            layers.append(nn.Dropout2d(dropout_2d))
        in_channels, stride = outputs, 1
    return layers


class PaddedShortcut(nn.Module):
    """The identity where the shape changes: every ``stride``-th pixel, the new channels zero.

    Option A of arXiv 1512.03385: ``[B, C, H, W] -> [B, C', ceil(H / stride), ceil(W / stride)]``.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.new_channels = out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.new_channels))

    def extra_repr(self) -> str:
        return f"stride={self.stride}, new_channels={self.new_channels}"


def make_shortcut(
    in_channels: int, out_channels: int, stride: int, kind: str, batch_norm: bool
) -> nn.Module:
    """The identity where the shape stays; else by ``kind``, one of ``SHORTCUTS``.

    A projection is a 1x1 convolution without bias, normalised with ``batch_norm``.
    """
    if kind not in SHORTCUTS:
        raise unknown("shortcut", kind, SHORTCUTS)
    if in_channels == out_channels and stride == 1:
        return nn.Identity()
    if kind == "identity":
        if out_channels < in_channels:
            raise UsageError(
                f"an identity shortcut cannot lose channels, got {in_channels} to {out_channels}: "
                "take a projection"
            )
        return PaddedShortcut(in_channels, out_channels, stride)
    projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
    if not batch_norm:
        return projection
    return nn.Sequential(projection, nn.BatchNorm2d(out_channels))


class ResidualBlock(nn.Module):
    """``activation(shortcut(x) + branch(x))``: ``[B, C, H, W] -> [B, channels[-1], H, W]``.

    The branch (arXiv 1512.03385, fig. 2) is ``(convolution, norm, activation, dropout of whole
    channels)`` for each of ``channels``, the last one without activation and dropout. Kernel sizes
    are odd. With a ``stride`` the result has ceil(H / stride) x ceil(W / stride) pixels.
    With ``extra_channels`` E the branch, not the shortcut, is also given ``seen [B, E, H, W]``.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        kernel_sizes: Sequence[int],
        *,
        stride: int = 1,
        activation: str = "relu",
        batch_norm: bool = True,
        dropout_2d: float = 0.0,
        shortcut: str = "projection",
        extra_channels: int = 0,
    ) -> None:
        super().__init__()
        if not channels or len(channels) != len(kernel_sizes):
            raise UsageError(
                "channels and kernel_sizes must be as many, one or more, "
                f"got {list(channels)} and {list(kernel_sizes)}"
            )
        for kernel in kernel_sizes:
            if kernel % 2 == 0:
                raise UsageError(f"kernel_sizes must be odd, got {kernel}")
        layers = convolutions(
            in_channels + extra_channels,
            channels,
            kernel_sizes,
            activation,
            stride=stride,
            batch_norm=batch_norm,
            dropout_2d=dropout_2d,
        )
        without_end = len(layers) - 1 - bool(dropout_2d)
        self.branch = nn.Sequential(*layers[:without_end])
        self.shortcut = make_shortcut(in_channels, channels[-1], stride, shortcut, batch_norm)
        self.activation = layers[without_end]

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        inputs = x if seen is None else torch.cat((x, seen), dim=1)  # [B, C + E, H, W]
        return self.activation(self.shortcut(x) + self.branch(inputs))


def bottleneck_block(
    channels: int,
    inner_channels: Sequence[int],
    kernel_sizes: Sequence[int],
    *,
    in_channels: int | None = None,
    activation: str = "relu",
    batch_norm: bool = True,
    dropout_2d: float = 0.0,
) -> ResidualBlock:
    """A ``ResidualBlock`` whose convolutions are within two of 1x1 (arXiv 1512.03385, fig. 5).

    ``[B, in_channels, H, W] -> [B, channels, H, W]``, ``in_channels`` being ``channels`` if not
    given: a 1x1 convolution to ``inner_channels[0]``, one with each of ``kernel_sizes`` to each of
    ``inner_channels``, a 1x1 convolution to ``channels``.
    """
    if not inner_channels:
        raise UsageError("inner_channels must be one or more, got none")
    return ResidualBlock(
        channels if in_channels is None else in_channels,
        [inner_channels[0], *inner_channels, channels],
        [1, *kernel_sizes, 1],
        activation=activation,
        batch_norm=batch_norm,
        dropout_2d=dropout_2d,
    )


class PreActivationBlock(nn.Module):
    """``shortcut(x) + branch(x)``, norms and activations first (arXiv 1603.05027, fig. 4e).

    ``[B, C, H, W] -> [B, channels, ceil(H / stride), ceil(W / stride)]``. The branch is ``(norm,
    activation, 3x3 convolution)`` twice. A projection starts from what the first convolution is
    given, an identity from ``x``. The ``first`` block of a network is given what is normalised and
    activated already.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int = 1,
        activation: str = "relu",
        shortcut: str = "identity",
        first: bool = False,
    ) -> None:
        super().__init__()
        self.before: nn.Module = nn.Identity()
        if not first:
            self.before = nn.Sequential(nn.BatchNorm2d(in_channels), make_activation(activation))
        self.branch = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            make_activation(activation),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
        )
        self.shortcut = make_shortcut(in_channels, channels, stride, shortcut, batch_norm=False)

    def forward(self, x: Tensor) -> Tensor:
        inputs = self.before(x)
        kept = inputs if isinstance(self.shortcut, nn.Conv2d) else x
        return self.shortcut(kept) + self.branch(inputs)
