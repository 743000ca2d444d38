"""The score table as published, intervals against scipy, fronts against brute force."""

import math
import random
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import binomtest

from compact_vit.errors import UsageError
from compact_vit.scoring import (
    accuracy_interval,
    balanced_accuracy,
    mean_and_spread,
    pareto_front,
    rank,
    score_interval,
    size_accuracy_score,
)

# accuracy in percent, size in millions, score: the student report's table, its own result last
SCORES = [
    (89.7, 22.2, 88.739),
    (91.67, 86, 25.198),
    (91.97, 86, 25.547),
    (93.44, 307, 7.635),
    (73.01, 3.717, 80.979),
    (72.25, 3.19, 70.533),
    (70.46, 0.482, 95.436),
    (76.71, 3.168, 211.806),
    (74.47, 3.327, 134.355),
    (77.05, 3.76, 187.500),
    (74.92, 3.853, 127.693),
    (75.145, 3.191397, 161.215),
]


@pytest.mark.parametrize(("accuracy", "millions", "score"), SCORES)
def test_published_scores(accuracy, millions, score):
    assert round(size_accuracy_score(accuracy, round(millions * 1e6)), 3) == score


def test_floor():
    assert size_accuracy_score(70.0, 1_000_000) == 0
    assert size_accuracy_score(12.5, 1_000_000) == 0
    assert size_accuracy_score(0.0, 1_000_000) == 0
    assert size_accuracy_score(60.0, 2_000_000, floor=50.0) == 500
    assert size_accuracy_score(60.0, 2_000_000, floor=0.0) == 3000
    assert size_accuracy_score(60.0, 2_000_000, floor=1) == 2950
    assert size_accuracy_score(100, 1) == 3e9


def test_the_documented_weakness():
    assert size_accuracy_score(71, 10_000) == pytest.approx(10_000)
    assert size_accuracy_score(77, 3_000_000) == pytest.approx(233, abs=0.5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((0.75, 1_000_000), "was 75 meant"),
        ((1, 1_000_000), "was 100 meant"),
        ((101, 1_000_000), "accuracy must be a percentage from 0 to 100, got 101"),
        ((-1, 1_000_000), "from 0 to 100"),
        ((math.nan, 1_000_000), "from 0 to 100"),
        ((True, 1_000_000), "from 0 to 100"),
        (("75", 1_000_000), "got '75'"),
        ((75, 0), "parameters must be a whole number"),
        ((75, -5), "at least 1"),
        ((75, 3.17), "not in millions"),
        ((75, math.inf), "whole number"),
        ((75, None), "got None"),
        ((75, 1_000_000, 0.7), "floor must be in percent, got 0.7: was 70 meant?"),
        ((75, 1_000_000, 130), "floor must be a percentage"),
    ],
)
def test_score_refuses(arguments, said):
    with pytest.raises(UsageError, match=said):
        size_accuracy_score(*arguments)
    accuracy, parameters, *floor = arguments
    with pytest.raises(UsageError, match=said):
        score_interval(accuracy, parameters, 10_000, *floor)


@pytest.mark.parametrize("confidence", [0.95, 0.99])
@pytest.mark.parametrize(
    ("correct", "n"), [(0, 10), (1, 10), (9, 10), (10, 10), (3, 7), (7514, 10_000), (1, 1)]
)
def test_wilson_against_scipy(correct, n, confidence):
    truth = binomtest(correct, n).proportion_ci(confidence, method="wilson")
    low, high = accuracy_interval(100 * correct / n, n, confidence)
    assert low == pytest.approx(100 * truth.low, abs=1e-9)
    assert high == pytest.approx(100 * truth.high, abs=1e-9)
    assert 0 <= low <= 100 * correct / n + 1e-9
    assert 100 * correct / n - 1e-9 <= high <= 100


def test_wilson_stays_within_bounds():
    for n in range(1, 200):
        assert 0 <= accuracy_interval(0, n).low < 1e-9  # rounding alone would go below
        assert 100 - 1e-9 < accuracy_interval(100, n).high <= 100


def test_interval_refuses():
    for accuracy, n, confidence, said in [
        (75, 0, 0.95, "^n, the number of pictures, must be a whole number of at least 1"),
        (75, 1.5, 0.95, "^n, the number of pictures, must be a whole number of at least 1"),
        (175, 9, 0.95, "^accuracy must be a percentage from 0 to 100, got 175$"),
        *((75, 9, c, f"^confidence must be between 0 and 1, got {c}$") for c in (0, 1, 1.5, 95)),
    ]:
        with pytest.raises(UsageError, match=said):
            accuracy_interval(accuracy, n, confidence)
    assert accuracy_interval(0.9, 1000).low > 0  # an untrained model, not a fraction


