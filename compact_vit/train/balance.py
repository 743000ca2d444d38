"""Classes of unequal size: what each weighs in the loss, and a line for those who do not weigh.

Letters: K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..data.pictures import DataSplits
from ..errors import UsageError
from .config import TrainConfig

#: How many times the pictures of the smallest class the largest has, where that is worth a line.
_UNEQUAL = 10


def class_weights(
    config: TrainConfig, splits: DataSplits, device: torch.device | str = "cpu"
) -> Tensor | None:
    """What each class weighs in the loss, ``[K]`` on ``device``; None where all weigh 1.

    ``balanced`` is scikit-learn's: training pictures / (K x those of the class), so that the mean
    over the training pictures is 1. ``UsageError`` where a class has none.
    """
    if config.class_weight == "none":
        return None
    counts = _counts(splits)
    if not counts.all():
        lacking = splits.classes[int(counts.argmin())]
        raise UsageError(
            "class_weight must be 'none' where a class has no training pictures, got "
            f"{config.class_weight!r}, and none is of class {lacking!r}: take more "
            "train_pictures, or hold out fewer"
        )
    return (len(splits.train) / (len(counts) * counts.float())).to(device)


def told_of_unequal(config: TrainConfig, splits: DataSplits) -> list[str]:
    """A line where classes have very unequal numbers of pictures and all pictures weigh alike."""
    counts = _counts(splits)
    least, most = int(counts.argmin()), int(counts.argmax())
    few, many = int(counts[least]), int(counts[most])
    weighs = config.class_weight != "none" or config.objective != "classify" or config.overfit
    if weighs or not few or many < _UNEQUAL * few:
        return []
    return [
        f"class {splits.classes[most]!r} has {many:,} training pictures and "
        f"{splits.classes[least]!r} {few:,}: --class-weight balanced makes all classes count alike"
    ]


def _counts(splits: DataSplits) -> Tensor:
    """The training pictures of every class, ``[K]``."""
    return torch.bincount(splits.train.labels, minlength=len(splits.classes))
