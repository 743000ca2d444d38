"""When a run is over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .config import TrainConfig
from .state import TrainState


def ended(config: TrainConfig, state: TrainState, row: Mapping[str, Any] | None) -> str:
    """Why there is nothing left to train after the epoch of ``row``, the last; empty if there is.

    Before its last epoch a run is over when the validation accuracy has not risen for
    ``early_stopping`` epochs, and when the pictures of ``overfit`` are learnt.
    """
    waited = 0 if state.best is None else state.epoch - int(state.best["epoch"])
    if config.overfit and row is not None and row.get("learnt_accuracy") == 100:
        return f"all {config.overfit} pictures are learnt by heart in epoch {state.epoch}"
    if state.epoch >= config.epochs:
        return f"all {config.epochs} epochs are done"
    if 0 < config.early_stopping <= waited:
        epochs = f"{waited} epoch{'s' if waited != 1 else ''}"
        return f"the validation accuracy has not risen for {epochs}, after {state.epoch}"
    return ""
