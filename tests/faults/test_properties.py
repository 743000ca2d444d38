"""What holds for all names, times, scores and pictures, not only for those thought of."""

from __future__ import annotations

import math
import re

import pytest
import torch

pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings, strategies as st

from compact_vit.data import augment
from compact_vit.errors import UsageError
from compact_vit.models.config import FAMILIES, SIZES, config_from_name
from compact_vit.scoring import (
    accuracy_interval,
    pareto_front,
    rank,
    score_interval,
    size_accuracy_score,
)
from compact_vit.train.interrupt import seconds_of

FIXED = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

# --- names


@settings(FIXED, max_examples=300)
@given(st.sampled_from(FAMILIES), st.sampled_from(sorted(SIZES)), st.integers(1, 30),
       st.integers(1, 30))  # fmt: skip
def test_every_well_formed_name_is_a_model(family, depth, kernel, convs) -> None:
    shape = f"{kernel}x{convs}" if family.startswith("cct") else f"{kernel}"
    config = config_from_name(f"{family}_{depth}_{shape}")
    assert (config.family, config.depth, config.kernel_size) == (family, depth, kernel)
    assert config.num_convs == (convs if family.startswith("cct") else 0)


#: One rule for each part of a name, apart from the library's.
WELL_FORMED = re.compile(
    r"(vit|vit_lite|cvt)_(2|4|6|7|8|14)_[1-9][0-9]*(_[1-9][0-9]*)?(_sine)?(_(c10|c100|fl))?"
    r"|cct2?_(2|4|6|7|8|14)_[1-9][0-9]*x[1-9][0-9]*(_[1-9][0-9]*)?(_sine)?(_(c10|c100|fl))?"
)
parts = st.sampled_from(
    ["cct", "cct2", "cvt", "vit", "lite", "vit_lite", "_", "x", "2", "6", "7", "14", "0", "3", "03",
     "9" * 9, "32", "sine", "c10", "fl", "٣", "²", " ", "\n", "-1", "1.5", "X"]
)  # fmt: skip


@settings(FIXED, max_examples=600)
@given(st.one_of(st.lists(parts, max_size=9).map("".join), st.text(max_size=12),
                 st.from_regex(r"(cct2?|cvt|vit_lite)_[0-9]{1,2}_[0-9]{1,2}(x[0-9])?(_32)?(_sine)?",
                               fullmatch=True)))  # fmt: skip
def test_any_text_is_a_name_or_refused(name) -> None:
    try:
        config = config_from_name(name)
    except UsageError as refusal:
        message = str(refusal)
        assert len(message.splitlines()) == 1
        well_formed = WELL_FORMED.fullmatch(name)
        # a patch may be larger than the picture, and a number longer than any picture is wide
        assert not well_formed or "img_size" in message or re.search(r"\d{5}", name)
    else:
        assert WELL_FORMED.fullmatch(name)
        assert 1 <= config.kernel_size <= min(config.height_width)


# --- times


@settings(FIXED, max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from("dhms")), min_size=1, max_size=4))
def test_times_add_up(pairs) -> None:
    text = "".join(f"{number}{unit}" for number, unit in pairs)
    seconds = sum(n * {"d": 86_400, "h": 3600, "m": 60, "s": 1}[unit] for n, unit in pairs)
    if seconds:
        assert seconds_of(text) == seconds
    else:
        with pytest.raises(UsageError, match="time_limit must be a time"):
            seconds_of(text)


@settings(FIXED, max_examples=500)
@given(st.one_of(st.text(max_size=8), st.text("0123456789.dhms -+e_", max_size=8),
                 st.integers(1, 500).map(lambda n: "9" * n)))  # fmt: skip
def test_any_text_is_a_time_or_refused(text) -> None:
    try:
        seconds = seconds_of(text)
    except UsageError as refusal:
        message = str(refusal)
    else:
        assert seconds > 0
        return
    assert message.startswith("time_limit must be a time such as")
    assert len(message.splitlines()) == 1


# --- scores

accuracies = st.floats(1, 100, exclude_min=True)
floors = st.just(0.0) | st.floats(1, 100)  # what lies between may be fractions
sizes = st.integers(1, 10**9)


