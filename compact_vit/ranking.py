"""Results of one data set from the best score down, each with how its size is counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .models import arithmetic
from .models.config import config_from_name
from .published import PublishedResult
from .scoring import Interval, pareto_front, rank, score_interval, size_accuracy_score

if TYPE_CHECKING:
    from .models.names import AnyConfig

#: What the sizes of a ranking are: which parameters are counted.
COUNTED = {
    "without": "without positions",
    "with": "with positions",
    "effective": "bytes / 4, positions too",
}


@dataclass(frozen=True, kw_only=True)
class Result:
    """One accuracy with its size, wherever it comes from."""

    name: str
    origin: str
    """``given``, ``run`` or ``published``."""
    accuracy: float | None
    """Percent; the mean where there are several seeds. None where it is missing."""
    parameters: int | None
    counted: str
    """Which parameters those are."""
    deviation: float | None = None
    """Sample standard deviation of the accuracy over the seeds."""
    seeds: int | None = None
    n: int | None = None
    """Pictures tested on."""
    macs: int | None = None
    epochs: int | None = None
    split: str | None = None
    selection: str = ""
    """Which epoch or which run of several the accuracy is of."""
    source: str = ""
    config: AnyConfig | None = None
    """The model of this library that it is of, for what has to be measured on it."""


@dataclass(frozen=True)
class Row:
    """A result in its place."""

    rank: int | None
    result: Result
    score: float | None
    interval: Interval | None
    """Of the score at 95%, for having tested on so many pictures only; None without their n."""
    front: bool
    """Whether no other result is as accurate at no more parameters."""


def ranked(results: Sequence[Result], floor: float) -> list[Row]:
    """The results from the highest score down; those without a score come last, without a rank.

    Of equal scores, as all below the ``floor`` have, the higher accuracy comes first. ``floor`` is
    in percent. Raises ``UsageError`` for figures out of range.
    """
    scores = [_score(result, floor) for result in results]
    sized = [
        (i, result.parameters, result.accuracy)
        for i, result in enumerate(results)
        if result.parameters is not None and result.accuracy is not None
    ]
    front = {sized[k][0] for k in pareto_front([(size, accuracy) for _, size, accuracy in sized])}
    pairs = [
        None if score is None or result.accuracy is None else (score, result.accuracy)
        for score, result in zip(scores, results, strict=True)
    ]
    levels = sorted({pair for pair in pairs if pair is not None})
    order = rank(
        (str(i), None if pair is None else levels.index(pair)) for i, pair in enumerate(pairs)
    )
    return [
        Row(
            place,
            results[i],
            scores[i],
            _interval(results[i], floor) if scores[i] is not None else None,
            i in front,
        )
        for place, i in ((entry.rank, int(entry.name)) for entry in order)
    ]


def _score(result: Result, floor: float) -> float | None:
    if result.accuracy is None or result.parameters is None:
        return None
    percent = result.origin != "given"  # a run's 0.9 is an untrained model, not a fraction
    return size_accuracy_score(result.accuracy, result.parameters, floor, known_percent=percent)


def _interval(result: Result, floor: float) -> Interval | None:
    if result.n is None or result.accuracy is None or result.parameters is None:
        return None
    percent = result.origin != "given"
    return score_interval(
        result.accuracy, result.parameters, result.n, floor, known_percent=percent
    )


def from_summary(summary: Mapping[str, Any]) -> Result:
    """A finished run as its ``summary.json`` tells it: the last epoch, without positions."""
    final = summary["final"]
    return Result(
        name=summary["model"],
        origin="run",
        accuracy=final["accuracy"],
        parameters=summary["parameters_without_positions"],
        counted=COUNTED["without"],
        n=final["n"],
        macs=summary.get("macs"),
        epochs=final.get("epoch", summary["epochs"]),  # it may have stopped early
        split=final["split"],
        selection="last epoch",
    )


def from_published(
    published: PublishedResult, num_classes: int, count: str, as_published: bool
) -> Result:
    """A published result, its parameters counted as ``count`` says (a key of ``COUNTED``).

    The members of this library are counted anew, so that one ranking counts alike; other
    architectures keep what their source gives, as all do if ``as_published``.
    """
    config = macs = None
    parameters, counted = published.parameters, f"{published.counted} (its source)"
    if published.model is not None:
        config = config_from_name(published.model, num_classes=num_classes)
        macs = arithmetic.macs(config)
        if not as_published:
            parameters = arithmetic.parameters(config, positions=count != "without")
            counted = COUNTED[count]
    return Result(
        name=published.name,
        origin="published",
        accuracy=published.accuracy,
        parameters=parameters,
        counted=counted,
        n=published.n,
        macs=macs,
        epochs=published.epochs,
        split=published.split,
        selection=published.selection,
        source=published.source,
        config=config,
    )
