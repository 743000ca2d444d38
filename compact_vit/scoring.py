"""What an accuracy is worth for its size, and how sure it is. Plain numbers; imports no torch.

The size/accuracy score is ``100 * (accuracy - floor) / millions of parameters``. Two things to know
before quoting one:

- It says nothing without its convention of counting. The published counts of compact transformers
  leave the positions out: CCT-6/3x1 with 100 classes has 3,191,397 parameters so, and 3,256,933
  with them. Compare only scores that count alike.
- It is not a ranking of usefulness. The size is a divisor without a bound, so the score explodes
  for a tiny model just above the floor: 71% with 10,000 parameters scores 10,000, and 77% with
  three million 233. The Pareto front has no such corner; show it beside the score.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .checks import is_real, plain
from .errors import UsageError


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


class Spread(NamedTuple):
    """Repeated measurements in three numbers, none of which means much without the others."""

    mean: float
    deviation: float | None
    """Sample standard deviation (divisor n - 1); None for a single value."""
    n: int


class Ranked(NamedTuple):
    """One line of a ranking."""

    rank: int | None
    """1 is the best; equal values share a rank; None without a value."""
    name: str
    value: float | None


def size_accuracy_score(
    accuracy: float, parameters: float, floor: float = 70.0, *, known_percent: bool = False
) -> float:
    """``100 * (accuracy - floor) / millions of parameters``, and 0 below the floor.

    ``accuracy`` and ``floor`` are in percent, ``parameters`` is a count. An accuracy of 1 or less
    is asked about rather than guessed, unless it is ``known_percent``: it may be a fraction, as may
    a floor below 1. Raises ``UsageError`` for that and for anything out of range.
    """
    accuracy = plain(accuracy)
    _check_percent("accuracy", accuracy)
    if 0 < accuracy <= 1 and not known_percent:
        raise _in_percent("accuracy", accuracy)
    return _score(accuracy, parameters, floor)


def accuracy_interval(accuracy: float, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's interval, in percent, of an accuracy in percent measured on ``n`` pictures.

    Unlike the normal approximation it stays within 0 and 100 and holds near both (Wilson 1927,
    "Probable inference, the law of succession, and statistical inference"). It is the error of
    having tested on ``n`` pictures only; the spread over seeds is another one.
    """
    accuracy, n = plain(accuracy), plain(n)
    _check_percent("accuracy", accuracy)
    _check_count("n, the number of pictures,", n)
    if not 0 < confidence < 1:
        raise UsageError(f"confidence must be between 0 and 1, got {confidence!r}")
    p = accuracy / 100
    z = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    centre = p + z * z / (2 * n)
    radius = z * math.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
    low, high = ((centre + sign * radius) / (1 + z * z / n) for sign in (-1, 1))
    return Interval(100 * max(0.0, low), 100 * min(1.0, high))


def balanced_accuracy(confusion: Sequence[Sequence[int]]) -> float:
    """The mean recall, in percent, of the classes that have pictures: each class counts alike.

    ``confusion`` counts true classes in rows and predicted ones in columns.
    """
    counts = [[int(n) for n in row] for row in confusion]  # bytes of numpy would add up modulo 256
    recalls = [row[i] / sum(row) for i, row in enumerate(counts) if sum(row)]
    if not recalls:
        raise UsageError("balanced accuracy needs at least one picture, got none")
    return 100 * statistics.fmean(recalls)


def score_interval(
    accuracy: float,
    parameters: float,
    n: int,
    floor: float = 70.0,
    confidence: float = 0.95,
    *,
    known_percent: bool = False,
) -> Interval:
    """The score at both ends of ``accuracy_interval``: the size is known, so only they differ."""
    # the same mistakes, asked about alike
    size_accuracy_score(accuracy, parameters, floor, known_percent=known_percent)
    low, high = accuracy_interval(accuracy, n, confidence)
    return Interval(_score(low, parameters, floor), _score(high, parameters, floor))


def mean_and_spread(values: Iterable[float]) -> Spread:
    """Mean, sample standard deviation and number of repeated measurements, such as over seeds."""
    numbers = [plain(value) for value in values]
    if not numbers:
        raise UsageError("mean and spread need at least one value, got none")
    for number in numbers:
        if not is_real(number):
            raise UsageError(f"mean and spread need finite numbers, got {number!r}")
    deviation = statistics.stdev(numbers) if len(numbers) > 1 else None
    return Spread(statistics.fmean(numbers), deviation, len(numbers))


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which ``(parameters, accuracy)`` no other beats: indices, from the smallest model up.

    A point is beaten by one that is no larger and no less accurate, and better in at least one of
    the two. So of equal sizes only the most accurate stays, of equal accuracies only the smallest,
    and points equal in both stay together, in the order given.
    """
    points = [(plain(size), plain(accuracy)) for size, accuracy in points]
    for size, accuracy in points:
        if not (is_real(size) and is_real(accuracy)):
            raise UsageError(f"a point must be two finite numbers, got {(size, accuracy)!r}")
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not front or points[i][1] > points[front[-1]][1] or points[i] == points[front[-1]]:
            front.append(i)
    return front


def rank(entries: Iterable[tuple[str, float | None]]) -> list[Ranked]:
    """Names and values from the highest value down, as in sports: 1, 2, 2, 4.

    Equal values share the better rank and keep the order given. A missing value (None or NaN) has
    no rank and comes last.
    """
    known: list[tuple[str, float]] = []
    missing: list[Ranked] = []
    for name, value in entries:
        if value is None or math.isnan(value):
            missing.append(Ranked(None, name, None))
        else:
            known.append((name, value))
    known.sort(key=lambda entry: -entry[1])  # stable: ties keep their order
    ranked: list[Ranked] = []
    for place, (name, value) in enumerate(known, start=1):
        tied = ranked and ranked[-1].value == value
        ranked.append(Ranked(ranked[-1].rank if tied else place, name, value))
    return ranked + missing


def _score(accuracy: float, parameters: float, floor: float) -> float:
    parameters, floor = plain(parameters), plain(floor)
    _check_count("parameters", parameters)
    _check_percent("floor", floor)
    if 0 < floor < 1:
        raise _in_percent("floor", floor)
    return max(0.0, 100 * (accuracy - floor) / (parameters / 1e6))


def _check_percent(name: str, value: float) -> None:
    if not (is_real(value) and 0 <= value <= 100):
        raise UsageError(f"{name} must be a percentage from 0 to 100, got {value!r}")


def _in_percent(name: str, value: float) -> UsageError:
    return UsageError(f"{name} must be in percent, got {value:g}: was {100 * value:g} meant?")


def _check_count(name: str, value: float) -> None:
    if not (is_real(value) and value >= 1 and value == int(value)):
        raise UsageError(
            f"{name} must be a whole number of at least 1 (not in millions), got {value!r}"
        )
