"""What a step makes smaller: the loss of the answers, also a teacher's, or of hidden pixels.

Letters: B batch, C channels, H x W pixels, K classes, G hidden or visible blocks, P pixels of a
block in all channels, N pictures.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.pictures import Pictures
from ..errors import UsageError
from ..layers import LabelSmoothingCrossEntropy
from ..models.compact import CompactTransformer
from ..models.masked import MaskedAutoencoder
from .config import TrainConfig
from .metrics import Evaluating, Evaluation, evaluate_model, over_pictures
from .teacher import Teacher

#: Pictures that a reconstruction is shown of.
_SHOWN = 8


@dataclass(frozen=True)
class Rebuilt:
    """How well hidden pixels are told on ``n`` pictures, as mean squared error; the first of them.

    Of those, normalised ``[few, C, H, W]``: what was ``seen``, and what was ``told``.
    """

    n: int
    loss: float
    seen: Tensor
    told: Tensor

    def figures(self) -> dict[str, float]:
        """The plain numbers, for a log."""
        return {"loss": self.loss}


Evaluated = Evaluation | Rebuilt


class Objective(Protocol):
    """The parts of a training step that depend on what is learnt."""

    def targets(self, x: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """What is asked of the batch ``x [B,C,H,W]``, a row a picture."""

    def outputs(self, forward: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        """What the model, called as ``forward``, says, a row a picture."""

    def loss(self, outputs: Tensor, x: Tensor, targets: Tensor) -> Tensor:
        """The mean over the batch."""

    def right(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """How many answers of the batch are right; 0 where nothing is answered."""

    def evaluate(self, module: nn.Module, pictures: Pictures, how: Evaluating) -> Evaluated:
        """How well ``module`` does on ``pictures`` as they are: no augmentation, no draw."""


@dataclass(frozen=True)
class Classification:
    """The right class, and how a teacher sees all of them.

    With a teacher it is the loss of Hinton, Vinyals and Dean (arXiv 1503.02531, section 2):
    ``(1 - share) * cross_entropy + share * T**2 * KL(teacher / T || student / T)``, T the
    temperature. With class weights a picture's second term counts as much as its labels weigh.
    """

    criterion: LabelSmoothingCrossEntropy
    teacher: Teacher | None = None
    share: float = 0.0
    temperature: float = 1.0

    def targets(self, x: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        return labels

    def outputs(self, forward: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        logits: Tensor = forward(x)  # [B, K]
        return logits

    def loss(self, outputs: Tensor, x: Tensor, targets: Tensor) -> Tensor:
        loss: Tensor = self.criterion(outputs, targets)
        if self.teacher is None:
            return loss
        wanted = (self.teacher(x) / self.temperature).log_softmax(dim=1)  # [B, K]
        said = (outputs / self.temperature).log_softmax(dim=1)
        apart = F.kl_div(said, wanted, reduction="none", log_target=True)  # [B, K]
        if self.criterion.weight is not None:
            apart = apart * self.criterion.shares(targets).sum(dim=1, keepdim=True)
        apart = apart.sum() / len(x)
        return (1 - self.share) * loss + self.share * self.temperature**2 * apart

    def right(self, outputs: Tensor, targets: Tensor) -> Tensor:
        labels = targets if targets.ndim == 1 else targets.argmax(dim=1)
        return (outputs.argmax(dim=1) == labels).sum()

    def evaluate(self, module: nn.Module, pictures: Pictures, how: Evaluating) -> Evaluation:
        return evaluate_model(module, pictures, how)


@dataclass(frozen=True)
class Reconstruction:
    """The pixels of blocks that the model does not see (arXiv 2111.06377)."""

    module: MaskedAutoencoder
    ratio: float

    def targets(self, x: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        return self.module.draw(len(x), self.ratio, generator)  # [B, G]

    def outputs(self, forward: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        count = self.module.num_hidden(self.ratio)
        pixels: Tensor = forward(x, targets, count)  # [B, G, P]
        return pixels

    def loss(self, outputs: Tensor, x: Tensor, targets: Tensor) -> Tensor:
        return self.module.loss(outputs, x, targets).mean()

    def right(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.zeros((), device=outputs.device)

    def evaluate(self, module: nn.Module, pictures: Pictures, how: Evaluating) -> Rebuilt:
        """In each picture the same blocks are hidden every time."""
        assert isinstance(module, MaskedAutoencoder)
        every = module.draw(len(pictures), self.ratio, torch.Generator().manual_seed(0))  # [N, G]
        hidden = every[how.processes.share_of(len(pictures))].to(how.device)
        count, done = module.num_hidden(self.ratio), 0
        shown: list[Tensor] = []

        def losses(images: Tensor) -> Tensor:
            nonlocal done
            x, mine = how.normalize(images), hidden[done : done + len(images)]
            done += len(images)
            predicted = module(x, mine, count).float()
            if not shown:
                shown.extend((module.without(x, mine), module.rebuilt(predicted, x, mine)))
            return module.loss(predicted, x, mine)

        each = over_pictures(module, losses, pictures, how)
        if not shown:  # more processes than pictures
            shown.extend(2 * [torch.empty(0, module.in_chans, *module.config.height_width)])
        seen, told = (images[:_SHOWN].clone() for images in shown)
        return Rebuilt(len(each), each.double().mean().item(), seen, told)


def pretraining(model: nn.Module, config: TrainConfig) -> MaskedAutoencoder:
    """What ``model`` is pretrained in; what only answers need of it stays as it is."""
    assert isinstance(model, CompactTransformer)
    try:
        module = MaskedAutoencoder(model, block=config.mask_block)
    except UsageError as error:
        raise UsageError(f"objective 'mae': {re.sub('^block', 'mask_block', str(error))}") from None
    for part in (model.head, model.pool):
        if part is not None:
            part.requires_grad_(False)
    return module


def build_objective(
    config: TrainConfig,
    module: nn.Module,
    teacher: Callable[[str], Teacher],
    weight: Tensor | None = None,
) -> Objective:
    """What ``config`` asks for, of the ``module`` that is trained; classes weigh ``weight`` [K]."""
    if isinstance(module, MaskedAutoencoder):
        return Reconstruction(module, config.mask_ratio)
    criterion = LabelSmoothingCrossEntropy(config.label_smoothing, weight)
    if config.teacher is None:
        return Classification(criterion)
    return Classification(
        criterion, teacher(config.teacher), config.distillation, config.temperature
    )
