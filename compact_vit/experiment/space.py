"""What a search looks through, as an experiment's file says it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..train.config import TrainConfig
from .fields import DOTTED, check_field, located
from .section import Section

#: The keys of an experiment's file that a search reads.
SEARCHED = ("search", "trials", "sampler", "pruner", "seed")

SAMPLERS, PRUNERS = ("tpe", "random"), ("median", "none")


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Range:
    """A number from ``low`` to ``high``, both among them."""

    low: float
    high: float
    step: float | None
    """Only low, low + step, ...; None for every number, or every whole one."""
    log: bool
    """Whether orders of magnitude are equally likely, not numbers."""
    whole: bool
    """Whether both ends are whole numbers, and so all between."""


@dataclass(frozen=True)
class Search:
    """A search's space and how it goes."""

    space: dict[str, Choice | Range]
    trials: int
    sampler: str
    pruner: str
    seed: int


def read_search(path: Path, whole: Section) -> Search | None:
    """The search in the file, None if it has none; ``UsageError`` with the key for a wrong one."""
    if "search" not in whole.values:
        for key in SEARCHED:
            if key in whole.values:
                raise whole.wrong(key, "is of a search, and there is no search")
        return None
    section = Section(path, "search", whole.values["search"])
    if not section.values:
        raise section.wrong("", "must hold at least one field, got none")
    for field in section.values:
        check_field(field, f"'{path}': search")
        if field == DOTTED[:-1]:
            raise section.wrong(field, "must be options one by one, such as model_options.widths")
    space = {field: _dimension(path, section, field) for field in section.values}
    return Search(
        space,
        whole.whole("trials", 30, 1),
        whole.choice("sampler", SAMPLERS),
        whole.choice("pruner", PRUNERS),
        whole.whole("seed", 0, 0),
    )


def _dimension(path: Path, section: Section, field: str) -> Choice | Range:
    if isinstance(section.values[field], list):
        return Choice(tuple(located(field, v, path.parent) for v in section.listed(field)))
    span = Section(path, f"search.{field}", section.values[field])
    span.only(("low", "high", "step", "log"))
    low, high = span.number("low"), span.number("high")
    step = span.number("step") if "step" in span.values else None
    log = span.values.get("log", False)
    whole = _whole(span, field)
    if not isinstance(log, bool):
        raise span.wrong("log", f"must be true or false, got {log!r:.40}")
    if low >= high:
        raise span.wrong("low", f"must be below high ({high:g}), got {low:g}")
    if step is not None and not (step > 0 and _divides(step, high - low)):
        raise span.wrong("step", f"must lead from low to high, got {step:g}")
    if log and (low <= 0 or step is not None):
        problem = "must be above 0 with log" if low <= 0 else "must go without a step"
        raise span.wrong("low" if low <= 0 else "log", problem)
    return Range(low, high, step, log, whole)


def _divides(step: float, span: float) -> bool:
    return abs(span / step - round(span / step)) < 1e-6


def _whole(span: Section, field: str) -> bool:
    """Whether ``field`` takes whole numbers alone; an option of a model, if its range does."""
    given = [value for key, value in span.values.items() if key != "log"]
    integers = all(isinstance(value, int) for value in given)
    if field.startswith(DOTTED):
        return integers
    kinds = {
        entry.name: str(entry.type).split(" |")[0] for entry in dataclasses.fields(TrainConfig)
    }
    if kinds[field] not in ("int", "float"):
        raise span.wrong("", "takes no range: give a list of values")
    if kinds[field] == "int" and not integers:
        raise span.wrong("", f"must go from whole number to whole number, got {given}")
    return kinds[field] == "int"
