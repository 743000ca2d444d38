"""What a finished run says of itself: ``summary.json`` and ``curves.png``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..data.pictures import DataSplits
from ..plots import plot_curves
from ..report.measure import summarize
from ..scoring import size_accuracy_score
from .config import TrainConfig
from .machine import hardware, versions
from .metrics import Evaluation
from .state import TrainState

#: Accuracy in percent below which the score is zero.
SCORE_FLOOR = 70.0


def summarize_run(
    config: TrainConfig,
    state: TrainState,
    splits: DataSplits,
    history: list[dict[str, Any]],
    last: Evaluation,
    best: Evaluation | None,
) -> dict[str, Any]:
    """The content of ``summary.json``.

    ``final`` is the last epoch on the test set, the headline. ``best`` is the epoch that did best
    on the validation split, on the test set; without a validation split nothing is picked, and it
    is the last epoch again.
    """
    model, picked = state.evaluated, state.best
    size = summarize(model, (model.config.in_chans, *model.config.height_width))
    figures = {"split": "test", "n": last.n}
    final = {**figures, "epoch": config.epochs, **last.figures()}
    if picked is None or best is None:
        chosen = {**final, "picked_on": None}
    else:
        chosen = {**figures, "epoch": picked["epoch"], **best.figures(), "picked_on": "val"}
        chosen["val_accuracy"] = picked["val_accuracy"]
    # below 1% the score would ask whether a fraction was meant; here it is known to be percent
    score = (
        size_accuracy_score(last.accuracy, size.parameters_without_positions, SCORE_FLOOR)
        if last.accuracy > SCORE_FLOOR
        else 0.0
    )
    seconds = sum(row["seconds"] for row in history)
    return {
        "model": config.model,
        "dataset": config.dataset,
        "recipe": config.recipe,
        "num_classes": len(splits.classes),
        "img_size": list(model.config.height_width),
        "train_pictures": len(splits.train),
        "epochs": config.epochs,
        "final": final,
        "best": chosen,
        "parameters": size.parameters,
        "parameters_without_positions": size.parameters_without_positions,
        "macs": size.macs,
        "macs_without_attention": size.macs_without_attention,
        "score": {
            "value": score,
            "floor": SCORE_FLOOR,
            "accuracy": "final",
            "parameters": "without positions",
        },
        "seed": config.seed,
        "skipped_steps": state.health.skipped,
        "seconds": seconds,
        "pictures_per_second": sum(row["pictures_per_second"] for row in history) / len(history),
        **_machine(state),
    }


def _machine(state: TrainState) -> dict[str, Any]:
    """What computed, and how."""
    choices = state.choices
    return {
        "precision": choices.precision,
        "compiled": choices.compile,
        "parts": choices.parts,
        "attention": choices.attention,
        "attention_dropout": choices.attention_dropout,
        "hardware": hardware(state.device),
        "versions": versions(),
    }


def write_curves(path: Path, history: list[dict[str, Any]], config: TrainConfig) -> None:
    """Draw loss and accuracy over the epochs."""
    title = f"{config.model} on {config.dataset}"
    if config.label_smoothing:
        title += f"; the training loss is against targets smoothed by {config.label_smoothing:g}"
    figure = plot_curves(history, title=title)
    figure.savefig(path, dpi=150)
