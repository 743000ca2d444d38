"""Parameters of every named baseline, by hand and as published."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from compact_vit import create_model, list_models
from compact_vit.baselines import named_baselines

#: The CIFAR-10 table of arXiv 1512.03385 in millions, and the counts that the formula gives.
PUBLISHED = {
    20: (0.27, 269_722),
    32: (0.46, 464_154),
    44: (0.66, 658_586),
    56: (0.85, 853_018),
    110: (1.7, 1_727_962),
}


def count(name: str, **options: Any) -> int:
    with torch.device("meta"):
        model = create_model(name, **options)
    return sum(parameter.numel() for parameter in model.parameters())


def conv(inputs: int, outputs: int, kernel: int = 3, *, bias: bool = True) -> int:
    return kernel * kernel * inputs * outputs + outputs * bias


def normed(inputs: int, outputs: int, kernel: int = 3) -> int:
    """A convolution without bias, and its norm's scales and shifts."""
    return conv(inputs, outputs, kernel, bias=False) + 2 * outputs


def linears(*widths: int) -> int:
    return sum(before * after + after for before, after in itertools.pairwise(widths))


def cifar_resnet(depth: int, *, projected: bool = False) -> int:
    n = (depth - 2) // 6
    total = normed(3, 16) + 2 * n * normed(16, 16) + linears(64, 10)
    for before, width in ((16, 32), (32, 64)):
        total += normed(before, width) + (2 * n - 1) * normed(width, width)
        total += normed(before, width, 1) * projected
    return total


def block_16_32_16(extra: int) -> int:
    return normed(16 + extra, 32) + normed(32, 16)


#: After the encoder's three pools 32 pixels are 4.
ENCODER_HEAD = linears(128 * 4 * 4, 10)
AFTER_BLOCKS = normed(16, 32) + normed(32, 64) + normed(64, 128) + ENCODER_HEAD

BY_HAND = {
    "mlp": linears(3072, 256, 256, 256, 10),
    # 3072 to 256, eight of 256 to 256, 256 to 10
    "mlp_naive": (3072 * 256 + 256) + 8 * (256 * 256 + 256) + (256 * 10 + 10),
    "mlp_halving": linears(3072, 1536, 768, 384, 192, 96, 48, 24, 12, 10),
    "mlp_quartering": linears(3072, 768, 192, 48, 12, 10),
    "mlp_alternating": linears(3072, 768, 384, 96, 48, 12, 10),
    "conv_encoder": conv(3, 32) + conv(32, 64) + conv(64, 128) + ENCODER_HEAD,
    "conv_classifier": conv(3, 32) + conv(32, 32) + conv(32, 64) + conv(64, 64)
    + linears(64 * 8 * 8, 100, 10),
    "residual_classifier": normed(3, 32) + normed(32, 32) + normed(3, 32, 1)
    + normed(32, 64) + normed(64, 64) + normed(32, 64, 1)
    + linears(64 * 8 * 8, 100, 10),
    **{f"rn_{n}": conv(3, 16, 1) + n * block_16_32_16(0) + AFTER_BLOCKS for n in (1, 3, 5)},
    **{f"rr_{n}": conv(3, 16, 1) + n * block_16_32_16(3) + AFTER_BLOCKS for n in (1, 3, 5)},
    **{f"resnet_{depth}_cifar": cifar_resnet(depth) for depth in PUBLISHED},
}  # fmt: skip


@pytest.mark.parametrize("name", named_baselines())
def test_every_named_baseline_by_hand(name: str) -> None:
    assert count(name) == BY_HAND[name]


def test_no_baseline_is_without_its_hand_count() -> None:
    assert list(BY_HAND) == named_baselines()
    assert set(BY_HAND) <= set(list_models())


def test_figures_in_full() -> None:
    assert count("mlp_naive") == 1_315_594
    assert count("conv_classifier") == 476_278


@pytest.mark.parametrize("depth", PUBLISHED)
def test_published_residual_networks(depth: int) -> None:
    millions, exact = PUBLISHED[depth]
    got = count(f"resnet_{depth}_cifar")
    assert got == exact
    assert f"{got / 1e6:.{len(str(millions)) - 2}f}" == str(millions)


def test_shortcut_forms() -> None:
    assert count("resnet_20_cifar", shortcut="projection") == cifar_resnet(20, projected=True)
    assert count("resnet_20_cifar", shortcut="projection") == 272_474
    # one norm fewer in each stage's first block, one more at the end; none after projections
    assert count("resnet_20_cifar", pre_activation=True) == 269_722
    both = count("resnet_20_cifar", pre_activation=True, shortcut="projection")
    assert both == 269_722 + 16 * 32 + 32 * 64
    assert count("resnet_38_cifar") == cifar_resnet(38)


def test_classes_channels_and_sizes() -> None:
    assert count("resnet_20_cifar", num_classes=100) == 269_722 + 64 * 90 + 90
    assert count("resnet_20_cifar", num_classes=0) == 269_722 - 650
    assert count("resnet_20_cifar", in_chans=1) == 269_722 - 2 * 9 * 16
    assert count("resnet_20_cifar", img_size=64) == 269_722
    assert count("mlp_naive", img_size=28, in_chans=1) == linears(784, *(256,) * 9, 10)
    assert count("mlp_halving", num_classes=100) == linears(3072, 1536, 768, 384, 192, 100)
    assert count("mlp_halving", num_classes=0) == linears(3072, 1536, 768, 384, 192, 96, 48, 24, 12)
    assert count("conv_encoder", img_size=(33, 47)) - count("conv_encoder") == 128 * (20 - 16) * 10
    assert count("mlp", widths=(), num_classes=7) == linears(3072, 7)


def test_norms_take_the_place_of_biases() -> None:
    assert count("mlp", batch_norm=True) - count("mlp") == 3 * 256
    assert count("conv_classifier", batch_norm=True) - count("conv_classifier") == 192
    assert count("residual_classifier", batch_norm=False) == (
        conv(3, 32) + conv(32, 32) + conv(3, 32, 1, bias=False)
        + conv(32, 64) + conv(64, 64) + conv(32, 64, 1, bias=False)
        + linears(64 * 8 * 8, 100, 10)
    )  # fmt: skip


def test_filters_layers_pools_and_hidden_widths() -> None:
    # K = (8, 16), L = 3: six convolutions; P = 4: one pool, two convolutions left over; M = 2
    options = {"filters": (8, 16), "layers_per_block": 3, "pool_every": 4, "hidden": (50, 20)}
    convolutions = conv(3, 8) + 2 * conv(8, 8) + conv(8, 16) + 2 * conv(16, 16)
    assert count("conv_classifier", **options) == convolutions + linears(16 * 256, 50, 20, 10)
    blocks = normed(3, 8) + 2 * normed(8, 8) + normed(8, 16) + normed(3, 16, 1)
    blocks += 2 * normed(16, 16)
    assert count("residual_classifier", **options) == blocks + linears(16 * 256, 50, 20, 10)
    # no pool at all where P is more than N
    far = {"filters": (4,), "layers_per_block": 1, "pool_every": 2, "hidden": (), "kernel_size": 5}
    assert count("conv_classifier", **far) == conv(3, 4, 5) + linears(4 * 1024, 10)


def test_bottlenecks() -> None:
    narrow = normed(3, 8, 1) + 2 * normed(8, 8) + normed(8, 32, 1) + normed(3, 32, 1)
    narrow += normed(32, 16, 1) + 2 * normed(16, 16) + normed(16, 64, 1) + normed(32, 64, 1)
    assert count("residual_classifier", bottleneck=4) == narrow + linears(4096, 100, 10)