def test_score_interval_is_the_score_at_both_ends():
    truth = binomtest(7514, 10_000).proportion_ci(0.95, method="wilson")
    interval = score_interval(75.14, 3_191_397, 10_000)
    assert interval.low == pytest.approx(100 * (100 * truth.low - 70) / 3.191397)
    assert interval.high == pytest.approx(100 * (100 * truth.high - 70) / 3.191397)
    assert score_interval(70.1, 1_000_000, 100).low == 0  # cut at the floor
    assert score_interval(2, 1_000_000, 100) == (0, 0)  # an end below 1% is no fraction
    assert score_interval(0.5, 10**6, 100, known_percent=True) == (0, 0)  # nor is this
    low, high = accuracy_interval(80, 100, 0.5)
    assert score_interval(80, 10**6, 100, 70.5, 0.5) == pytest.approx(
        (100 * (low - 70.5), 100 * (high - 70.5))
    )


def test_balanced_accuracy():
    """The mean of 90%, 50% and nothing at all; a class without pictures has no share in it."""
    confusion = [[90, 10, 0, 0], [0, 4, 4, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert balanced_accuracy(confusion) == pytest.approx(140 / 3)
    with pytest.raises(UsageError, match="needs at least one picture"):
        balanced_accuracy([[0, 0], [0, 0]])


def test_mean_and_spread():
    mean, deviation, n = mean_and_spread([1.0, 2.0, 3.0, 4.0])
    assert (mean, n) == (2.5, 4)
    assert deviation == pytest.approx(math.sqrt(5 / 3))
    assert mean_and_spread(iter([75.0])) == (75.0, None, 1)
    assert mean_and_spread([1.0, 3.0]).deviation == pytest.approx(math.sqrt(2))
    with pytest.raises(UsageError, match=r"^mean and spread need at least one value, got none$"):
        mean_and_spread([])
    for wrong in (math.nan, math.inf, None):
        with pytest.raises(UsageError, match=f"^mean and spread need finite numbers, got {wrong}$"):
            mean_and_spread([1.0, wrong])


def test_pareto_front_and_its_ties():
    assert pareto_front([]) == []
    assert pareto_front([(3, 80), (1, 70), (2, 75)]) == [1, 2, 0]
    assert pareto_front([(1, 70), (2, 70)]) == [0]  # as accurate but larger
    assert pareto_front([(1, 70), (1, 71)]) == [1]  # as large but less accurate
    assert pareto_front([(2, 75), (1, 70), (2, 75), (1, 70)]) == [1, 3, 0, 2]  # equal in both
    assert pareto_front([(sys.float_info.max, 70)]) == [0]
    with pytest.raises(UsageError, match="finite"):
        pareto_front([(1, math.nan)])


def test_pareto_front_against_brute_force():
    draw = random.Random(0)
    for _ in range(200):
        points = [(draw.randint(1, 6), draw.randint(1, 6)) for _ in range(draw.randint(1, 9))]
        unbeaten = {
            i
            for i, (size, accuracy) in enumerate(points)
            if not any(
                s <= size and a >= accuracy and (s, a) != (size, accuracy) for s, a in points
            )
        }
        front = pareto_front(points)
        assert set(front) == unbeaten
        assert len(front) == len(unbeaten)
        assert [points[i][0] for i in front] == sorted(points[i][0] for i in front)


def test_numbers_of_numpy():
    confusion = np.array([[200, 100], [0, 4]], dtype=np.uint8)
    assert balanced_accuracy(confusion) == pytest.approx(100 * (200 / 300 + 1) / 2)
    accuracies, sizes = np.array([75.0, 80.0], np.float32), np.array([500_000, 10**6])
    assert size_accuracy_score(accuracies[0], sizes[0]) == 1000.0
    assert mean_and_spread(accuracies) == (77.5, math.sqrt(12.5), 2)
    assert pareto_front(np.stack([sizes, accuracies], axis=1)) == [0, 1]
    assert accuracy_interval(accuracies[0], sizes[0]) == accuracy_interval(75.0, 500_000)


def test_rank_as_in_sports():
    entries = [("a", 1.0), ("b", None), ("c", 3.0), ("d", 2.0), ("e", math.nan), ("f", 2.0)]
    assert rank(entries) == [
        (1, "c", 3.0),
        (2, "d", 2.0),
        (2, "f", 2.0),
        (4, "a", 1.0),
        (None, "b", None),
        (None, "e", None),
    ]
    assert [line.rank for line in rank([(name, ord(name)) for name in "dcbba"])] == [1, 2, 3, 3, 5]
    assert rank([]) == []


def test_needs_no_torch():
    code = "import sys, compact_vit.scoring; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
