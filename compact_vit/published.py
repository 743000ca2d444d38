"""Published results, from the one data file that keeps them: ``published.json``."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

from .errors import unknown

_FILE = Path(__file__).with_name("published.json")


@dataclass(frozen=True, kw_only=True)
class PublishedResult:
    """One accuracy that somebody published, and what is known of how it came about."""

    name: str
    model: str | None
    """The member of this library that it is of, or None for another architecture."""
    dataset: str
    split: str
    """The pictures tested on."""
    n: int | None
    """How many they are; None where the accuracy is no whole number of them."""
    accuracy: float
    """Percent."""
    parameters: int
    """As the source gives them."""
    counted: str
    """What the source counted as parameters, checked by arithmetic where there is a model."""
    epochs: int | None
    """None where it is not known."""
    selection: str
    """Which run it is of several."""
    source: str


@functools.cache
def _all_results() -> tuple[PublishedResult, ...]:
    content = json.loads(_FILE.read_text(encoding="utf-8"))
    return tuple(
        PublishedResult(**{**row, "source": content["sources"][row["source"]]})
        for row in content["results"]
    )


def published_datasets() -> list[str]:
    """The data sets that results are kept of."""
    return list(dict.fromkeys(result.dataset for result in _all_results()))


def published_results(dataset: str) -> list[PublishedResult]:
    """What is published on ``dataset``; ``UsageError`` if nothing is kept of it."""
    if dataset not in published_datasets():
        raise unknown("data set with published results", dataset, published_datasets())
    return [result for result in _all_results() if result.dataset == dataset]
