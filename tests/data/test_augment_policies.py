"""The policies draw what was published: outcomes counted against their exact probabilities."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as F
from scipy.stats import chisquare
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms import autoaugment as reference

from compact_vit.data.augment import (
    AutoAugment,
    Compose,
    Mix,
    Normalize,
    RandAugment,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
    TrivialAugment,
    _batch,
)
from compact_vit.data.augment.operations import NUMBER, apply_operations
from compact_vit.data.augment.policies import RAND_OPERATIONS, rand_arguments
from compact_vit.data.augment.subpolicies import read
from compact_vit.errors import UsageError

PIPELINE = [
    RandomCrop(4),
    RandomHorizontalFlip(),
    AutoAugment("cifar10"),
    AutoAugment("svhn"),
    AutoAugment("imagenet"),
    RandAugment(2, 9, 0.5, True),
    RandAugment(3, 5, 0.0, False, 1.0),
    TrivialAugment(),
    RandomResizedCrop((0.3, 1.0)),
    Normalize((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)),
    RandomErasing(0.5),
    RandomErasing(0.5, mode="const"),
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(count: int, channels: int = 3, height: int = 32, width: int = 32) -> Tensor:
    noise = torch.rand(count, channels, height, width, generator=generator(5)) * 400 - 60
    return torch.nn.functional.avg_pool2d(noise, 3, 1, 1).clamp(0, 255).to(torch.uint8)


def apply_theirs(image: Tensor, name: str, magnitude: float) -> Tensor:
    return reference._apply_op(image, name, magnitude, F.InterpolationMode.NEAREST, None)


def known(image: bytes, outcomes: dict[bytes, float]) -> bytes:
    """The outcome that ``image`` is, but for source pixels half-way between two of a shear.

    Which of the two is taken is a matter of the processor's rounding: of the 768 pixels here 4.
    """
    if image in outcomes:
        return image
    pixels = np.frombuffer(image, np.uint8)
    nearest = min(outcomes, key=lambda other: (np.frombuffer(other, np.uint8) != pixels).sum())
    assert (np.frombuffer(nearest, np.uint8) != pixels).sum() <= 3 * 4
    return nearest


def assert_distributed(got: Tensor, probabilities: dict[bytes, float]) -> None:
    """Every result is a possible one, and as frequent as it should be (chi-square, p > 0.001)."""
    images: dict[bytes, int] = defaultdict(int)
    for image in got:
        images[image.numpy().tobytes()] += 1
    counts: dict[bytes, int] = defaultdict(int)
    for image, count in images.items():
        counts[known(image, probabilities)] += count
    assert sum(probabilities.values()) == pytest.approx(1)
    common = [key for key, p in probabilities.items() if p * len(got) >= 5]
    seen = [counts[key] for key in common]
    wanted = [probabilities[key] * len(got) for key in common]
    if len(got) - sum(wanted) >= 5:
        seen.append(len(got) - sum(seen))
        wanted.append(len(got) - sum(wanted))
    assert len(wanted) > 5
    scale = sum(seen) / sum(wanted)
    assert chisquare(seen, [w * scale for w in wanted]).pvalue > 0.001


@pytest.mark.parametrize("policy", ["cifar10", "svhn", "imagenet"])
def test_sub_policies_are_torchvisions(policy):
    theirs = reference.AutoAugment(reference.AutoAugmentPolicy(policy)).policies
    flat = [(name, p, bin_ or 0) for sub_policy in theirs for name, p, bin_ in sub_policy]
    assert read(policy) == flat
    assert len(flat) == 50


@pytest.mark.parametrize("policy", ["cifar10", "svhn", "imagenet"])
def test_autoaugment_outcomes(policy):
    """All sub-policies, probabilities, magnitudes and signs at once, against torchvision's."""
    image = smooth(1, 3, 24, 32)[0]
    theirs = reference.AutoAugment(reference.AutoAugmentPolicy(policy))
    space = theirs._augmentation_space(10, (24, 32))
    probabilities: dict[bytes, float] = defaultdict(float)
    for sub_policy in theirs.policies:
        branches = [(image, 1 / 25)]
        for name, chance, bin_ in sub_policy:
            magnitudes, signed = space[name]
            magnitude = magnitudes[bin_].item() if bin_ is not None else 0.0
            signs = (1, -1) if signed else (1,)
            branches = [(picture, p * (1 - chance)) for picture, p in branches if chance < 1] + [
                (apply_theirs(picture, name, sign * magnitude), p * chance / len(signs))
                for (picture, p), sign in itertools.product(branches, signs)
                if chance > 0
            ]
        for picture, p in branches:
            probabilities[picture.numpy().tobytes()] += p
    got = AutoAugment(policy)(image.expand(6000, -1, -1, -1), generator(1))
    assert_distributed(got, probabilities)


