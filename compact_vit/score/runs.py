"""Finished runs as results: what can be compared with what, and what is left out and why."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..data.catalog import DATASETS, own_place
from ..errors import UsageError
from ..models.config import ModelConfig
from ..models.names import config_of
from ..ranking import COUNTED, Result, from_summary
from ..scoring import mean_and_spread
from ..train.config import TrainConfig

if TYPE_CHECKING:
    from ..models.names import AnyConfig
    from ..train.run import RunFolder

#: Choices of a run that change nothing in what it measures but the draws, or how fast it goes.
_NOT_COMPARED = {
    *("seed", "device", "download", "data_dir", "compile", "accumulation"),
    *("deterministic", "track"),
}

#: What fields of a configuration are where nothing else is said.
_DEFAULTS = {entry.name: entry.default for entry in dataclasses.fields(TrainConfig)}

#: What a machine decides of these choices; the summary says how it did.
_DECIDED = ("precision", "attention_dropout")


class LeftOut(NamedTuple):
    """A run that is not ranked."""

    run: str
    reason: str
    """What follows its name in a sentence."""


class Pictures(NamedTuple):
    """What a run was tested on; only runs that agree in all of it are comparable."""

    dataset: str
    place: str | None
    """The folder or file of pictures of the user's own."""
    num_classes: int
    split: str
    n: int
    drawn: bool
    """Whether every seed holds out its own: then only the same seeds test on the same pictures."""

    def __str__(self) -> str:
        where = f" at '{self.place}'" if self.place else ""
        own = ", each seed's own" if self.drawn else ""
        return (
            f"{self.dataset}{where} "
            f"({self.num_classes} classes, {self.n:,} {self.split} pictures{own})"
        )


def pictures_of(summary: Mapping[str, Any], config: Mapping[str, Any]) -> Pictures:
    """What a run was tested on, by its ``summary.json`` and ``config.json``."""
    place = config.get("data_dir") if own_place(summary["dataset"]) else None
    return Pictures(
        summary["dataset"],
        None if place is None else os.path.normpath(str(place)),
        summary["num_classes"],
        summary["final"]["split"],
        summary["final"]["n"],
        summary["final"]["split"] == "val" and bool(config.get("val_fraction")),
    )


@dataclass(frozen=True)
class _Run:
    path: Path
    summary: dict[str, Any]
    config: dict[str, Any]
    parameters: int
    """As they are asked to be counted."""

    @property
    def pictures(self) -> Pictures:
        return pictures_of(self.summary, self.config)

    @property
    def configuration(self) -> str:
        """What two runs share that differ in their seed only.

        A field at its default is as good as none, which is what an older version has written.
        """
        said = {k: v for k, v in self.config.items() if k not in _NOT_COMPARED}
        kept = {k: v for k, v in said.items() if v != _DEFAULTS.get(k)}
        kept |= {k: self.summary[k] for k in _DECIDED if k in self.summary}
        model = _model_config(self.summary, self.config)
        if (
            not isinstance(model, ModelConfig) or model.tokenizer_norm
        ):  # batch norms see each part of a batch by itself
            kept["parts"] = self.summary.get("parts", self.config.get("accumulation"))
        return json.dumps(kept, sort_keys=True)


def read_runs(
    paths: Iterable[str | os.PathLike[str]], count: str = "without", dataset: str | None = None
) -> tuple[list[Result], list[LeftOut], Pictures]:
    """The finished runs in the folders ``paths`` that were tested on the same pictures.

    Runs of one configuration but other seeds are one result: the mean. ``count`` is a key of
    ``COUNTED``. The pictures are those of ``dataset`` (or of a folder with as many classes), else
    those that most of the runs share. Everything else is left out with its reason; if nothing is
    left, a ``UsageError`` gives the reasons.
    """
    finished, left_out = [], []
    for path in dict.fromkeys(Path(path) for path in paths):
        try:
            finished.append(_read(path, count))
        except (UsageError, OSError) as error:
            left_out.append(LeftOut(str(path), _reason(path, error)))
    shared = Counter(run.pictures for run in finished if may_be_of(run.pictures, dataset))
    if not shared:
        left_out += [LeftOut(str(run.path), f"is of {run.pictures}") for run in finished]
        wanted = f" with the results published on {dataset}" if dataset else ""
        raise _nothing_left(f"nothing to rank{wanted}", left_out)
    pictures = shared.most_common(1)[0][0]
    groups: dict[str, dict[int, _Run]] = {}
    for run in finished:
        if run.pictures != pictures:
            reason = f"is of {run.pictures}, not of {pictures}"
            left_out.append(LeftOut(str(run.path), reason))
            continue
        seeds = groups.setdefault(run.configuration, {})
        twin = seeds.setdefault(run.summary["seed"], run)
        if twin is not run:
            reason = f"repeats '{twin.path}': the same configuration and seed"
            left_out.append(LeftOut(str(run.path), reason))
    results = [_result(list(seeds.values()), count) for seeds in groups.values()]
    if dataset is None and len(shared) > 1 and shared[pictures] < 2:
        raise _nothing_left("nothing comparable is left", left_out)
    return results, left_out, pictures


