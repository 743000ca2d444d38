"""From an experiment's file to its runs: every combination, named and checked before any work."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..strict_yaml import read_yaml
from ..train.config import PATHS, TrainConfig, is_name
from .fields import DOTTED, check_field, check_own, configured, flat, located, value_of
from .names import default_template, fields_of, name_by
from .section import Section
from .space import SEARCHED, Search, read_search
from .words import shown

#: More runs than this are a mistake.
MOST_RUNS = 10_000

AXES = ("linear", "log-log")

#: What an experiment leaves beside the folders of its runs.
EXPERIMENT, RESULTS = "experiment.json", "results.json"
TABLE, MEANS, PAGE, PICTURE = "table.csv", "means.csv", "table.md", "comparison.png"
_TAKEN = {EXPERIMENT, RESULTS, TABLE, MEANS, PAGE, PICTURE}


@dataclass(frozen=True)
class Experiment:
    """What an experiment's file says; values by field, model options as ``model_options.NAME``."""

    path: Path
    name: str | None
    train: dict[str, Any]
    """What all runs share."""
    grid: dict[str, list[Any]]
    """Values of which every combination is a run."""
    cases: list[dict[str, Any]]
    """Values that go together, each case with the whole grid."""
    axes: str
    against: str | None
    """The varied field that the picture has accuracies against, in place of curves."""
    search: Search | None

    @property
    def varied(self) -> list[str]:
        """The fields that the grid and its cases name."""
        return [*dict.fromkeys(itertools.chain(*self.cases)), *self.grid]


@dataclass(frozen=True)
class Planned:
    """One run to be."""

    name: str
    config: TrainConfig
    varied: dict[str, Any]
    """The values of all fields that vary over the experiment, in their order."""


def read_experiment(
    path: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None
) -> Experiment:
    """The experiment in the YAML file ``path``, ``overrides`` in place of what it says of fields.

    Paths in the file are meant from its folder, those of ``overrides`` from here. Raises
    ``UsageError`` with the file and the key for whatever is none of an experiment's.
    """
    path = Path(os.path.expanduser(path))
    whole = Section(path, "", read_yaml(path))
    whole.only(("name", "train", "grid", "cases", "picture", *SEARCHED))
    name = whole.values.get("name")
    if name is not None and not (isinstance(name, str) and name):
        raise whole.wrong("name", f"must be a template such as '{{model}}', got {name!r:.40}")
    picture = Section(path, "picture", whole.values.get("picture", {}))
    picture.only(("axes", "against"))
    train = Section(path, "train", whole.values.get("train", {}))
    grid, cases = _grid(path, whole), _cases(path, whole)
    search = read_search(path, whole)
    if search is not None and (grid or cases):
        raise UsageError(f"'{path}': a search has neither a grid nor cases: write two files")
    given = flat(overrides or {}, f"'{path}': set", Path())
    shared = flat(train.values, f"'{path}': train", path.parent) | given
    for field in (*grid, *itertools.chain(*cases)):
        if field in shared:
            where = "on the command line" if field in given else "in train"
            raise UsageError(f"'{path}': {field} is varied, and must not be fixed {where}")
    for field in grid:
        if any(field in case for case in cases):
            raise UsageError(f"'{path}': {field} is in grid and in cases: leave it in one")
    against = picture.values.get("against")
    varied = [name for name in (*grid, *itertools.chain(*cases)) if name != "seed"]
    if against is not None and against not in varied:
        fields = ", ".join(varied) or "there is none"
        wanted = f"must be a field besides the seed that is varied ({fields})"
        raise picture.wrong("against", f"{wanted}, got {against!r:.40}")
    if against is not None and "axes" in picture.values:
        raise picture.wrong("axes", "is of curves: leave it out with against")
    axes = picture.choice("axes", AXES)
    return Experiment(path, name, shared, grid, cases, axes, against, search)


def as_experiment(given: Experiment | str | os.PathLike[str]) -> Experiment:
    """``given``, or the experiment in the file that it names."""
    return given if isinstance(given, Experiment) else read_experiment(given)


