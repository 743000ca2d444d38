"""What a finished run says of itself: ``summary.json`` and ``curves.png``."""

from __future__ import annotations

from pathlib import Path
from statistics import harmonic_mean
from typing import TYPE_CHECKING, Any

from ..data.augment import Normalize
from ..data.pictures import DataSplits, Pictures
from ..plots import plot_curves, plot_samples, save_figure
from ..report.measure import summarize
from ..scoring import size_accuracy_score
from .config import TrainConfig, data_name
from .machine import hardware, versions
from .metrics import Evaluation
from .objective import Evaluated, Rebuilt
from .state import TrainState

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Accuracy in percent below which the score is zero.
SCORE_FLOOR = 70.0


def summarize_run(
    config: TrainConfig,
    state: TrainState,
    splits: DataSplits,
    history: list[dict[str, Any]],
    last: Evaluated,
    best: Evaluated | None,
) -> dict[str, Any]:
    """The content of ``summary.json``.

    ``final`` is the last epoch on the test set, the headline (``report_on`` may name another
    split). ``best`` is the epoch that did best on the validation split, there too; where nothing
    is picked, it is the last epoch again.
    """
    model, picked = state.result, state.best
    size = summarize(model, (model.config.in_chans, *model.config.height_width))
    figures = {"split": "train" if config.overfit else config.report_on, "n": last.n}
    final = {**figures, "epoch": state.epoch, **last.figures()}
    if picked is None or best is None:
        chosen = {**final, "picked_on": None}
    else:
        chosen = {**figures, "epoch": picked["epoch"], **best.figures(), "picked_on": "val"}
        chosen["val_accuracy"] = picked["val_accuracy"]
    seconds = sum(row["seconds"] for row in history)
    return {
        "model": config.model,
        "dataset": config.dataset,
        "recipe": config.recipe,
        "num_classes": len(splits.classes),
        "img_size": list(model.config.height_width),
        "train_pictures": len(splits.train),
        "objective": config.objective,
        "epochs": config.epochs,
        "stopped_early": state.epoch < config.epochs,
        **_learnt(config, history),
        "final": final,
        "best": chosen,
        "parameters": size.parameters,
        "parameters_without_positions": size.parameters_without_positions,
        "macs": size.macs,
        "macs_without_attention": size.macs_without_attention,
        "score": score_of(last.accuracy, size.parameters_without_positions)
        if isinstance(last, Evaluation)
        else None,
        "seed": config.seed,
        "skipped_pictures": splits.skipped,
        "skipped_steps": state.health.skipped,
        "seconds": seconds,
        # of epochs of equally many pictures: all pictures over all seconds
        "pictures_per_second": harmonic_mean([row["pictures_per_second"] for row in history]),
        **_machine(state),
    }


def score_of(accuracy: float, parameters: int) -> dict[str, Any]:
    """The score of the final accuracy, with what it counts."""
    return {
        "value": size_accuracy_score(accuracy, parameters, SCORE_FLOOR, known_percent=True),
        "floor": SCORE_FLOOR,
        "accuracy": "final",
        "parameters": "without positions",
    }


def _learnt(config: TrainConfig, history: list[dict[str, Any]]) -> dict[str, Any]:
    """Whether, and when, the pictures of ``overfit`` were learnt by heart; nothing without it."""
    if not config.overfit:
        return {}
    learnt = (row["epoch"] for row in history if row.get("learnt_accuracy") == 100)
    return {"overfit": {"pictures": config.overfit, "learnt_in_epoch": next(learnt, None)}}


def _machine(state: TrainState) -> dict[str, Any]:
    """What computed, and how."""
    choices = state.choices
    return {
        "precision": choices.precision,
        "compiled": choices.compile,
        "cuda_graphs": choices.graphs,
        "parts": choices.parts,
        "attention": choices.attention,
        "attention_dropout": choices.attention_dropout,
        "notes": list(state.notes),
        "hardware": hardware(state.device),
        "processes": state.processes.count,
        "versions": versions(),
    }


def run_title(config: TrainConfig) -> str:
    """The model and its data set, a folder of pictures by its own name."""
    return f"{config.model} on {data_name(config)}"


def write_rebuilt(path: Path, splits: DataSplits, pictures: Pictures, last: Rebuilt) -> None:
    """Draw a few of the ``pictures``, what was seen of them, and what was told."""
    normalize = Normalize(splits.mean, splits.std)
    rows = [normalize.undone(x.cpu()) for x in (last.seen, last.told)]
    few = len(last.seen)
    names = [splits.classes[label] for label in pictures.labels[:few].tolist()]
    figure = plot_samples(pictures.images[:few], rows, names, said=("seen", "told"))
    save_figure(figure, path)


def write_curves(path: Path, history: list[dict[str, Any]], config: TrainConfig) -> None:
    """Draw loss and accuracy over the epochs."""
    save_figure(draw_curves(history, config), path)


def draw_curves(
    history: list[dict[str, Any]],
    config: TrainConfig,
    axes: str = "linear",
    title: str | None = None,
) -> Figure:
    """Loss and accuracy of a run over the epochs; ``axes`` as in ``plot_curves``.

    The ``title`` is the model's and the data set's without another, and says what the training loss
    is of.
    """
    title = title or run_title(config)
    if said := training_loss(config):
        title += f"; the training loss is {said}"
    return plot_curves(history, title, axes)


def training_loss(config: TrainConfig) -> str:
    """What the training loss is and the test loss is not; nothing where they are alike."""
    said = []
    if config.label_smoothing:
        said.append(f"against targets smoothed by {config.label_smoothing:g}")
    if config.class_weight != "none":
        said.append("weighted by class")
    if config.teacher is not None:
        said.append("also of a teacher's answers")
    return ", ".join(said)