def may_be_of(pictures: Pictures, dataset: str | None) -> bool:
    """Whether ``pictures`` test ``dataset``, or are the user's, which may be a copy of it."""
    if dataset is None:
        return True
    if pictures.split != "test":  # what was learnt by heart is no result
        return False
    if pictures.dataset == dataset:
        return True
    info = DATASETS.get(dataset)
    copied = info is not None and info.num_classes == pictures.num_classes
    return own_place(pictures.dataset) is not None and copied


def _nothing_left(what: str, left_out: Sequence[LeftOut]) -> UsageError:
    reasons = "; ".join(f"'{run}' {reason}" for run, reason in left_out)
    return UsageError(f"{what}: {reasons or 'no run was given'}")


def _reason(path: Path, error: Exception) -> str:
    """What is wrong with the run in ``path``, as what follows its name."""
    said = " ".join(str(error).split())
    own = f"'{path}' "
    return said.removeprefix(own) if said.startswith(own) else f"cannot be ranked: {said}"


def _read(path: Path, count: str) -> _Run:
    """The run in the folder ``path``; ``UsageError`` if it is unfinished or damaged."""
    from ..train.run import RunFolder

    folder = RunFolder.open(path)
    config = folder.read_json("config.json")
    if config.get("objective", "classify") != "classify":
        raise UsageError(f"'{path}' is pretraining: it has learnt no answers")
    if not isinstance(options := config.get("model_options", {}), dict):
        raise UsageError(
            f"'{path}' is damaged: in its config.json model_options is {options!r:.40}"
        )
    summary = read_summary(folder)
    if count == "effective":
        parameters = effective_parameters(_bytes_of_weights(folder.last))
    else:
        parameters = summary["parameters" + ("_without_positions" if count == "without" else "")]
    return _Run(path, summary, config, parameters)


#: What a file must hold: names, dotted inside groups, with their types and conditions.
Needed = tuple[tuple[str, Any, Callable[[Any], bool]], ...]

#: What a summary must hold to be ranked.
RANKED: Needed = (
    ("model", str, bool),
    ("dataset", str, bool),
    ("num_classes", int, lambda v: v >= 1),
    ("epochs", int, lambda v: v >= 1),
    ("macs", (int, type(None)), lambda v: v is None or v >= 1),
    ("seed", int, lambda v: v >= 0),
    ("parameters", int, lambda v: v >= 1),
    ("parameters_without_positions", int, lambda v: v >= 1),
    ("final.split", str, bool),
    ("final.n", int, lambda v: v >= 1),
    ("final.epoch", (int, type(None)), lambda v: v is None or v >= 1),
    ("final.accuracy", (int, float), lambda v: 0 <= v <= 100),
)


def read_summary(folder: RunFolder, needed: Needed = RANKED) -> dict[str, Any]:
    """The run's ``summary.json``; ``UsageError`` if there is none or a figure is not sound."""
    summary = folder.summary()
    if summary is None:
        raise UsageError(
            f"'{folder.path}' has no summary.json: its run has not finished, go on with "
            f"--resume {folder.path}"
        )
    for name, kind, holds in needed:
        group, _, key = name.rpartition(".")
        values = summary.get(group) if group else summary
        value = values.get(key) if isinstance(values, dict) else None
        if not isinstance(value, kind) or isinstance(value, bool) or not holds(value):
            raise UsageError(
                f"'{folder.path}' is damaged: in its summary.json {name} is {value!r:.40}"
            )
    return summary


def _result(runs: Sequence[_Run], count: str) -> Result:
    """Runs that differ in their seed only, as one; its epochs are None where theirs differ."""
    first = runs[0]
    epochs = {from_summary(run.summary).epochs for run in runs}  # some may have stopped early
    accuracy = mean_and_spread([run.summary["final"]["accuracy"] for run in runs])
    return dataclasses.replace(
        from_summary(first.summary),
        accuracy=accuracy.mean,
        deviation=accuracy.deviation,
        seeds=accuracy.n,
        epochs=epochs.pop() if len(epochs) == 1 else None,
        parameters=first.parameters,
        counted=COUNTED[count],
        source=" + ".join(str(run.path) for run in runs),
        config=_model_config(first.summary, first.config),
    )


def effective_parameters(size: int) -> int:
    """How many float32 parameters take as many bytes as ``size``, rounded up."""
    return -(-size // 4)


def _bytes_of_weights(path: Path) -> int:
    """Bytes of the weights in a run's checkpoint; zeros count like other numbers."""
    from ..train.checkpoint import load_checkpoint

    weights = load_checkpoint(path)["weights"].values()
    return sum(tensor.numel() * tensor.element_size() for tensor in weights)


def _model_config(summary: Mapping[str, Any], config: Mapping[str, Any]) -> AnyConfig | None:
    """The run's model without its weights, or None if its name is none of this version's."""
    info = DATASETS.get(summary["dataset"])
    options = {"num_classes": summary["num_classes"], "in_chans": info.in_chans if info else None}
    said = ("img_size", "positional_embedding", "residual")
    options |= {name: config[name] for name in said if config.get(name) is not None}
    options |= config.get("model_options", {})
    if "pretrained" in options:
        options["pretrained"] = False
    try:
        return config_of(summary["model"], **options)
    except UsageError:
        return None
