"""Training on three levels: a batch, an epoch, a fit.

Letters: B pictures in a batch, I inputs, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from compact_vit.data import Pictures
from compact_vit.errors import UsageError

from .layers import Layer
from .losses import CrossEntropy
from .optimizers import SGD


@dataclass
class Score:
    """How well pictures were told: loss in nats a picture and accuracy in percent, over ``n``."""

    n: int = 0
    total_loss: float = 0.0
    right: int = 0

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: its mean ``loss``, ``logits [B,K]``, ``labels [B]``."""
        self.n += len(labels)
        self.total_loss += loss.item() * len(labels)
        self.right += int((logits.argmax(dim=1) == labels).sum())

    @property
    def loss(self) -> float:
        return self.total_loss / self.n

    @property
    def accuracy(self) -> float:
        return 100 * self.right / self.n


@dataclass(frozen=True)
class Trainer:
    """A model, what moves it, and ``prepare``: pictures ``uint8 [B,C,H,W]`` -> ``float [B,I]``."""

    model: Layer
    optimizer: SGD
    prepare: Callable[[Tensor], Tensor]
    generator: Generator
    batch_size: int = 64
    loss: CrossEntropy = field(default_factory=CrossEntropy)

    def train_batch(self, images: Tensor, labels: Tensor, score: Score) -> None:
        """One step: forward, loss, backward, downhill."""
        logits = self.model.forward(self.prepare(images))  # [B,I] -> [B,K]
        loss = self.loss.forward(logits, labels)
        if not math.isfinite(loss):
            raise UsageError(
                f"the loss became {loss.item()}: wanted a learning rate small enough to stay"
                f" finite, got {self.optimizer.lr}: try a tenth of it"
            )
        self.optimizer.zero_grad()
        self.model.backward(self.loss.backward())
        self.optimizer.step()
        score.add(loss, logits, labels)

    def train_epoch(self, pictures: Pictures) -> Score:
        """Every picture once, in a new order; scored on the way, under the weights of the time."""
        self.model.train(True)
        score = Score()
        order = torch.randperm(len(pictures), generator=self.generator)
        for batch in order.split(self.batch_size):
            self.train_batch(pictures.images[batch], pictures.labels[batch], score)
        return score

    def fit(self, train: Pictures, val: Pictures, epochs: int) -> Iterator[tuple[Score, Score]]:
        """After each epoch its training score, and that of pictures it does not learn from."""
        for _ in range(epochs):
            yield self.train_epoch(train), self.evaluate(val)

    def evaluate(self, pictures: Pictures) -> Score:
        """Score ``pictures`` with the weights as they are, without dropout."""
        self.model.train(False)
        score = Score()
        for batch in torch.arange(len(pictures)).split(1000):
            labels = pictures.labels[batch]
            logits = self.model.forward(self.prepare(pictures.images[batch]))
            score.add(self.loss.forward(logits, labels), logits, labels)
        return score
