"""What a run writes down of its state, when, and how it is taken up again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..data.pictures import DataSplits
from ..errors import UsageError
from .checkpoint import save_checkpoint, unfit
from .run import RunFolder
from .state import TrainState


def save_run(
    folder: RunFolder, state: TrainState, splits: DataSplits, row: dict[str, Any] | None
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
        content = _content(state, splits) | {"training": state.state_dict()}
        save_checkpoint(folder.last, content, keep=True)
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
        "mean": list(splits.mean),
        "std": list(splits.std),
    }


def take_up(
    state: TrainState, splits: DataSplits, folder: RunFolder, path: Path, saved: dict[str, Any]
) -> None:
    """Put ``state`` where the checkpoint ``saved`` at ``path`` left off.

    If its epoch is the best, a kill may have come before ``best.pt``, which is written again.
    ``UsageError`` if it is of other classes or another number of training pictures, or damaged.
    """
    now = (splits.classes, len(splits.train))
    try:
        before = (tuple(saved["classes"]), int(saved["pictures"]))
        mean, std = (torch.tensor(saved[name]) for name in ("mean", "std"))
        if before == now and not (
            torch.allclose(mean, torch.tensor(splits.mean), atol=1e-3)
            and torch.allclose(std, torch.tensor(splits.std), atol=1e-3)
        ):
            raise ValueError("its pictures were normalised with other statistics")
        if before == now:
            state.load_state_dict(saved["training"], saved["epoch"])
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise unfit(path, "this run", error) from None
    if before != now:
        raise UsageError(
            f"the data set has changed since '{folder.path}' was trained: it had "
            f"{len(before[0])} classes and {before[1]:,} training pictures, and now has "
            f"{len(now[0])} and {now[1]:,}"
        )
    best = state.best is not None and state.best["epoch"] == state.epoch
    if best and state.unfinished is None and folder.summary() is None:
        save_best(folder, state, splits)
