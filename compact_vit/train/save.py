"""What a run writes down of its state, when, and how it is taken up again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..data.pictures import DataSplits
from ..errors import UsageError
from .checkpoint import save_checkpoint, unfit
from .config import TrainConfig
from .ending import ended
from .run import RunFolder
from .state import TrainState


def save_run(
    folder: RunFolder,
    config: TrainConfig,
    state: TrainState,
    splits: DataSplits,
    row: dict[str, Any] | None,
) -> None:
    """Write ``last.pt``, and ``best.pt`` if the epoch of ``row`` did best on the validation split.

    Without a row an epoch is under way. Without a validation split, or without answers, the best
    is the last epoch: there is nothing to pick on. Of several processes only the first writes.
    """
    accuracy = None if row is None else row.get("val_accuracy")
    picked = accuracy is not None and (state.best is None or accuracy > state.best["val_accuracy"])
    if picked:
        state.best = {"epoch": state.epoch, "val_accuracy": accuracy}
    if not state.processes.first:
        return
    content = {
        "weights": state.result.state_dict(),
        "epoch": state.epoch,
        "classes": list(splits.classes),
        "pictures": len(splits.train),
        "mean": list(splits.mean),
        "std": list(splits.std),
    }
    whole = row is not None and ended(config, state, row)
    if picked or (whole and state.best is None):
        save_checkpoint(folder.best, content)
    save_checkpoint(folder.last, {**content, "training": state.state_dict()}, keep=True)


def take_up(
    state: TrainState, splits: DataSplits, folder: RunFolder, path: Path, saved: dict[str, Any]
) -> None:
    """Put ``state`` where the checkpoint ``saved`` at ``path`` left off.

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
