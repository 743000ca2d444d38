"""Tokenizers: the token grid by arithmetic against what the convolutions give."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from compact_vit.layers import ConvTokenizer, PatchTokenizer

SIZES = [(32, 32), (28, 28), (17, 17), (33, 20), (9, 64), (7, 8), (50, 31)]


def conv_maps(tokenizer: ConvTokenizer, x: torch.Tensor) -> torch.Tensor:
    """The published order: convolution, ReLU, max pool."""
    for conv in tokenizer.convs:
        x = F.max_pool2d(F.relu(conv(x)), 3, 2, 1)
    return x


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 7, 9])
@pytest.mark.parametrize("convs", [1, 2, 3])
def test_grid_of_convolutions(size: tuple[int, int], kernel: int, convs: int) -> None:
    tokenizer = ConvTokenizer(1, 4, kernel, convs, hidden_dim=2)
    maps = conv_maps(tokenizer, torch.zeros(1, 1, *size))
    assert tokenizer.grid_size(*size) == tuple(maps.shape[2:])
    assert tokenizer(torch.zeros(1, 1, *size)).shape == (1, maps.shape[2] * maps.shape[3], 4)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("patch", [1, 2, 3, 4, 7])
def test_grid_of_patches(size: tuple[int, int], patch: int) -> None:
    tokenizer = PatchTokenizer(1, 4, patch)
    maps = tokenizer.proj(torch.zeros(1, 1, *size))
    assert tokenizer.grid_size(*size) == tuple(maps.shape[2:])


@pytest.mark.parametrize("kernel", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("convs", [0, 1, 2, 3])
def test_a_picture_moved_by_the_reduction_moves_its_tokens_by_one(kernel: int, convs: int) -> None:
    torch.manual_seed(0)
    tokenizer = ConvTokenizer(1, 4, kernel, convs) if convs else PatchTokenizer(1, 4, kernel)
    step = tokenizer.reduction
    x = torch.randn(1, 1, 9, 10 * step)
    before, after = tokenizer(x)[0], tokenizer(x.roll(step, dims=3))[0]  # [N, D]
    # of the first row, in the middle, where no border is seen
    torch.testing.assert_close(after[6], before[5])
    assert not torch.allclose(after[5], before[5])


@pytest.mark.parametrize(
    ("kernel", "convs", "side", "tokens"), [(3, 1, 32, 256), (3, 2, 32, 64), (7, 2, 224, 196)]
)
def test_published_numbers_of_tokens(kernel: int, convs: int, side: int, tokens: int) -> None:
    height, width = ConvTokenizer(3, 4, kernel, convs).grid_size(side, side)
    assert height * width == tokens


def test_patches_are_one_linear_map_in_row_major_order() -> None:
    torch.manual_seed(0)
    tokenizer, x = PatchTokenizer(2, 5, 3).double(), torch.randn(1, 2, 7, 9, dtype=torch.float64)
    tokens = tokenizer(x)
    assert tokens.shape == (1, 6, 5)  # 2 x 3 patches; the seventh row is not seen
    weight = tokenizer.proj.weight.flatten(1)
    for row in range(2):
        for column in range(3):
            patch = x[0, :, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3].flatten()
            expected = weight @ patch + tokenizer.proj.bias
            torch.testing.assert_close(tokens[0, 3 * row + column], expected)


@pytest.mark.parametrize(("kernel", "convs"), [(3, 1), (3, 2), (7, 2)])
def test_relu_after_the_pool_is_relu_before_it(kernel: int, convs: int) -> None:
    torch.manual_seed(0)
    ours, theirs = (ConvTokenizer(3, 8, kernel, convs, hidden_dim=4).double() for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 24, 18, dtype=torch.float64, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    got = ours(x)
    expected = conv_maps(theirs, y).flatten(2).transpose(1, 2)
    torch.testing.assert_close(got, expected)
    into = torch.randn_like(got)
    got.backward(into)
    expected.backward(into)
    torch.testing.assert_close(x.grad, y.grad)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_hooks_have_what_modules_gave(batch_norm: bool) -> None:
    torch.manual_seed(0)
    tokenizer = ConvTokenizer(3, 8, 3, 2, hidden_dim=4, batch_norm=batch_norm)
    seen = []
    for module in tokenizer.modules():
        module.register_full_backward_hook(lambda *_: None)
        module.register_forward_hook(lambda *given: seen.append((given[2], given[2].clone())))
    tokenizer(torch.randn(2, 3, 16, 16, requires_grad=True)).sum().backward()
    assert len(seen) == 5
    for given, copied in seen:
        assert torch.equal(given, copied)


def test_convolutions_have_the_published_widths_and_no_bias() -> None:
    shapes = [tuple(p.shape) for p in ConvTokenizer(3, 256, 3, 3).parameters()]
    assert shapes == [(64, 3, 3, 3), (64, 64, 3, 3), (256, 64, 3, 3)]


def test_batch_norm_stands_between_pool_and_relu() -> None:
    torch.manual_seed(0)
    tokenizer = ConvTokenizer(3, 8, 3, 2, hidden_dim=4, batch_norm=True).double()
    x = torch.randn(5, 3, 12, 16, dtype=torch.float64)
    expected = x
    for conv in tokenizer.convs:
        pooled = F.max_pool2d(conv(expected), 3, 2, 1)
        mean = pooled.mean(dim=(0, 2, 3), keepdim=True)
        variance = pooled.var(dim=(0, 2, 3), correction=0, keepdim=True)
        expected = ((pooled - mean) / (variance + 1e-5).sqrt()).relu()
    torch.testing.assert_close(tokenizer(x), expected.flatten(2).transpose(1, 2))


def test_an_untrained_batch_norm_changes_nothing_in_evaluation() -> None:
    torch.manual_seed(0)
    plain, normed = ConvTokenizer(3, 8, 3, 2), ConvTokenizer(3, 8, 3, 2, batch_norm=True).eval()
    normed.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(2, 3, 16, 16)
    # its running variance is 1, and 1e-5 is added to that
    torch.testing.assert_close(normed(x), plain(x), rtol=2e-5, atol=1e-5)
