"""What a run writes down of its state, and when."""

from __future__ import annotations

from typing import Any

from ..data.pictures import DataSplits
from .checkpoint import save_checkpoint
from .config import TrainConfig
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

    Without a row an epoch is under way. Without a validation split the best is the last epoch:
    there is nothing to pick on but the test set.
    """
    content = {
        "weights": state.evaluated.state_dict(),
        "epoch": state.epoch,
        "classes": list(splits.classes),
        "pictures": len(splits.train),
        "mean": list(splits.mean),
        "std": list(splits.std),
    }
    if row is not None and splits.val is None and state.epoch == config.epochs:
        save_checkpoint(folder.best, content)
    if row is not None and splits.val is not None:
        accuracy = row["val_accuracy"]
        if state.best is None or accuracy > state.best["val_accuracy"]:
            state.best = {"epoch": state.epoch, "val_accuracy": accuracy}
            save_checkpoint(folder.best, content)
    save_checkpoint(folder.last, {**content, "training": state.state_dict()}, keep=True)
