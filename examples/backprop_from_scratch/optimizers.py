"""Optimisers: from gradients to a step downhill. θ is a parameter, η the learning rate."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .layers import Parameter


class SGD:
    """θ ← θ - η g: gradient descent on a batch, with an L2 penalty.

    The penalty λ/2 ‖θ‖² is added to the loss, hence λθ to its gradient: g = ∂L/∂θ + λθ. The
    optimisers below differ only in the direction they make of g.
    """

    def __init__(self, params: Sequence[Parameter], lr: float, weight_decay: float = 0.0) -> None:
        self.params, self.lr, self.weight_decay = params, lr, weight_decay

    def zero_grad(self) -> None:
        """Forget the gradients: ``backward`` adds to what is there."""
        for parameter in self.params:
            parameter.grad.zero_()

    def step(self) -> None:
        """Move every parameter once."""
        for i, parameter in enumerate(self.params):
            gradient = parameter.grad + self.weight_decay * parameter.value
            parameter.value -= self.lr * self.direction(i, gradient)

    def direction(self, i: int, gradient: Tensor) -> Tensor:
        """What the ``i``-th parameter goes against, from its ``gradient``, of the same shape."""
        return gradient


class Momentum(SGD):
    """v ← μ v + g, θ ← θ - η v: a heavy ball that remembers where it rolled (Polyak, 1964).

    Rumelhart, Hinton and Williams (1986) keep the step Δ = -η v itself: Δ ← μ Δ - η g, the same
    while η stays. Along a constant gradient v grows to g / (1 - μ): ten times g for μ = 0.9.
    """

    def __init__(
        self,
        params: Sequence[Parameter],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
    ) -> None:
        super().__init__(params, lr, weight_decay)
        self.momentum = momentum
        self.velocity = [torch.zeros_like(parameter.value) for parameter in params]

    def direction(self, i: int, gradient: Tensor) -> Tensor:
        self.velocity[i] = self.momentum * self.velocity[i] + gradient
        return self.velocity[i]


class RMSProp(SGD):
    """s ← ρ s + (1-ρ) g², θ ← θ - η g / (√s + ε): each weight at a scale of its own.

    √s is the root mean square of a weight's recent gradients, so a step is about η whatever the
    gradient's scale (Hinton, Neural Networks for Machine Learning, lecture 6e, 2012, with
    ρ = 0.9). ε keeps a weight without gradient from dividing by 0.
    """

    def __init__(
        self,
        params: Sequence[Parameter],
        lr: float,
        weight_decay: float = 0.0,
        decay: float = 0.9,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__(params, lr, weight_decay)
        self.decay, self.epsilon = decay, epsilon
        self.mean_square = [torch.zeros_like(parameter.value) for parameter in params]

    def direction(self, i: int, gradient: Tensor) -> Tensor:
        self.mean_square[i] = self.decay * self.mean_square[i] + (1 - self.decay) * gradient**2
        return gradient / (self.mean_square[i].sqrt() + self.epsilon)
