"""What a run writes down of its state, and when."""

from __future__ import annotations

from typing import Any

from ..data.pictures import DataSplits
from .checkpoint import save_checkpoint
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

    Without a row an epoch is under way. Without a validation split the best is the last epoch:
    there is nothing to pick on but the test set. Of several processes only the first writes.
    """
    accuracy = row["val_accuracy"] if row is not None and splits.val is not None else None
    picked = accuracy is not None and (state.best is None or accuracy > state.best["val_accuracy"])
    if picked:
        state.best = {"epoch": state.epoch, "val_accuracy": accuracy}
    if not state.processes.first:
        return
    content = {
        "weights": state.evaluated.state_dict(),
        "epoch": state.epoch,
        "classes": list(splits.classes),
        "pictures": len(splits.train),
        "mean": list(splits.mean),
        "std": list(splits.std),
    }
    whole = row is not None and ended(config, state, row)
    if picked or (whole and splits.val is None):
        save_checkpoint(folder.best, content)
    save_checkpoint(folder.last, {**content, "training": state.state_dict()}, keep=True)
