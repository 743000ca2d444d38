"""Fields of a training as experiments write them: flat, what a model takes besides with a dot."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..baselines.config import TimmConfig
from ..data.catalog import dataset_info
from ..errors import UsageError, unknown
from ..models.names import config_of
from ..models.shipped import weights_at
from ..train.cli import ELSEWHERE
from ..train.config import PATHS, TrainConfig, is_name
from ..train.rules import need_source
from ..train.tracking import need_packages

#: Before the name of an option that only some models have: ``model_options.widths``.
DOTTED = "model_options."

#: The option of timm's models that may be a file.
_WEIGHTS = f"{DOTTED}pretrained"

FIELDS = tuple(entry.name for entry in dataclasses.fields(TrainConfig))


def flat(values: Mapping[str, Any], where: str, folder: Path) -> dict[str, Any]:
    """``values`` by field, a mapping of model options one by one; paths are those in ``folder``.

    ``where`` says in a ``UsageError`` for an unknown field whose they are.
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        check_field(name, where)
        if name == DOTTED[:-1]:
            if not isinstance(value, dict):
                raise UsageError(f"{where}: {name} must be names with values, got {value!r:.40}")
            entries = {f"{DOTTED}{option}": v for option, v in value.items()}
        else:
            entries = {name: value}
        for field in entries:
            if field in found:
                raise UsageError(f"{where}: {field} is given twice")
            found[field] = located(field, entries[field], folder)
    return found


def check_field(name: str, where: str) -> None:
    """Refuse a ``name`` that is no field of a training; ``where`` begins the message."""
    if name not in FIELDS and not (name.startswith(DOTTED) and name != DOTTED):
        raise UsageError(f"{where}: {unknown_field(name)}")


def unknown_field(name: str) -> UsageError:
    """The error for a ``name`` that is no field: the field that others call so, or a near one."""
    kind, flag = "field of a training", ELSEWHERE.get(f"--{name.replace('_', '-')}")
    if flag is None:
        return unknown(kind, name, FIELDS)
    ours = flag.removeprefix("--").split()[0].replace("-", "_")
    return UsageError(f"unknown {kind} {name!r}: did you mean {ours!r}?")


def located(name: str, value: Any, folder: Path) -> Any:
    """``value``, made absolute if it is a path in the field ``name``."""
    if name not in (*PATHS, _WEIGHTS) or not isinstance(value, str) or value == "":
        return value
    path = os.path.abspath(folder / os.path.expanduser(value))  # paths are meant from the file
    return value if is_name(name, value) and not os.path.isdir(path) else path


def configured(values: Mapping[str, Any]) -> TrainConfig:
    """The configuration of flat ``values``; ``UsageError`` for what cannot run."""
    options = {k.removeprefix(DOTTED): v for k, v in values.items() if k.startswith(DOTTED)}
    whole = {k: v for k, v in values.items() if not k.startswith(DOTTED)}
    return TrainConfig(**whole | ({"model_options": options} if options else {}))


def check_own(path: Path, config: TrainConfig) -> None:
    """Refuse pictures of the user's that are not there, for the experiment in ``path``."""
    own, there = dataset_info(config.dataset).own, config.data_dir or ""
    if own and not (os.path.isdir(there) if own == "folder" else os.path.isfile(there)):
        raise UsageError(
            f"'{path}': data_dir must be a {own} that is there, got '{config.data_dir}': give "
            "yours with --data-dir"
        )


def check_split(path: Path, config: TrainConfig) -> None:
    """Refuse, for the search in ``path``, what has no validation split, or no accuracy on it."""
    from ..data.datasets import own_roles

    if config.overfit or config.objective != "classify":
        raise UsageError(f"'{path}': a search needs a validation accuracy: no overfit, no mae")
    info, place = dataset_info(config.dataset), config.data_dir
    if info.own is None or place is None:  # or the configuration would have been refused
        return
    check_own(path, config)
    own = "val" in own_roles(info, place)
    if own == (config.val_fraction > 0):
        raise UsageError(
            f"'{path}': a search needs one validation split, val beside test in '{place}' or a "
            f"val_fraction such as 0.1, got val_fraction {config.val_fraction:g}"
        )


def check_there(path: Path, config: TrainConfig) -> None:
    """Refuse, for the experiment in ``path``, what ``config`` needs to begin and is not there.

    That is packages to track with, weights to start from, a teacher, and a model of timm's.
    """
    source, teacher = config.init_from, config.teacher
    model = config_of(config.model, **config.model_options)
    try:
        if isinstance(model, TimmConfig):
            from ..baselines.pretrained import check_timm

            check_timm(model)
        need_packages(config.track)
        if source is not None:
            need_source(source)
        if teacher is None or is_name("teacher", teacher):
            return
        is_run = os.path.isfile(os.path.join(teacher, "config.json"))
        if weights_at(teacher) is not None or not is_run:
            raise UsageError(f"teacher must be the folder of a run or timm/NAME, got '{teacher}'")
    except UsageError as error:
        raise UsageError(f"'{path}': {error}") from None


def value_of(config: TrainConfig, field: str) -> Any:
    """What ``field`` is in ``config``; None for an option that its model was not given.

    Of a path it is the last part, by which a run or a data set is known.
    """
    if field.startswith(DOTTED):
        value = config.model_options.get(field.removeprefix(DOTTED))
        return os.path.basename(value) if field == _WEIGHTS and isinstance(value, str) else value
    value = getattr(config, field)
    if field in PATHS and value is not None and not value.startswith("timm/"):
        return os.path.basename(value)
    return value