def test_trivialaugment_outcomes():
    image = smooth(1, 3, 24, 32)[0]
    space = reference.TrivialAugmentWide()._augmentation_space(31)
    probabilities: dict[bytes, float] = defaultdict(float)
    for name, (magnitudes, signed) in space.items():
        signs = (1, -1) if signed else (1,)
        values = magnitudes.reshape(-1).tolist()
        for magnitude, sign in itertools.product(values, signs):
            picture = apply_theirs(image, name, sign * magnitude)
            p = 1 / len(space) / len(values) / len(signs)
            probabilities[picture.numpy().tobytes()] += p
    got = TrivialAugment()(image.expand(8000, -1, -1, -1), generator(2))
    assert_distributed(got, probabilities)


@pytest.mark.parametrize("increasing", [True, False])
def test_randaugment_outcomes(increasing):
    image = smooth(1, 3, 24, 32)[0]
    probabilities: dict[bytes, float] = {image.numpy().tobytes(): 0.6}
    for number, name in enumerate(RAND_OPERATIONS):
        for sign in (-1, 1):
            level = torch.full((1, 1), 7.0, dtype=torch.float64)
            argument = rand_arguments(level, torch.tensor([[sign]]), increasing, 24, 32)
            picture = apply_operations(
                image.unsqueeze(0), torch.tensor([NUMBER[name]]), argument[0, :, number]
            )
            key = picture.numpy().tobytes()
            probabilities[key] = probabilities.get(key, 0) + 0.4 / 15 / 2
    transform = RandAugment(1, 7, 0.0, increasing, probability=0.4)
    assert_distributed(transform(image.expand(4000, -1, -1, -1), generator(3)), probabilities)


@pytest.mark.parametrize("increasing", [True, False])
def test_randaugment_arguments_are_timms(increasing, monkeypatch):
    from timm.data import auto_augment as timm

    names = timm._RAND_INCREASING_TRANSFORMS if increasing else timm._RAND_TRANSFORMS
    assert [n.removesuffix("Increasing").removesuffix("Rel") for n in names] == [*RAND_OPERATIONS]
    for sign in (-1, 1):
        monkeypatch.setattr(random, "random", lambda sign=sign: 0.75 if sign < 0 else 0.25)
        levels = torch.arange(0, 10.05, 0.1, dtype=torch.float64).clamp(max=10)
        signs = torch.full((len(levels), 1), sign)
        ours = rand_arguments(levels.unsqueeze(1), signs, increasing, 24, 32)[:, 0]
        for number, name in enumerate(names):
            if timm.LEVEL_TO_ARG[name] is None:
                continue
            size = {"TranslateXRel": 32, "TranslateYRel": 24}.get(name, 1)
            theirs = [size * timm.LEVEL_TO_ARG[name](level, {})[0] for level in levels.tolist()]
            assert ours[:, number].tolist() == pytest.approx(theirs, abs=1e-12), name


def test_randaugment_levels_vary_with_their_deviation():
    """Brightness alone tells the level: its spread over a batch follows magnitude_std, clipped."""
    image = torch.full((1, 3, 8, 8), 120, dtype=torch.uint8)
    batch = image.expand(4000, -1, -1, -1)
    fixed = RandAugment(1, 5, 0.0, True, 1.0)(batch, generator())[:, 0, 4, 4].unique()
    varied = RandAugment(1, 5, 2.0, True, 1.0)(batch, generator())[:, 0, 4, 4].unique()
    assert len(fixed) < 20 < len(varied)
    ends = {
        value
        for magnitude in (0, 10)
        for value in RandAugment(1, magnitude, 0.0, True, 1.0)(batch, generator()).unique().tolist()
    }
    wide = RandAugment(1, 5, 1e9, True, 1.0)(batch, generator()).unique().tolist()
    assert set(wide) == ends


