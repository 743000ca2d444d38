"""Masked blocks: counted by loops, their places and their pairs by chi-square."""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy.stats import chi2, chisquare
from torch import Tensor

from compact_vit.data.augment import Compose, Normalize, RandomMask
from compact_vit.errors import UsageError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int) -> Tensor:
    """Pictures without a zero, so that every 0 is a mask's."""
    return torch.randn(shape, generator=generator(5)).abs() + 0.1


def blocks_of(picture: Tensor, block: int) -> list[Tensor]:
    """The blocks ``[C,b,b]`` of a picture, row by row; those at the edge are smaller."""
    _, height, width = picture.shape
    corners = itertools.product(range(0, height, block), range(0, width, block))
    return [picture[:, y : y + block, x : x + block] for y, x in corners]


@pytest.mark.parametrize("block", [1, 2, 4])
@pytest.mark.parametrize("ratio", [0.5, 0.7, 0.9])
@pytest.mark.parametrize(
    ("channels", "height", "width"), [(3, 32, 32), (1, 28, 28), (4, 13, 18), (3, 5, 1)]
)
def test_whole_blocks_are_masked_and_as_many_as_asked(block, ratio, channels, height, width):
    images = noise(6, channels, height, width)
    kept = images.clone()
    got = RandomMask(block, ratio)(images, generator(1))
    assert torch.equal(images, kept)
    for before, after in zip(images, got, strict=True):
        old, new = blocks_of(before, block), blocks_of(after, block)
        masked = [not one.any() for one in new]  # in all channels
        assert sum(masked) == round(ratio * len(masked))
        for was, now, gone in zip(old, new, masked, strict=True):
            assert gone or torch.equal(now, was)


def test_the_ends_mask_nothing_and_everything():
    images = noise(3, 3, 8, 8)
    assert torch.equal(RandomMask(2, 0)(images, generator()), images)
    assert not RandomMask(2, 1.0)(images, generator()).any()
    assert torch.equal(RandomMask(2, 1e-3)(images, generator()), images)  # none of 16, rounded


def test_values_that_are_no_numbers_are_masked_too():
    images = torch.full((2, 1, 4, 4), torch.nan)
    assert (RandomMask(2, 0.5)(images, generator()) == 0).sum().item() == 2 * 2 * 4


def test_every_choice_of_blocks_is_equally_likely():
    """2 of 6 blocks: 15 choices. That each place, and each pair, is as frequent follows."""
    got = RandomMask(2, 1 / 3)(noise(3000, 1, 4, 6), generator(2))
    masked = (got[:, 0, ::2, ::2] == 0).flatten(1)  # [B,6]
    choices = [frozenset(row.nonzero().flatten().tolist()) for row in masked]
    wanted = [frozenset(pair) for pair in itertools.combinations(range(6), 2)]
    assert chisquare([choices.count(pair) for pair in wanted]).pvalue > 0.001
    assert sum(choices.count(pair) for pair in wanted) == 3000


def test_every_place_of_a_large_picture_is_equally_likely():
    """The half of 256 blocks a picture: a count's variance is that of 2000 coins."""
    got = RandomMask(2, 0.5)(noise(2000, 1, 32, 32), generator(3))
    counts = (got == 0)[:, 0, ::2, ::2].sum(0).flatten().double()  # [256]
    assert counts.sum().item() == 2000 * 128
    # the counts of a picture are bound by their sum, hence 255 of 256
    statistic = (counts - 1000).square().sum().item() / 500 * 255 / 256
    assert 0.001 < chi2.sf(statistic, 255) < 0.999


def test_samples_are_independent():
    """Whether a block is masked says nothing about the same block of the next picture."""
    got = RandomMask(4, 0.5)(noise(4000, 1, 8, 8), generator(4))
    masked = (got == 0)[:, 0, ::4, ::4].flatten(1)  # [B,4]
    for place in range(4):
        pairs = (2 * masked[::2, place] + masked[1::2, place].int()).bincount(minlength=4)
        assert chisquare(pairs.numpy()).pvalue > 0.001


def test_same_seed_same_bits_other_seed_other_bits():
    images, mask = noise(8, 3, 32, 32), RandomMask(2, 0.7)
    first, again, other = (mask(images, generator(seed)) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    state = generator(7)
    assert not torch.equal(mask(images, state), mask(images, state))


def test_a_strided_batch_and_other_types_are_masked_alike():
    images, mask = noise(8, 3, 12, 10), RandomMask(4, 0.5)
    want = mask(images, generator())
    strided = mask(images.contiguous(memory_format=torch.channels_last), generator())
    assert torch.equal(strided, want)
    for dtype in (torch.float64, torch.bfloat16):
        got = mask(images.to(dtype), generator())
        assert torch.equal(got, want.to(dtype))
        assert got.dtype == dtype


def test_it_follows_normalisation():
    images = torch.randint(256, (4, 3, 8, 8), generator=generator(), dtype=torch.uint8)
    normalize = Normalize((0.5, 0.403, 0.303), (0.2, 0.3, 0.4))  # no level is the mean
    got = Compose([normalize, RandomMask(4, 0.5)])(images, generator(1))
    assert torch.equal(got, RandomMask(4, 0.5)(normalize(images), generator(1)))
    assert (got == 0).sum().item() == 4 * 3 * 2 * 16


class Anywhere:
    """The generator of a device that has none."""

    device = torch.device("meta")


def test_no_value_is_waited_for(monkeypatch):
    """The device "meta" has no values: to ask for one fails, and so does another device's."""
    drawn = torch.rand
    monkeypatch.setattr(torch, "rand", lambda shape, generator, **options: drawn(shape, **options))
    got = RandomMask(4, 0.7)(noise(4, 3, 30, 32).to("meta"), Anywhere())
    assert (got.device.type, got.dtype, got.shape) == ("meta", torch.float32, (4, 3, 30, 32))


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda x: RandomMask(0, 0.5), "block must be a whole number >= 1, got 0"),
        (lambda x: RandomMask(2.0, 0.5), "block must be a whole number >= 1, got 2.0"),
        (lambda x: RandomMask(2, 1.5), "ratio must be a number from 0 to 1, got 1.5"),
        (lambda x: RandomMask(2, -0.5), "ratio must be a number from 0 to 1, got -0.5"),
        (lambda x: RandomMask(2, float("nan")), "ratio must be a number from 0 to 1, got nan"),
        (lambda x: RandomMask(2, "0.5"), "ratio must be a number from 0 to 1, got '0.5'"),
        (
            lambda x: RandomMask(16, 0.5)(x, generator()),
            "block must be smaller than a side of the 12x16 pictures, got 16",
        ),
        (
            lambda x: RandomMask(2, 0.5)(x.byte(), generator()),
            "images must be a non-empty float batch [B, C, H, W], got uint8 [2, 3, 12, 16]",
        ),
        (
            lambda x: RandomMask(2, 0.5)(x.to("meta"), generator()),
            "generator must live on the images' device meta, got cpu; "
            "make it with torch.Generator('meta')",
        ),
    ],
)
def test_wrong_use_is_told_in_one_line(ask, words):
    with pytest.raises(UsageError) as caught:
        ask(noise(2, 3, 12, 16))
    assert str(caught.value) == words


def test_a_block_as_long_as_one_side_is_a_stripe():
    got = RandomMask(12, 0.5)(noise(40, 3, 12, 16), generator())
    assert set((got == 0).all(2)[:, 0].sum(1).tolist()) == {4, 12}
