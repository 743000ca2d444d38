"""How well a model does on pictures: loss, top-1, top-5, and every prediction.

Letters: B batch, K classes, N pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.loader import BatchLoader
from ..data.pictures import Pictures
from ..errors import UsageError
from .distributed import ALONE, Processes
from .machine import choose_precision


@dataclass(frozen=True)
class Evaluation:
    """The figures of a model on ``n`` pictures; accuracies in percent, the loss in nats."""

    n: int
    loss: float
    accuracy: float
    top5: float
    probabilities: Tensor
    """``[N, K]`` float32, in the pictures' order."""
    labels: Tensor
    """``[N]`` int64."""

    def figures(self) -> dict[str, float]:
        """The plain numbers, for a log."""
        return {"loss": self.loss, "accuracy": self.accuracy, "top5": self.top5}


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context that computes in ``precision`` (auto, fp32, bf16 or fp16) on ``device``."""
    precision, _ = choose_precision(precision, device)
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")


@dataclass(frozen=True)
class Evaluating:
    """How pictures are shown to a model: normalised, on ``device``, in ``precision``.

    Without ``batch_size`` it is 64 on a CPU, whose caches hold no more, and 512 elsewhere.
    ``on_batch`` hears the number of pictures of each batch done. Several ``processes`` share the
    pictures, and all get the whole.
    """

    normalize: Callable[[Tensor], Tensor]
    device: torch.device
    precision: str = "auto"
    batch_size: int | None = None
    on_batch: Callable[[int], None] | None = None
    processes: Processes = ALONE


def evaluate_model(model: nn.Module, pictures: Pictures, how: Evaluating) -> Evaluation:
    """Run ``model`` over all ``pictures`` as they are: no augmentation, no draw.

    The model's mode is restored.
    """
    logits = over_pictures(model, lambda images: model(how.normalize(images)), pictures, how)
    return score_logits(logits, pictures.labels)


@torch.inference_mode()
def over_pictures(
    model: nn.Module, answer: Callable[[Tensor], Tensor], pictures: Pictures, how: Evaluating
) -> Tensor:
    """What ``answer`` gives for ``uint8 [B,C,H,W]`` with ``model`` evaluating: all, a row each."""
    was_training = model.training
    model.eval()
    answers = [torch.empty(0, device=how.device)]
    batch_size = how.batch_size or (64 if how.device.type == "cpu" else 512)
    mine = how.processes.share_of(len(pictures))
    share = pictures.part(mine)
    loader = BatchLoader(share, batch_size, shuffle=False, generator=None, device=how.device)
    for images, _ in loader:
        with autocast(how.device, how.precision):
            answers.append(answer(images).float())
        if how.on_batch is not None:
            how.on_batch(len(images))
    model.train(was_training)
    return how.processes.gather(torch.cat(answers))


def check_finite(logits: Tensor) -> Tensor:
    """``logits [N, K]`` as they are; ``UsageError`` where a picture's say nothing."""
    bad = int((~logits.isfinite()).any(dim=1).sum())
    if bad:
        raise UsageError(
            f"the model's answers to {bad:,} of {len(logits):,} pictures are not finite: its "
            "weights are damaged, or overflow in this precision"
        )
    return logits


def score_logits(logits: Tensor, labels: Tensor) -> Evaluation:
    """The figures of ``logits [N, K]`` against ``labels [N]``."""
    probabilities = logits.softmax(dim=1)
    right = probabilities.max(dim=1).indices == labels  # of equal ones the same as in all tables
    in_five = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels.unsqueeze(1)
    return Evaluation(
        n=len(labels),
        loss=F.cross_entropy(logits, labels).item(),
        accuracy=100.0 * right.double().mean().item(),
        top5=100.0 * (right | in_five.any(dim=1)).double().mean().item(),
        probabilities=probabilities,
        labels=labels,
    )
