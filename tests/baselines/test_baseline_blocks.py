"""Blocks against the same sums written out in plain torch, and against torchvision's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compact_vit import UsageError
from compact_vit.baselines import (
    PreActivationBlock,
    ResidualBlock,
    bottleneck_block,
    make_activation,
)
from compact_vit.baselines.blocks import PaddedShortcut
from compact_vit.baselines.config import ACTIVATIONS


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=generator())


def lived_in(module: nn.Module) -> nn.Module:
    """``module`` with norms that are not the identity, in evaluation mode."""
    draws = generator(1)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.bias, layer.running_mean):
                nn.init.normal_(tensor, 0.5, 0.5, generator=draws)
            nn.init.uniform_(layer.running_var, 0.5, 2.0, generator=draws)
    return module.eval()


def norm(x: Tensor, layer: nn.Module) -> Tensor:
    shape = (1, -1, 1, 1)
    deviation = (layer.running_var + 1e-5).sqrt()
    scaled = (x - layer.running_mean.view(shape)) / deviation.view(shape)
    return scaled * layer.weight.view(shape) + layer.bias.view(shape)


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [
        ("relu", lambda x: x.clamp(min=0)),
        ("leaky_relu", lambda x: x.where(x > 0, 0.01 * x)),
        ("elu", lambda x: x.where(x > 0, x.exp() - 1)),
        ("silu", lambda x: x / (1 + (-x).exp())),
        ("gelu", lambda x: x * (1 + (x / 2**0.5).erf()) / 2),
        ("tanh", lambda x: (x.exp() - (-x).exp()) / (x.exp() + (-x).exp())),
        ("sigmoid", lambda x: 1 / (1 + (-x).exp())),
    ],
)
def test_activations(name: str, by_hand) -> None:
    x = torch.linspace(-3, 3, 61, dtype=torch.float64)
    torch.testing.assert_close(make_activation(name)(x), by_hand(x))


def test_every_activation_is_made_and_no_other() -> None:
    assert [type(make_activation(name)).__name__ for name in ACTIVATIONS] == [
        "ReLU",
        "LeakyReLU",
        "ELU",
        "SiLU",
        "GELU",
        "Tanh",
        "Sigmoid",
    ]
    with pytest.raises(UsageError, match="unknown activation 'rlu': did you mean 'relu'"):
        make_activation("rlu")


@pytest.mark.parametrize("stride", [1, 2])
def test_the_padded_shortcut_takes_every_second_pixel_and_adds_zeros(stride: int) -> None:
    x = noise(2, 3, 5, 7)
    got = PaddedShortcut(3, 8, stride)(x)
    assert got.shape == (2, 8, 5, 7) if stride == 1 else (2, 8, 3, 4)
    for row in range(got.shape[2]):
        for column in range(got.shape[3]):
            kept = x[:, :, stride * row, stride * column]
            assert torch.equal(got[:, :3, row, column], kept)
    assert not got[:, 3:].any()
    assert not list(PaddedShortcut(3, 8, stride).parameters())


@pytest.mark.parametrize("shortcut", ["identity", "projection"])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_residual_block_written_out(stride: int, shortcut: str) -> None:
    block = lived_in(
        ResidualBlock(4, (6, 8, 8), (3, 5, 1), stride=stride, shortcut=shortcut, activation="tanh")
    )
    x = noise(2, 4, 9, 6)
    one, norm_one, _, two, norm_two, _, three, norm_three = block.branch
    y = norm(F.conv2d(x, one.weight, stride=stride, padding=1), norm_one).tanh()
    y = norm(F.conv2d(y, two.weight, padding=2), norm_two).tanh()
    y = norm(F.conv2d(y, three.weight), norm_three)
    if shortcut == "projection":
        project, norm_of_it = block.shortcut
        kept = norm(torch.einsum("oi,bihw->bohw", project.weight[:, :, 0, 0], x), norm_of_it)
        kept = kept[:, :, ::stride, ::stride]
    else:
        kept = torch.zeros_like(y)
        kept[:, :4] = x[:, :, ::stride, ::stride]
    torch.testing.assert_close(block(x), (kept + y).tanh())


def test_the_shortcut_is_the_input_itself_where_the_shape_stays() -> None:
    for shortcut in ("identity", "projection"):
        block = lived_in(ResidualBlock(4, (6, 4), (3, 3), shortcut=shortcut, batch_norm=False))
        one, _, two = block.branch
        assert one.bias is not None
        nn.init.zeros_(two.weight)
        nn.init.zeros_(two.bias)
        x = noise(2, 4, 5, 5)
        assert torch.equal(block(x), x.clamp(min=0))


def test_what_a_block_also_sees_reaches_its_branch_alone() -> None:
    block = lived_in(ResidualBlock(4, (6, 4), (3, 3), extra_channels=3))
    x, seen = noise(2, 4, 5, 5), noise(2, 3, 5, 5)
    first, norm_one, _, second, norm_two = block.branch
    y = F.conv2d(x, first.weight[:, :4], padding=1) + F.conv2d(seen, first.weight[:, 4:], padding=1)
    y = norm(F.conv2d(norm(y, norm_one).relu(), second.weight, padding=1), norm_two)
    torch.testing.assert_close(block(x, seen), (x + y).relu())


def test_torchvisions_blocks_are_the_same() -> None:
    from torchvision.models.resnet import BasicBlock, Bottleneck

    def downsample(inputs: int, outputs: int, stride: int) -> nn.Module:
        conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def assert_same(theirs: nn.Module, ours: nn.Module, x: Tensor) -> None:
        lived_in(theirs)
        # both list shortcuts last, and layers in the order of the forward pass
        for to, of in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
            to.copy_(of)
        torch.testing.assert_close(ours.eval()(x), theirs(x))

    assert_same(
        BasicBlock(8, 12, 2, downsample(8, 12, 2)),
        ResidualBlock(8, (12, 12), (3, 3), stride=2),
        noise(2, 8, 9, 9),
    )
    assert_same(Bottleneck(64, 16), bottleneck_block(64, [16], [3]), noise(2, 64, 7, 5))
    assert_same(
        Bottleneck(24, 16, 1, downsample(24, 64, 1)),
        bottleneck_block(64, [16], [3], in_channels=24),
        noise(2, 24, 6, 6),
    )


@pytest.mark.parametrize("shortcut", ["identity", "projection"])
@pytest.mark.parametrize("first", [False, True])
def test_a_pre_activation_block_written_out(shortcut: str, first: bool) -> None:
    block = lived_in(
        PreActivationBlock(4, 8, stride=2, shortcut=shortcut, activation="elu", first=first)
    )
    x = noise(2, 4, 7, 8)
    inputs = x if first else F.elu(norm(x, block.before[0]))
    one, between, _, two = block.branch
    y = F.elu(norm(F.conv2d(inputs, one.weight, stride=2, padding=1), between))
    y = F.conv2d(y, two.weight, padding=1)
    if shortcut == "projection":
        kept = F.conv2d(inputs, block.shortcut.weight, stride=2)
    else:
        kept = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, 4))
    torch.testing.assert_close(block(x), kept + y)


def test_whole_channels_are_dropped() -> None:
    torch.manual_seed(0)
    block = ResidualBlock(4, (64, 4), (3, 3), dropout_2d=0.5, batch_norm=False).train()
    assert [type(layer).__name__ for layer in block.branch] == [
        "Conv2d",
        "ReLU",
        "Dropout2d",
        "Conv2d",
    ]
    inner = block.branch[:3](noise(8, 4, 6, 6) + 10)
    alive = inner.flatten(2).any(dim=2)
    assert 0.3 < 1 - alive.float().mean() < 0.7
    assert type(block.activation) is nn.ReLU


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: ResidualBlock(4, (), ()), "channels and kernel_sizes must be as many, one or"),
        (lambda: ResidualBlock(4, (4,), (3, 3)), r"got \[4\] and \[3, 3\]"),
        (lambda: ResidualBlock(4, (4,), (2,)), "kernel_sizes must be odd, got 2"),
        (lambda: ResidualBlock(4, (8,), (3,), shortcut="pad"), "unknown shortcut 'pad': choose"),
        (
            lambda: ResidualBlock(4, (2,), (3,), shortcut="identity"),
            "an identity shortcut cannot lose channels, got 4 to 2: take a projection",
        ),
        (lambda: bottleneck_block(4, [], []), "inner_channels must be one or more, got none"),
    ],
)
def test_what_cannot_be_built(wrong, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        wrong()
