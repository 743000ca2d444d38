"""Crops, flips, normalisation, erasing and mixing against torchvision, scipy and hand counts."""

from __future__ import annotations

import pytest
import torch
import torchvision.transforms as reference
import torchvision.transforms.functional as F
from scipy.stats import beta, chisquare, ks_2samp, kstest
from torch import Tensor

from compact_vit.data.augment import (
    Mix,
    Normalize,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
)
from compact_vit.data.augment.geometry import resized_crop
from compact_vit.data.augment.mixing import draw_beta


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(count: int, channels: int = 3, height: int = 24, width: int = 32) -> Tensor:
    noise = torch.rand(count, channels, height, width, generator=generator(5)) * 400 - 60
    return torch.nn.functional.avg_pool2d(noise, 3, 1, 1).clamp(0, 255).to(torch.uint8)


def counted(got: Tensor, outcomes: list[Tensor]) -> list[int]:
    keys = {outcome.numpy().tobytes(): i for i, outcome in enumerate(outcomes)}
    assert len(keys) == len(outcomes)
    counts = [0] * len(outcomes)
    for image in got:
        counts[keys[image.numpy().tobytes()]] += 1
    return counts


@pytest.mark.parametrize("channels", [3, 1])
def test_crops_are_torchvisions_and_uniform(channels):
    image = smooth(1, channels)[0]
    padded = F.pad(image, [2] * 4)
    outcomes = [F.crop(padded, y, x, 24, 32) for y in range(5) for x in range(5)]
    got = RandomCrop(2)(image.expand(2000, -1, -1, -1), generator(1))
    assert chisquare(counted(got, outcomes)).pvalue > 0.001
    assert torch.equal(RandomCrop(0)(image.unsqueeze(0), generator()), image.unsqueeze(0))


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_flips_are_torchvisions_and_as_frequent_as_asked(p):
    images = smooth(2000)
    got = RandomHorizontalFlip(p)(images, generator(2))
    flipped = (got == F.hflip(images)).flatten(1).all(1)
    kept = (got == images).flatten(1).all(1)
    assert (flipped ^ kept).all()
    share = flipped.double().mean().item()
    assert abs(share - p) <= 3.3 * (p * (1 - p) / 2000) ** 0.5


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("channels", [3, 1])
def test_resized_crop_is_torchvisions(interpolation, channels):
    """Float sums in another order: at most one level apart where the exact value is half-way."""
    images = smooth(60, channels)
    draws = torch.rand(4, 60, generator=generator(3))
    h, w = (draws[0] * 24).ceil(), (draws[1] * 32).ceil()
    top, left = (draws[2] * (25 - h)).floor(), (draws[3] * (33 - w)).floor()
    got = resized_crop(images, top, left, h, w, interpolation)
    mode = F.InterpolationMode(interpolation)
    boxes = torch.stack([top, left, h, w], 1).int().tolist()
    want = torch.stack(
        [
            F.resized_crop(image, *box, [24, 32], mode, antialias=True)
            for image, box in zip(images, boxes, strict=True)
        ]
    )
    difference = (got.int() - want.int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() <= 0.001


@pytest.mark.parametrize(
    ("scale", "ratio", "size"),
    [((0.08, 1.0), (3 / 4, 4 / 3), (24, 32)), ((0.5, 0.9), (0.9, 1.1), (32, 32))],
)
def test_resized_crop_boxes_are_distributed_as_torchvisions(scale, ratio, size):
    images = torch.zeros(2000, 1, *size, dtype=torch.uint8)
    transform = RandomResizedCrop(scale, ratio)
    ours = torch.stack(transform._boxes(images, generator(4)), 1)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        theirs = torch.tensor(
            [
                reference.RandomResizedCrop.get_params(images[0], list(scale), list(ratio))
                for _ in range(2000)
            ]
        )
    for side in range(4):  # top, left, height, width
        assert ks_2samp(ours[:, side].numpy(), theirs[:, side].numpy()).pvalue > 0.001


def test_the_smallest_box_is_one_pixel():
    images, whole = smooth(50), [0.0, 0.0, 24.0, 32.0]
    top, left, h, w = RandomResizedCrop((1e-3, 2e-3), (0.9, 1.1))._boxes(images, generator())
    assert (h == 1).all()
    assert (w == 1).all()
    assert len(top.unique()) > 12
    assert len(left.unique()) > 12
    none = RandomResizedCrop((1e-6, 2e-6), (0.5, 4 / 3))._boxes(images, generator())
    assert torch.stack(none, 1).tolist() == [whole] * 50
    for ratio, central in ((4, [8, 0, 8, 32]), (1 / 4, [0, 13, 24, 6])):  # two by none
        flat = RandomResizedCrop((1e-3, 1e-3), (ratio, ratio))._boxes(images, generator())
        assert torch.stack(flat, 1).tolist() == [central] * 50


def test_resized_crop_falls_back_to_the_largest_central_part():
    """No box of twice the height fits a whole wide picture: torchvision's fall-back is central."""
    images = smooth(4)
    transform = RandomResizedCrop((1.0, 1.0), (2.0, 3.0))
    with torch.random.fork_rng():
        want = reference.RandomResizedCrop.get_params(images[0], [1.0, 1.0], [2.0, 3.0])
    boxes = torch.stack(transform._boxes(images, generator()), 1)
    assert boxes.int().tolist() == [list(want)] * 4


@pytest.mark.parametrize(("size", "ratio"), [((1, 8), (0.2, 0.4)), ((8, 1), (3.0, 5.0))])
def test_resized_crop_falls_back_to_a_pixel_at_least(size, ratio):
    images = torch.full((50, 3, *size), 200, dtype=torch.uint8)
    assert torch.equal(RandomResizedCrop(ratio=ratio)(images, generator()), images)


@pytest.mark.parametrize("channels", [3, 1])
def test_normalize_is_torchvisions(channels):
    mean, std = (0.4914, 0.4822, 0.4465)[:channels], (0.247, 0.2435, 0.2616)[:channels]
    images = smooth(8, channels)
    want = F.normalize(images.float() / 255, list(mean), list(std))
    got = Normalize(mean, std)(images, generator())
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, want, rtol=1e-5, atol=2e-6)
    half = Normalize(mean, std, torch.bfloat16)(images, generator())
    assert torch.equal(half, got.bfloat16())
    listed = Normalize(list(mean), list(std))
    assert listed == Normalize(mean, std)
    assert torch.equal(listed.undone(got), images)


