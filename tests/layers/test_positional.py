"""Positions: the sine formula in plain arithmetic, and what resizing must keep."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F

from compact_vit.layers import PositionalEmbedding, resize_positions, sine_positions


@pytest.mark.parametrize(("tokens", "width"), [(5, 4), (64, 128), (3, 7)])
def test_sine_positions_by_the_formula(tokens: int, width: int) -> None:
    table = sine_positions(tokens, width)
    assert table.shape == (1, tokens, width)
    for position in range(tokens):
        for channel in range(width):
            angle = position / 10000 ** (2 * (channel // 2) / width)
            expected = math.cos(angle) if channel % 2 else math.sin(angle)
            assert table[0, position, channel].item() == pytest.approx(expected, abs=1e-5)


def test_sine_positions_are_rounded_once() -> None:
    """By plain arithmetic in float64, the last of which turns the fastest and by most."""
    table = sine_positions(65_536, 256)
    assert table.dtype == torch.float32
    for position in (1, 4_099, 65_535):
        angles = [position / 10000 ** (2 * (channel // 2) / 256) for channel in range(256)]
        wanted = [math.cos(a) if i % 2 else math.sin(a) for i, a in enumerate(angles)]
        off = table[0, position].double() - torch.tensor(wanted, dtype=torch.float64)
        assert off.abs().max() < 2**-24 + 1e-9  # half of float32's last place below 1


@pytest.fixture(params=[torch.float64, torch.bfloat16])
def default_dtype(request: pytest.FixtureRequest) -> Iterator[torch.dtype]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(before)


def test_sine_positions_are_exact_whatever_torchs_default_is(default_dtype: torch.dtype) -> None:
    test_sine_positions_by_the_formula(64, 128)
    exact = sine_positions(64, 128)
    table = PositionalEmbedding("sine", 128, (8, 8)).table
    assert table.dtype == default_dtype  # as the weights beside it
    assert torch.equal(table, exact.to(default_dtype))


def test_the_same_grid_is_left_alone() -> None:
    table = torch.randn(1, 13, 8)
    assert resize_positions(table, (3, 4), (3, 4), 1) is table


@pytest.mark.parametrize("new", [(8, 8), (2, 2), (5, 3), (4, 12)])
def test_a_constant_table_stays_constant_and_prefix_tokens_stay(new: tuple[int, int]) -> None:
    prefix, value = torch.randn(1, 2, 8), torch.randn(8)
    table = torch.cat((prefix, value.expand(1, 16, 8)), dim=1)
    out = resize_positions(table, (4, 4), new, 2)
    assert out.shape == (1, 2 + new[0] * new[1], 8)
    assert torch.equal(out[:, :2], prefix)
    torch.testing.assert_close(out[:, 2:], value.expand(1, new[0] * new[1], 8))


@pytest.mark.parametrize(("old", "new"), [((8, 8), (16, 16)), ((4, 8), (6, 16)), ((9, 6), (6, 6))])
def test_ramps_along_height_and_width_are_kept(old: tuple[int, int], new: tuple[int, int]) -> None:
    def ramps(height: int, width: int) -> torch.Tensor:
        """Channel 0 rises 0..1 down the picture, channel 1 across it, at the tokens' centres."""
        down = ((torch.arange(height) + 0.5) / height).view(-1, 1).expand(height, width)
        across = ((torch.arange(width) + 0.5) / width).expand(height, width)
        return torch.stack((down, across), dim=-1).reshape(1, height * width, 2)

    out = resize_positions(ramps(*old), old, new)
    # exact but near the border, where the interpolation has nothing to look at beyond it
    torch.testing.assert_close(out, ramps(*new), atol=0.04, rtol=0)


def test_shrinking_averages() -> None:
    """Sampled alone, every third of 9 x 9 alternating values would be 1 or -1."""
    sign = 1.0 - 2.0 * (torch.arange(9) % 2)
    table = (sign[:, None] * sign).view(1, 81, 1)
    assert resize_positions(table, (9, 9), (3, 3)).abs().max() < 0.2


def test_resizing_keeps_the_table_s_precision() -> None:
    table = torch.randn(1, 16, 8, dtype=torch.bfloat16)
    assert resize_positions(table, (4, 4), (2, 2)).dtype == torch.bfloat16


def test_a_table_of_float64_is_resized_in_it() -> None:
    table = torch.randn(1, 16, 8, dtype=torch.float64)
    grid = table.unflatten(1, (4, 4)).permute(0, 3, 1, 2)
    wanted = F.interpolate(grid, size=(6, 5), mode="bicubic", antialias=True)
    resized = resize_positions(table, (4, 4), (6, 5))
    assert torch.equal(resized, wanted.flatten(2).transpose(1, 2))


def test_gradients_reach_a_resized_table() -> None:
    positions = PositionalEmbedding("learnable", 8, (4, 4), 1)
    positions(torch.zeros(2, 1 + 6, 8), (3, 2)).square().sum().backward()
    assert (positions.table.grad != 0).any(dim=-1).all()


def test_positions_are_added() -> None:
    positions, x = PositionalEmbedding("learnable", 8, (2, 3), 1), torch.randn(4, 7, 8)
    assert torch.equal(positions(x, (2, 3)), x + positions.table)


def test_learnt_tables_start_with_the_published_spread() -> None:
    torch.manual_seed(0)
    table = PositionalEmbedding("learnable", 128, (16, 16)).table
    assert table.std().item() == pytest.approx(0.2, rel=0.02)


def test_sine_is_fixed_and_computed_anew_for_another_grid() -> None:
    positions = PositionalEmbedding("sine", 8, (2, 2), 1)
    assert not positions.table.requires_grad
    assert torch.equal(positions.table, sine_positions(5, 8))
    assert torch.equal(positions.at((3, 5)), sine_positions(16, 8))
    assert positions.double().at((3, 5)).dtype == torch.float64


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match="'learnable' or 'sine', got 'cosine'"):
        PositionalEmbedding("cosine", 8, (2, 2))