def _grid(path: Path, whole: Section) -> dict[str, list[Any]]:
    section = Section(path, "grid", whole.values.get("grid", {}))
    for field in section.values:
        check_field(field, f"'{path}': grid")
        section.listed(field)
        if field == DOTTED[:-1]:
            raise section.wrong(field, "must be options one by one, such as model_options.widths")
    return {
        field: [located(field, value, path.parent) for value in values]
        for field, values in section.values.items()
    }


def _cases(path: Path, whole: Section) -> list[dict[str, Any]]:
    if "cases" not in whole.values:
        return []
    cases = []
    for number, case in enumerate(whole.listed("cases"), 1):
        section = Section(path, f"cases[{number}]", case)
        if not section.values:
            raise section.wrong("", "must hold at least one field, got none")
        cases.append(flat(section.values, f"'{path}': {section.name}", path.parent))
    return cases


def plan_runs(experiment: Experiment) -> list[Planned]:
    """Every run of the grid, in the order of the file, the last field changing fastest.

    Raises ``UsageError`` for the first combination that cannot run, and for names that clash.
    """
    path, grid, cases = experiment.path, experiment.grid, experiment.cases or [{}]
    varied = experiment.varied
    if not varied:
        raise UsageError(f"'{path}' varies nothing: it has neither a grid nor cases")
    count = len(cases) * math.prod(map(len, grid.values()))
    if count > MOST_RUNS:
        raise UsageError(f"'{path}': at most {MOST_RUNS:,} runs, got {count:,} combinations")
    template = experiment.name or default_template(varied)
    try:
        fields_of(template)
    except UsageError as error:
        raise UsageError(f"'{path}': name {error}") from None
    runs: list[Planned] = []
    for case in cases:
        for values in itertools.product(*grid.values()):
            given = case | dict(zip(grid, values, strict=True))
            runs.append(_planned(experiment, template, varied, given))
    _check_names(path, template, runs)
    return _told_apart(runs)


def _told_apart(runs: list[Planned]) -> list[Planned]:
    """``runs``, paths whose last parts are the same by as many parts as tell them apart."""
    for field in [field for field in PATHS if field in runs[0].varied]:
        values = {getattr(run.config, field) for run in runs} - {None}
        paths = {v: Path(os.path.abspath(v)) for v in values if not is_name(field, v)}
        count = 1
        while len({path.parts[-count:] for path in paths.values()}) < len(set(paths.values())):
            count += 1
        tails = {v: str(Path(*path.parts[-count:])) for v, path in paths.items()}
        for run in runs:
            value = getattr(run.config, field)
            run.varied[field] = tails.get(value, run.varied[field])
    return runs


def _planned(
    experiment: Experiment, template: str, varied: list[str], given: dict[str, Any]
) -> Planned:
    """The run of the values ``given`` in one combination."""
    which = ", ".join(f"{field} {shown(value):.40}" for field, value in given.items())
    try:
        config = configured(experiment.train | given)
    except UsageError as error:
        raise UsageError(f"'{experiment.path}', with {which}: {error}") from None
    check_own(experiment.path, config)
    try:
        name = name_by(template, lambda field: value_of(config, field))
    except UsageError as error:
        raise UsageError(f"'{experiment.path}': name {error} (with {which})") from None
    return Planned(name, config, {field: value_of(config, field) for field in varied})


def _check_names(path: Path, template: str, runs: list[Planned]) -> None:
    """Refuse names that are not told apart, by any file system."""
    seen: dict[str, Planned] = {}
    for run in runs:
        key = run.name.casefold()
        if key in _TAKEN:
            raise UsageError(f"'{path}': name must not give '{run.name}', a file of the results")
        if key in seen:
            twin = seen[key]
            by_path = twin.varied == run.varied and twin.config != run.config
            hint = " (a path gives a name its last part: rename one of them)" if by_path else ""
            apart = [field for field in run.varied if run.varied[field] != twin.varied.get(field)]
            hint = hint or (f": put {{{apart[0]}}} into it" if apart else "")
            raise UsageError(
                f"'{path}': name {template!r:.80} gives '{run.name}' to two runs: {_told(twin)}; "
                f"and {_told(run)}{hint}"
            )
        seen[key] = run


def _told(run: Planned) -> str:
    """What varies in ``run``, paths whole."""
    return ", ".join(
        f"{field} {getattr(run.config, field) if field in PATHS else f'{shown(value):.40}'}"
        for field, value in run.varied.items()
    )
