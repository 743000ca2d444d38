"""What a run writes down of its state, when, and how it is taken up again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ..data.pictures import DataSplits
from ..errors import UsageError
from .checkpoint import load_checkpoint, save_checkpoint, unfit
from .config import TrainConfig, with_whole_paths
from .run import RunFolder
from .state import TrainState

#: What may be another when a run goes on: where its files lie, and how the machine is used.
_MAY_CHANGE = {
    *("data_dir", "download", "init_from", "teacher", "track"),
    *("device", "precision", "compile", "deterministic", "accumulation"),
}


def save_run(
    folder: RunFolder,
    config: TrainConfig,
    state: TrainState,
    splits: DataSplits,
    row: dict[str, Any] | None,
) -> None:
    """Write ``last.pt``, and ``best.pt`` if the epoch of ``row`` did best on the validation split.

    Without a row an epoch is under way. Of several processes only the first writes. ``best.pt`` is
    the later, as ``take_up`` can write it again from the other.
    """
    accuracy = None if row is None else row.get("val_accuracy")
    picked = accuracy is not None and (state.best is None or accuracy > state.best["val_accuracy"])
    if picked:
        state.best = {"epoch": state.epoch, "val_accuracy": accuracy}
    if state.processes.first:
        whole = json.dumps(with_whole_paths(config).to_dict())
        own = {"config": whole, "notes": list(state.notes), "training": state.state_dict()}
        save_checkpoint(folder.last, _content(state, splits) | own, keep=True)
    if picked:
        save_best(folder, state, splits)


def save_best(folder: RunFolder, state: TrainState, splits: DataSplits) -> None:
    """Write ``best.pt``, the weights as they are now, from the first process."""
    if state.processes.first:
        save_checkpoint(folder.best, _content(state, splits))


def _content(state: TrainState, splits: DataSplits) -> dict[str, Any]:
    """What a model is called by, and shown, with its weights."""
    return {
        "weights": state.result.state_dict(),
        "epoch": state.epoch,
        "classes": list(splits.classes),
        "pictures": len(splits.train),
        **splits.marks(),
        "mean": list(splits.mean),
        "std": list(splits.std),
    }


def take_up(
    state: TrainState,
    config: TrainConfig,
    splits: DataSplits,
    folder: RunFolder,
    path: Path,
    saved: dict[str, Any],
) -> None:
    """Put ``state`` where the checkpoint ``saved`` at ``path`` left off.

    If its epoch is the best, a kill may have come before ``best.pt``, which is written again.
    ``UsageError`` if it is of another configuration or of other labels, or damaged, and where the
    best epoch's weights are gone.
    """
    _same_config(folder, config, saved.get("config"))
    now = (splits.classes, len(splits.train))
    try:
        before = (tuple(saved["classes"]), int(saved["pictures"]))
        divided = splits.divided_as(saved)
        means, stds = (torch.tensor([saved[k], getattr(splits, k)]) for k in ("mean", "std"))
        alike = all(torch.allclose(was, now_, atol=1e-3) for was, now_ in (means, stds))
        if before == now and divided and alike:
            state.load_state_dict(saved["training"], saved["epoch"])
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise unfit(path, "this run", error) from None
    if before != now:
        raise UsageError(
            f"the data set has changed since '{folder.path}' was trained: it had "
            f"{len(before[0])} classes and {before[1]:,} training pictures, and now has "
            f"{len(now[0])} and {now[1]:,}"
        )
    if not divided:
        raise UsageError(
            f"the data set has changed since '{folder.path}' was trained: its labels, the names of "
            "its files or the arrays in its file are others, or in another order, and what was "
            "held out would be trained on: put them back, or train again"
        )
    if not alike:
        raise UsageError(
            f"the pictures have changed since '{folder.path}' was trained: their mean or deviation "
            "is another: put them back, or train again"
        )
    notes = saved.get("notes")  # an older checkpoint has none
    state.before = tuple(map(str, notes)) if isinstance(notes, list) else ()
    if state.best is not None and folder.summary() is None:
        if state.best["epoch"] == state.epoch and state.unfinished is None:
            save_best(folder, state, splits)
        elif state.processes.first:
            _check_best(folder, state.best["epoch"], state.epoch, splits)


def _check_best(folder: RunFolder, best: int, done: int, splits: DataSplits) -> None:
    """Refuse a ``best.pt`` that is not this run's, before epochs are trained in vain.

    It is of its ``best`` epoch, or of one after the ``done`` ones, which come to the same again.
    """
    try:
        content = load_checkpoint(folder.best)
    except UsageError:
        content = {}
    own = content.get("epoch") == best or content.get("epoch", 0) > done
    if not (own and content.get("pictures") == len(splits.train) and splits.divided_as(content)):
        raise UsageError(
            f"'{folder.best}' must hold the best epoch so far, {best}, of this run: put it back, "
            "or train again"
        )


def _same_config(folder: RunFolder, config: TrainConfig, saved: Any) -> None:
    """Refuse what was written by hand into the configuration of a run that has begun."""
    try:
        before = dict(json.loads(saved))
    except (TypeError, ValueError, RecursionError):  # an older checkpoint, or a forged one
        return
    for name, now in json.loads(json.dumps(config.to_dict())).items():
        if name in before and name not in _MAY_CHANGE and before[name] != now:
            raise UsageError(
                f"config.json of '{folder.path}' has changed since the run began: {name} was "
                f"{before[name]!r:.60} and is {now!r:.60}: put it back, or train another run, with "
                f"--init-from {folder.path} to begin with what this one has learnt"
            )
