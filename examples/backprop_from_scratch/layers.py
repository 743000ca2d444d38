"""Layers: ``forward`` computes the output, ``backward`` brings the gradient back through it.

For y = f(x) and a loss L that depends on x through y alone, the chain rule is

    ∂L/∂x_i = Σ_j  ∂L/∂y_j · ∂y_j/∂x_i

the gradient at the output times the Jacobian of f. No layer here writes its Jacobian down: each
knows a shorter way to the product. In the code ``dout`` is ∂L/∂y and ``dx`` is ∂L/∂x.

Letters: B pictures in a batch, I inputs and O outputs of a layer; ⊙ multiplies entry by entry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Generator, Tensor


@dataclass(eq=False)
class Parameter:
    """What a layer learns, and the gradient of the loss by it, of the same shape."""

    value: Tensor
    grad: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.grad = torch.zeros_like(self.value)


class Layer:
    """A differentiable function; ``backward`` belongs to the ``forward`` called last."""

    params: Sequence[Parameter] = ()
    training = True

    def forward(self, x: Tensor) -> Tensor:
        """The output y for the input x, remembering what ``backward`` will need."""
        raise NotImplementedError

    def backward(self, dout: Tensor) -> Tensor:
        """∂L/∂x from ∂L/∂y, each of its tensor's shape; adds to the gradients of ``params``."""
        raise NotImplementedError

    def train(self, training: bool) -> None:
        """Whether the layer is learning; only dropout behaves otherwise then."""
        self.training = training


class Linear(Layer):
    """y = x W + b: ``[B,I] -> [B,O]``.

    Entry by entry y_bo = Σ_i x_bi w_io + b_o, so

        ∂L/∂x_bi = Σ_o ∂L/∂y_bo · w_io    dx = dout Wᵀ
        ∂L/∂w_io = Σ_b x_bi · ∂L/∂y_bo    dW = xᵀ dout
        ∂L/∂b_o  = Σ_b ∂L/∂y_bo           db = the sum of dout over the batch

    W begins normal with variance 2/I, which keeps the scale of the activations from layer to
    layer under ReLU (He et al., arXiv 1502.01852); b begins at 0.
    """

    def __init__(
        self, inputs: int, outputs: int, generator: Generator, dtype: torch.dtype = torch.float32
    ) -> None:
        normal = torch.randn(inputs, outputs, generator=generator, dtype=dtype)
        self.weight = Parameter(normal * (2 / inputs) ** 0.5)  # [I,O]
        self.bias = Parameter(torch.zeros(outputs, dtype=dtype))  # [O]
        self.params = (self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        return x @ self.weight.value + self.bias.value  # [B,I] [I,O] + [O] -> [B,O]

    def backward(self, dout: Tensor) -> Tensor:
        self.weight.grad += self.x.T @ dout  # [I,B] [B,O] -> [I,O]
        self.bias.grad += dout.sum(dim=0)  # [B,O] -> [O]
        return dout @ self.weight.value.T  # [B,O] [O,I] -> [B,I]


# The activations work entry by entry on any shape: their Jacobian is diagonal, and the product
# with it is dx = dout ⊙ f'(x).


class ReLU(Layer):
    """y = max(x, 0); y' = 1 where x > 0, else 0 (at the kink too, where any of 0..1 would do)."""

    def forward(self, x: Tensor) -> Tensor:
        self.positive = x > 0
        return x.clamp(min=0)

    def backward(self, dout: Tensor) -> Tensor:
        return dout * self.positive


class LeakyReLU(Layer):
    """y = x where x > 0, else slope · x; y' = 1 or slope: no unit is ever dead (Maas, 2013)."""

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        self.positive = x > 0
        return torch.where(self.positive, x, self.slope * x)

    def backward(self, dout: Tensor) -> Tensor:
        return torch.where(self.positive, dout, self.slope * dout)


class Sigmoid(Layer):
    """y = 1 / (1 + e⁻ˣ); y' = e⁻ˣ / (1 + e⁻ˣ)² = y (1 - y), at most 1/4."""

    def forward(self, x: Tensor) -> Tensor:
        self.y = 1 / (1 + torch.exp(-x))  # e⁻ˣ may overflow to infinity: y is then 0, as it should
        return self.y

    def backward(self, dout: Tensor) -> Tensor:
        return dout * self.y * (1 - self.y)


class Tanh(Layer):
    """y = (eˣ - e⁻ˣ) / (eˣ + e⁻ˣ); y' = 1 - y²."""

    def forward(self, x: Tensor) -> Tensor:
        self.y = torch.tanh(x)
        return self.y

    def backward(self, dout: Tensor) -> Tensor:
        return dout * (1 - self.y**2)


class Dropout(Layer):
    """y = x ⊙ m in training, y = x otherwise (Srivastava et al., JMLR 15, 2014).

    An entry of m is 0 with probability p, else 1/(1-p), so E[m] = p·0 + (1-p)/(1-p) = 1: what
    the next layer expects is the same with dropout and without. The gradient passes through the
    same mask: dx = dout ⊙ m. ``p`` is at least 0 and below 1.
    """

    def __init__(self, p: float, generator: Generator) -> None:
        self.p, self.generator = p, generator

    def forward(self, x: Tensor) -> Tensor:
        self.mask = torch.ones_like(x)
        if self.training:
            kept = torch.rand(x.shape, generator=self.generator, dtype=x.dtype) >= self.p
            self.mask = kept.to(x.dtype) / (1 - self.p)
        return x * self.mask

    def backward(self, dout: Tensor) -> Tensor:
        return dout * self.mask


class Sequential(Layer):
    """One layer after the other. y = f₃(f₂(f₁(x))) has dx = dy J₃ J₂ J₁: backward goes back."""

    def __init__(self, *layers: Layer) -> None:
        self.layers = layers
        self.params = [parameter for layer in layers for parameter in layer.params]

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dout: Tensor) -> Tensor:
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout

    def train(self, training: bool) -> None:
        for layer in self.layers:
            layer.train(training)


class MLP(Sequential):
    """Linear layers of ``widths``, an activation and dropout between them: ``[B,I] -> [B,O]``.

    ``widths`` runs from the inputs to the outputs: (784, 100, 10) has one hidden layer.
    """

    def __init__(
        self,
        widths: Sequence[int],
        generator: Generator,
        activation: Callable[[], Layer] = ReLU,
        dropout: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        *hidden, last = pairwise(widths)
        layers: list[Layer] = []
        for inputs, outputs in hidden:
            linear = Linear(inputs, outputs, generator, dtype)
            layers += [linear, activation(), Dropout(dropout, generator)]
        super().__init__(*layers, Linear(*last, generator, dtype))