@pytest.mark.parametrize("channels", [3, 1])
def test_the_sorting_path_and_the_whole_batch_path_agree(channels, monkeypatch):
    """What a CPU does by sorting is bitwise what a GPU does on the whole batch."""
    for transform in PIPELINE[:-3]:
        images = smooth(200, channels, 24, 32)
        kept = images.clone()
        sorted_ = transform(images, generator(4))
        with monkeypatch.context() as patch:
            patch.setattr(_batch, "_sorts_rows", lambda device: False)
            whole = transform(images, generator(4))
        assert torch.equal(sorted_, whole), transform
        assert torch.equal(images, kept), transform
        assert not torch.equal(sorted_, images), transform


class NoSync(TorchDispatchMode):
    """Fails on every operation whose result's size or branch depends on values, or that copies."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "masked_select", "bincount", "unique", "item",
                 "lift_fresh", "is_nonzero", "equal.default")  # fmt: skip

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert not any(name in str(func) for name in self.FORBIDDEN), func
        if "index.Tensor" in str(func) or "index_put" in str(func):
            assert all(i is None or i.dtype != torch.bool for i in args[1]), func
        return func(*args, **(kwargs or {}))


def test_no_host_sync_off_the_cpu(monkeypatch):
    """After the first call, which makes the tables, no value is waited for, none copied over."""
    monkeypatch.setattr(_batch, "_sorts_rows", lambda device: False)
    images, labels, source = smooth(16), torch.arange(16) % 10, generator()
    run = Compose(PIPELINE)
    mixes = [Mix(10, 0.8, 1.0), Mix(10, 0.8), Mix(10, 0.0, 1.0), Mix(10)]
    run(images, source)
    with NoSync():
        floats = run(images, source)
        for mix in mixes:
            mix(floats, labels, source)
    with pytest.raises(AssertionError, match="nonzero"), NoSync():
        images.nonzero()


class Anywhere:
    """The generator of a device that has none."""

    device = torch.device("meta")


def test_all_is_computed_where_the_pictures_are(monkeypatch):
    """The device "meta" knows shapes alone, and no tensor of another device is let in."""

    def drawn(original):
        def draw(*args, generator=None, **options):
            return original(*(arg for arg in args if not isinstance(arg, Anywhere)), **options)

        return draw

    for name in ("rand", "randint", "randn", "_standard_gamma"):
        monkeypatch.setattr(torch, name, drawn(getattr(torch, name)))
    images, labels = smooth(4).to("meta"), torch.arange(4, device="meta")
    floats = Compose(PIPELINE)(images, Anywhere())
    assert (floats.device.type, floats.dtype, floats.shape) == ("meta", torch.float32, images.shape)
    mixes = [Mix(10), Mix(10, 0.8, 1.0), Mix(10, 0.8), Mix(10, 0.0, 1.0)]
    old = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 15)  # has no Beta without values
    for mix in mixes[:1] if old else mixes:
        mixed, targets = mix(floats, labels, Anywhere())
        assert (mixed.device.type, targets.device.type) == ("meta", "meta")
        assert (mixed.shape, targets.shape) == (images.shape, (4, 10))


def test_same_seed_same_bits_other_seed_other_bits():
    images = smooth(64)
    run = Compose(PIPELINE)
    first, again, other = (run(images, generator(seed)) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(images, smooth(64))
    state = generator(7)
    assert not torch.equal(run(images, state), run(images, state))


def test_a_strided_batch_is_as_good_as_a_contiguous_one():
    images = smooth(64)
    for transform in PIPELINE[:10]:
        want = transform(images, generator(1))
        got = transform(images.contiguous(memory_format=torch.channels_last), generator(1))
        assert torch.equal(got, want), transform


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AutoAugment("cifra10"), "policy 'cifra10': did you mean 'cifar10'"),
        (lambda: RandAugment(0), "num_ops must be a whole number >= 1, got 0"),
        (lambda: RandAugment(2, 11), "magnitude must be a number from 0 to 10, got 11"),
        (lambda: RandAugment(2, 9, -1.0), "magnitude_std must be a number >= 0, got -1.0"),
        (lambda: RandAugment(probability=float("nan")), "probability must be a number from 0 to 1"),
        (lambda: RandomCrop(-1), "padding must be a whole number >= 0, got -1"),
        (lambda: RandomCrop(2.5), "padding must be a whole number >= 0, got 2.5"),
        (lambda: RandomHorizontalFlip(1.5), "p must be a number from 0 to 1, got 1.5"),
        (lambda: RandomHorizontalFlip("a"), "p must be a number from 0 to 1, got 'a'"),
        (lambda: RandomResizedCrop((0.9, 0.8)), "with 0 < a <= b <= 1"),
        (lambda: RandomResizedCrop(0.8), "scale must be a pair"),
        (lambda: RandomResizedCrop(ratio=(0, 1)), "ratio must be a pair"),
        (lambda: RandomResizedCrop(interpolation="cubic"), "did you mean 'bicubic'"),
        (lambda: Normalize((0.5,), (0.5, 0.5, 0.5)), r"std must be 1 numbers, got \(0.5, 0"),
        (lambda: Normalize((127.5,), (127.5,)), "mean must be a number from 0 to 1, got 127.5"),
        (lambda: Normalize((0.5,), (0.0,)), r"std must be positive, got \(0.0,\)"),
        (lambda: Normalize((0.5,), (1.0,), torch.int32), "dtype must be a floating point type"),
        (lambda: Normalize(0.5, 0.2), r"mean must be 1 or 3 numbers, such as \(0.5,\), got 0.5"),
        (lambda: AutoAugment()(smooth(2).numpy(), generator()), "got ndarray: torch.as_tensor"),
        (lambda: RandomErasing(2), "p must be a number from 0 to 1, got 2"),
        (lambda: RandomErasing(mode="pixels"), "did you mean 'pixel'"),
        (lambda: RandomErasing(mode="cons"), "did you mean 'const'"),
        (lambda: Mix(0), "num_classes must be a whole number >= 1, got 0"),
        (lambda: Mix(10, -0.1), "mixup_alpha must be a number >= 0, got -0.1"),
        (lambda: Mix(10, 0.1, switch_prob=3), "switch_prob must be a number from 0 to 1, got 3"),
        (lambda: RandomCrop(4)(smooth(2), None), "generator must be .*, got NoneType"),
        (lambda: AutoAugment()(smooth(2), 0), "generator must be .*, got int"),
        (lambda: Mix(10)(smooth(2).float(), [0, 1], generator()), "labels must be .*, got list"),
        (lambda: Compose([3]), "transforms must be callables, got 3"),
        (lambda: AutoAugment()(smooth(2).float(), generator()), r"got float32 \[2,"),
        (lambda: AutoAugment()(smooth(2)[0], generator()), r"got uint8 \[3, 32, 32\]"),
        (lambda: AutoAugment()(smooth(2)[:0], generator()), "non-empty"),
        (lambda: RandomCrop(4)(smooth(2)[:, :2], generator()), "1 or 3 channels"),
        (
            lambda: RandomErasing()(smooth(2), generator()),
            r"be a non-empty float batch \[B, C, H, W\], got",
        ),
        (lambda: Normalize((0.5,), (0.5,))(smooth(2), generator()), "mean must be 3 numbers"),
        (
            lambda: Mix(10)(smooth(2).float(), torch.zeros(3).long(), generator()),
            r"^labels must be whole numbers \[2\], one per image, got int64 \[3\]$",
        ),
        *(
            (
                lambda wrong=wrong: Mix(10)(
                    smooth(2).float(), torch.tensor([3, wrong]), generator()
                ),
                f"^labels must be from 0 to 9, got {wrong}$",
            )
            for wrong in (-1, 10)
        ),
        *(
            (lambda t=t: t(smooth(2).to("meta"), generator()), "generator must live")
            for t in (*PIPELINE[:10], lambda x, g: Mix(10)(x.float(), torch.zeros(2).long(), g))
        ),
    ],
)
def test_wrong_use_is_told_in_one_line(make, words):
    with pytest.raises(UsageError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)
