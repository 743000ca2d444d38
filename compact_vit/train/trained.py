"""A model as its run left it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..data.augment import Normalize
from ..errors import UsageError, unknown
from .checkpoint import load_checkpoint, unfit
from .config import TrainConfig
from .model import build_model, tell_pictures
from .run import RunFolder

if TYPE_CHECKING:
    from ..data.pictures import DataSplits
    from ..models.zoo import AnyModel


@dataclass(frozen=True)
class TrainedModel:
    """A model as a run left it, with what its pictures and answers mean."""

    model: AnyModel
    config: TrainConfig
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    epoch: int | None
    """None of weights that do not say how they came about."""
    marks: Mapping[str, Any] = field(default_factory=dict)
    """Of the data set it was trained on, as ``DataSplits.marks``; of weights none."""

    def check_divided(self, splits: DataSplits, split: str) -> None:
        """Refuse a ``split`` that is drawn from all pictures, where those are others by now."""
        drawn = self.config.overfit or self.config.test_fraction
        if split != "test":
            drawn = drawn or self.config.val_fraction or self.config.train_pictures
        if drawn and not splits.divided_as(self.marks):
            raise UsageError(
                f"the data set has changed since the model was trained, and its {split} part, "
                "drawn from all pictures, would hold some that were trained on: put the files "
                "back, or train again"
            )


def load_model(
    run: str | os.PathLike[str], checkpoint: str | None = None, *, pretrained: bool = False
) -> TrainedModel:
    """The trained model of a run's folder, in evaluation mode, on the CPU.

    ``checkpoint`` is ``"last"`` (the last epoch's weights, averaged ones if the run averaged) or
    ``"best"`` (the epoch that did best on the validation split); by default the best one if the
    run held out a validation split. ``pretrained`` says that a model will do that has not learnt
    to answer. Raises ``UsageError`` if the folder is no run, damaged, or of such a model.
    """
    folder = RunFolder.open(run)
    config = folder.config()
    if config.objective != "classify" and not pretrained:
        raise UsageError(
            f"'{folder.path}' is pretraining, which has learnt no answers: train with --init-from "
            "it, and give that run"
        )
    if checkpoint not in (None, "last", "best"):
        raise unknown("checkpoint", checkpoint, ("last", "best"))
    picked = checkpoint == "best" or (checkpoint is None and folder.best.exists())
    path = folder.best if picked else folder.last
    content = load_checkpoint(path)
    try:
        classes, mean, std = (tuple(content[key]) for key in ("classes", "mean", "std"))
        if not all(isinstance(name, str) for name in classes):
            raise TypeError(f"its classes must be names, got {classes!r:.60}")
        Normalize(mean, std)  # as whoever shows pictures to the model will
        model = build_model(config, len(classes), len(mean), fetch=False)
        model.load_state_dict(content["weights"])
        epoch = int(content["epoch"])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, OverflowError) as error:
        raise unfit(path, config.model, error) from None
    tell_pictures(model, mean, std, classes)
    marks = {name: content.get(name) for name in ("labels", "files")}
    return TrainedModel(model.eval(), config, classes, mean, std, epoch, marks)