@pytest.mark.parametrize("mode", ["pixel", "const"])
def test_erasing_fills_one_box_of_the_asked_size(mode):
    images = torch.full((3000, 2, 24, 32), 9.0)
    transform = RandomErasing(0.25, (0.02, 1 / 3), (0.3, 1 / 0.3), mode)
    erased = transform(images, generator(6)) != 9
    assert (images == 9).all()
    assert torch.equal(erased[:, 0], erased[:, 1])
    rows, columns = erased[:, 0].any(2), erased[:, 0].any(1)
    h, w = rows.sum(1), columns.sum(1)
    box = rows.unsqueeze(2) & columns.unsqueeze(1)
    assert torch.equal(box, erased[:, 0])  # full rectangles (noise is never exactly 9)
    for line in (rows, columns):  # and connected ones
        assert (line.int().diff(dim=1) == 1).sum(1).max() <= 1
    some = h > 0
    share = some.double().mean().item()
    assert abs(share - 0.25) < 3.3 * (0.25 * 0.75 / 3000) ** 0.5
    with torch.random.fork_rng():
        torch.manual_seed(7)
        limits = [0.02, 1 / 3], [0.3, 1 / 0.3], [0.0]
        draws = [reference.RandomErasing.get_params(images[0], *limits) for _ in range(2000)]
    theirs = torch.tensor([box[:4] for box in draws])
    assert ks_2samp(h[some].numpy(), theirs[:, 2].numpy()).pvalue > 0.001
    assert ks_2samp(w[some].numpy(), theirs[:, 3].numpy()).pvalue > 0.001
    top = rows.int().argmax(1)[some]
    assert ks_2samp(top.numpy(), theirs[:, 0].numpy()).pvalue > 0.001


def test_erasing_ratio_is_height_over_width():
    ones = torch.ones(200, 1, 64, 64)
    erased = RandomErasing(1.0, (0.1, 0.2), (2.0, 2.5), "const")(ones, generator())
    h, w = (erased == 0).any(3).sum(2), (erased == 0).any(2).sum(2)
    assert (h > 1.8 * w).all()


def test_a_box_that_is_too_long_one_way_erases_nothing():
    images = torch.ones(50, 1, 24, 32)
    for ratio in ((2.0, 3.0), (0.2, 0.3)):
        assert torch.equal(RandomErasing(1.0, (0.5, 0.6), ratio)(images, generator()), images)


def test_erased_pixels_are_normal_or_zero():
    images = torch.full((500, 3, 24, 32), 9.0)
    noise = RandomErasing(1.0)(images, generator(8))
    assert kstest(noise[noise != 9].numpy()[:20000], "norm").pvalue > 0.001
    zero = RandomErasing(1.0, mode="const")(images, generator(8))
    assert zero.unique().tolist() == [0, 9]
    assert torch.equal(RandomErasing(0.0)(images, generator()), images)


@pytest.mark.parametrize("alpha", [0.02, 0.2, 0.8, 1.0, 3.0])
def test_beta_draws(alpha):
    draws = draw_beta(generator(9), alpha, 20000)
    assert draws.min() >= 0
    assert draws.max() <= 1
    # float32 cannot tell numbers from 0 and 1 where a small alpha puts most of them: the middle
    middle = draws[(draws > 0.001) & (draws < 0.999)].double().numpy()
    low, high = beta.cdf([0.001, 0.999], alpha, alpha)
    assert abs(len(middle) / 20000 - (high - low)) < 0.02
    assert kstest(middle, lambda x: (beta.cdf(x, alpha, alpha) - low) / (high - low)).pvalue > 0.001


