"""Tensors scaled to cover a size: against PIL, for every kind of shape."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from compact_vit.photographs import fitted
from compact_vit.resampling import covered

#: odd, even, one pixel; growing and shrinking, tall and wide, once every two of them are paired
SIDES = (1, 2, 7, 32, 45, 100)
SHAPES = list(itertools.product(SIDES, SIDES))


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng([height, width]).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("size", SHAPES, ids=lambda size: "x".join(map(str, size)))
def test_bytes_are_pils_to_a_level(size) -> None:
    means = []
    for shape in SHAPES:
        pixels = picture(*shape)
        image = Image.fromarray(pixels)
        wanted = np.asarray(ImageOps.fit(image, size[::-1], Image.Resampling.BILINEAR))
        assert np.array_equal(fitted(image, *size), wanted), shape
        got = covered(torch.from_numpy(pixels).permute(2, 0, 1), size)
        assert got.dtype == torch.uint8
        difference = np.abs(got.permute(1, 2, 0).numpy().astype(int) - wanted)
        assert difference.max() <= 1, shape
        means.append(difference.mean())
    assert np.mean(means) < 0.5


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", SHAPES, ids=lambda size: "x".join(map(str, size)))
def test_floats_are_pils(size, method) -> None:
    """PIL rounds none of a picture of floats, of which it knows gray ones."""
    for shape in SHAPES:
        levels = picture(*shape)[..., 0].astype(np.float32) / 255
        kernel = Image.Resampling[method.upper()]
        wanted = np.asarray(ImageOps.fit(Image.fromarray(levels), size[::-1], kernel))
        got = covered(torch.from_numpy(levels)[None, None], size, method)
        assert (got.shape, got.dtype) == ((1, 1, *size), torch.float32)
        assert np.abs(got[0, 0].numpy() - wanted).max() < 1e-4, shape


@pytest.mark.parametrize("size", [(7, 9), (33, 31), (101, 45)])
def test_the_nearest_pixel_is_pils(size) -> None:
    """Of shapes of which no pixel's centre lies on an edge, where either is the nearest."""
    for shape in ((33, 41), (99, 45)):
        pixels = picture(*shape)
        wanted = ImageOps.fit(Image.fromarray(pixels), size[::-1], Image.Resampling.NEAREST)
        got = covered(torch.from_numpy(pixels).permute(2, 0, 1), size, "nearest")
        assert np.array_equal(got.permute(1, 2, 0), wanted)


def test_a_picture_of_the_size_is_left_as_it_is() -> None:
    pixels = torch.from_numpy(picture(32, 45))[None, ..., 0]
    assert covered(pixels, (32, 45)) is pixels


def test_bicubic_bytes_do_not_wrap() -> None:
    edge = torch.zeros(1, 8, 8, dtype=torch.uint8)
    edge[..., 4:] = 255
    row = covered(edge, (32, 32), "bicubic")[0, 0].int()
    assert row[:8].max() == 0
    assert row[-8:].min() == 255
    assert row.diff().min() >= 0


def test_autocast_rounds_nothing() -> None:
    pixels = torch.from_numpy(picture(64, 40)).permute(2, 0, 1) / 255
    with torch.autocast("cpu", torch.bfloat16):
        got = covered(pixels, (32, 32))
    assert torch.equal(got, covered(pixels, (32, 32)))