@settings(FIXED, max_examples=300)
@given(accuracies, accuracies, sizes, sizes, floors, st.integers(1, 10**6))
def test_scores_rise_with_accuracy_and_fall_with_size(a, b, small, large, floor, n) -> None:
    low, high = sorted((a, b))
    small, large = sorted((small, large))
    assert size_accuracy_score(low, small, floor) <= size_accuracy_score(high, small, floor)
    assert size_accuracy_score(high, large, floor) <= size_accuracy_score(high, small, floor)
    assert size_accuracy_score(low, small, floor) >= 0
    assert (size_accuracy_score(high, small, floor) > 0) == (high > floor)
    interval, of_score = accuracy_interval(high, n), score_interval(high, small, n, floor)
    assert 0 <= interval.low <= high + 1e-9
    assert high - 1e-9 <= interval.high <= 100
    assert of_score.low <= size_accuracy_score(high, small, floor) * (1 + 1e-9) + 1e-9
    assert of_score.high >= size_accuracy_score(high, small, floor) * (1 - 1e-9) - 1e-9


def beaten(point: tuple[float, float], by: tuple[float, float]) -> bool:
    """By definition: no larger and no less accurate, and better in one of the two."""
    return by[0] <= point[0] and by[1] >= point[1] and by != point


@settings(FIXED, max_examples=300)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=12))
def test_the_front_is_what_nobody_beats(points) -> None:
    front = pareto_front(points)
    unbeaten = [i for i, p in enumerate(points) if not any(beaten(p, other) for other in points)]
    assert sorted(front) == unbeaten
    along = [points[i] for i in front]
    assert along == sorted(along)
    assert [accuracy for _, accuracy in along] == sorted(accuracy for _, accuracy in along)


@settings(FIXED, max_examples=200)
@given(st.lists(st.one_of(st.none(), st.just(math.nan), st.integers(0, 5)), max_size=10))
def test_ranks_count_those_that_are_better(values) -> None:
    entries = rank((str(i), value) for i, value in enumerate(values))
    assert sorted(entry.name for entry in entries) == sorted(map(str, range(len(values))))
    known = [v for v in values if v is not None and not math.isnan(v)]
    for entry in entries:
        if entry.value is None:
            assert entry.rank is None
        else:
            assert entry.rank == 1 + sum(value > entry.value for value in known)


# --- augmentation

TRANSFORMS = st.one_of(
    st.builds(augment.RandomCrop, st.integers(0, 9)),
    st.builds(augment.RandomHorizontalFlip, st.floats(0, 1)),
    st.builds(
        lambda low, kind: augment.RandomResizedCrop((low, 1.0), interpolation=kind),
        st.floats(0.01, 1),
        st.sampled_from(["bilinear", "bicubic"]),
    ),
    st.builds(augment.AutoAugment, st.sampled_from(["cifar10", "svhn", "imagenet"])),
    st.builds(augment.RandAugment, st.integers(1, 3), st.floats(0, 10), st.floats(0, 5)),
    st.builds(augment.TrivialAugment),
)


@settings(FIXED, max_examples=120)
@given(TRANSFORMS, st.integers(1, 5), st.sampled_from([1, 3]), st.integers(1, 12),
       st.integers(1, 12), st.integers(0, 2**32))  # fmt: skip
def test_a_transform_gives_pictures_like_those_it_got(
    transform, batch, channels, height, width, seed
) -> None:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, channels, height, width)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    before, state = images.clone(), generator.get_state()
    after = transform(images, generator)
    assert (after.shape, after.dtype) == (images.shape, torch.uint8)
    assert torch.equal(images, before)
    generator.set_state(state)
    assert torch.equal(transform(images, generator), after)


alphas = st.one_of(st.just(0.0), st.floats(1e-6, 1e6))


@settings(FIXED, max_examples=120)
@given(st.integers(1, 6), st.integers(2, 5), alphas, alphas, st.floats(0, 1),
       st.integers(0, 2**32))  # fmt: skip
def test_mixed_targets_are_probabilities_of_those_mixed(
    batch, classes, mixup, cutmix, switch, seed
) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (batch,), generator=generator)
    # a picture's pixels are its label, so that a mixed one shows what it is made of
    images = labels.view(-1, 1, 1, 1).float().expand(batch, 1, 8, 8).contiguous()
    before = images.clone()
    mix = augment.Mix(classes, mixup_alpha=mixup, cutmix_alpha=cutmix, switch_prob=switch)
    x, targets = mix(images, labels, generator)
    assert torch.equal(images, before)
    assert (targets >= 0).all()
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(batch))
    shown = (targets * torch.arange(classes)).sum(dim=1)
    torch.testing.assert_close(x.mean(dim=(1, 2, 3)), shown, atol=1e-4, rtol=1e-4)