def mixed(mix: Mix, count: int = 400) -> tuple[Tensor, Tensor]:
    """Of constant pictures 0, 1, 2, ...: each pixel's share of the own one, and its label's."""
    values = torch.arange(count, dtype=torch.float32)
    images = values.view(-1, 1, 1, 1).expand(-1, 2, 24, 32)
    got, targets = mix(images, torch.arange(count), generator(10))
    own, other = values.view(-1, 1, 1, 1), values.roll(1).view(-1, 1, 1, 1)
    share = (got - other) / (own - other)
    torch.testing.assert_close(targets.sum(1), torch.ones(count))
    ours = targets.diagonal()
    theirs = targets[torch.arange(count), torch.arange(count).roll(1)]
    torch.testing.assert_close(ours + theirs, torch.ones(count))
    return share, ours


def test_mixup_targets_are_the_pixels_shares():
    share, ours = mixed(Mix(400, mixup_alpha=0.8))
    torch.testing.assert_close(share, ours.view(-1, 1, 1, 1).expand_as(share), atol=1e-3, rtol=0)
    assert kstest(ours.double().numpy(), beta(0.8, 0.8).cdf).pvalue > 0.001


def test_cutmix_targets_are_exactly_the_box_area():
    share, ours = mixed(Mix(400, cutmix_alpha=1.0))
    assert set(share.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(share[:, 0], share[:, 1])
    pasted = share[:, 0] == 0
    rows, columns = pasted.any(2), pasted.any(1)
    assert torch.equal(rows.unsqueeze(2) & columns.unsqueeze(1), pasted)  # rectangles
    exact = 1 - pasted.sum((1, 2)).double() / (24 * 32)
    torch.testing.assert_close(ours.double(), exact, atol=1e-6, rtol=0)


def test_cutmix_boxes_are_distributed_as_by_hand():
    """As timm's are by now; older versions of it cut odd boxes a pixel short."""
    import numpy as np

    share, ours = mixed(Mix(2000, cutmix_alpha=1.0), 2000)
    pasted = share[:, 0] == 0
    drawn = np.random.default_rng(0)
    areas, heights = [], []
    for part in (1 - drawn.beta(1.0, 1.0, 2000)) ** 0.5:
        y, x = drawn.integers(24), drawn.integers(32)  # in the middle of the box, or just behind it
        rows = [r for r in range(int(24 * part)) if 0 <= y - int(24 * part) // 2 + r < 24]
        columns = [c for c in range(int(32 * part)) if 0 <= x - int(32 * part) // 2 + c < 32]
        areas.append(len(rows) * len(columns))
        heights.append(len(rows) if columns else 0)
    assert ks_2samp(pasted.sum((1, 2)).numpy(), areas).pvalue > 0.001
    assert ks_2samp(pasted.any(2).sum(1).numpy(), heights).pvalue > 0.001
    assert 0.5 < ours.mean() < 0.8  # borders cut boxes: more than half of the pixels stay


def test_mix_switches_by_sample():
    share, _ = mixed(Mix(400, 0.8, 1.0, switch_prob=0.3))
    pasted = ((share == 0) | (share == 1)).flatten(1).all(1)
    assert abs(pasted.double().mean().item() - 0.3) < 3.3 * (0.21 / 400) ** 0.5 + 0.01


def test_mix_without_alphas_changes_nothing_and_one_hot_targets():
    images = torch.rand(5, 3, 4, 4)
    got, targets = Mix(7)(images, torch.tensor([0, 6, 2, 2, 1]), generator())
    assert torch.equal(got, images)
    assert torch.equal(targets, torch.eye(7)[[0, 6, 2, 2, 1]])
    before = images.clone()
    alone, one = Mix(7, 0.8, 1.0)(images[:1], torch.tensor([3]), generator())
    assert torch.equal(images, before)
    torch.testing.assert_close(alone, images[:1])
    torch.testing.assert_close(one, torch.eye(7)[[3]])


@pytest.mark.parametrize("alphas", [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_mix_keeps_the_type_of_the_pictures(alphas):
    images, labels = torch.rand(8, 3, 8, 8), torch.arange(8)
    full, targets = Mix(10, *alphas)(images, labels, generator())
    for dtype in (torch.float64, torch.bfloat16):
        got, same = Mix(10, *alphas)(images.to(dtype), labels, generator())
        assert got.dtype == dtype
        torch.testing.assert_close(got.float(), full, atol=0.02, rtol=0)
        assert torch.equal(same, targets)


def test_mix_of_the_same_seed_is_bitwise_the_same():
    images, labels = torch.rand(32, 3, 8, 8), torch.arange(32) % 10
    first, again, other = (Mix(10, 0.8, 1.0)(images, labels, generator(s)) for s in (1, 1, 2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])
