"""The MLP and its depthwise convolution, against a loop over tokens."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from compact_vit.layers import MLP, EncoderLayer

# Letters: B batch, P prefix tokens, h x w token grid, N = P + h * w tokens, D width, M hidden width


def neighbours(x: Tensor, weight: Tensor, bias: Tensor, grid: tuple[int, int], prefix: int):
    """``[B, N, M] -> [B, N, M]``: what the convolution adds to each token, cell by cell."""
    height, width = grid
    reach = weight.shape[-1] // 2
    added = torch.zeros_like(x)
    for row in range(height):
        for column in range(width):
            total = bias.expand(len(x), -1)
            for down in range(-reach, reach + 1):
                for right in range(-reach, reach + 1):
                    r, c = row + down, column + right
                    if 0 <= r < height and 0 <= c < width:
                        tap = weight[:, 0, reach + down, reach + right]
                        total = total + tap * x[:, prefix + r * width + c]
            added[:, prefix + row * width + column] = total
    return added


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("grid", [(4, 3), (1, 6), (1, 1)])
@pytest.mark.parametrize("prefix", [0, 2])
def test_against_a_loop(kernel_size: int, grid: tuple[int, int], prefix: int) -> None:
    torch.manual_seed(0)
    mlp = MLP(6, 10, kernel_size=kernel_size).double()
    x = torch.randn(2, prefix + grid[0] * grid[1], 6, dtype=torch.float64)
    hidden = x @ mlp.fc1.weight.T + mlp.fc1.bias
    conv = mlp.conv.conv
    hidden = hidden + neighbours(hidden, conv.weight, conv.bias, grid, prefix)
    expected = F.gelu(hidden) @ mlp.fc2.weight.T + mlp.fc2.bias
    torch.testing.assert_close(mlp(x, grid), expected)


def test_without_a_kernel_every_token_is_for_itself() -> None:
    torch.manual_seed(0)
    mlp, x = MLP(6, 10), torch.randn(2, 9, 6)
    expected = F.linear(F.gelu(F.linear(x, mlp.fc1.weight, mlp.fc1.bias)), mlp.fc2.weight)
    torch.testing.assert_close(mlp(x), expected + mlp.fc2.bias)
    order = torch.randperm(9)
    torch.testing.assert_close(mlp(x)[:, order], mlp(x[:, order]))


def test_the_grid_is_asked_for() -> None:
    layer = EncoderLayer(8, 2, 1.0, mlp_kernel=3)
    with pytest.raises(ValueError, match=r"grid must be \(h, w\)"):
        layer(torch.randn(1, 4, 8))
    assert layer(torch.randn(1, 4, 8), (2, 2)).shape == (1, 4, 8)


def test_gradients() -> None:
    torch.manual_seed(0)
    mlp = MLP(2, 3, kernel_size=3).double()
    x = torch.randn(2, 7, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: mlp(x, (3, 2)), x)


def test_dropped_branches_convolve_the_rest() -> None:
    """Against masks, by which every branch is computed and some count for nothing."""
    torch.manual_seed(0)
    grid, rate = (2, 3), 0.25
    layer = EncoderLayer(8, 2, 1.0, mlp_kernel=3, drop_path=rate).train()
    x, state = torch.randn(16, 6, 8), torch.get_rng_state()
    y = layer(x, grid)
    torch.set_rng_state(state)
    masks = [torch.empty(16).bernoulli_(1 - rate).view(16, 1, 1) for _ in range(2)]
    assert not torch.equal(*masks)
    x = x + masks[0] / (1 - rate) * layer.attn(layer.norm1(x))
    x = layer.norm2(x)
    torch.testing.assert_close(y, x + masks[1] / (1 - rate) * layer.mlp(x, grid))
