"""The example whose derivatives are written by hand: each against autograd and differences.

Letters: B pictures in a batch, I inputs, O outputs of a layer.
"""

from __future__ import annotations

import math
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Generator, nn
from torch.nn import functional

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"

sys.path.insert(0, str(EXAMPLES))
try:
    layers, losses, optimizers = (
        import_module(f"backprop_from_scratch.{name}")
        for name in ("layers", "losses", "optimizers")
    )
finally:
    sys.path.remove(str(EXAMPLES))

# the example's layer -> the same function in torch
ACTIVATIONS = {
    "ReLU": functional.relu,
    "LeakyReLU": functional.leaky_relu,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
}
SHAPES = [(1, 1), (1, 7), (5, 1), (6, 4), (2, 3, 4)]
activation = pytest.mark.parametrize("name", ACTIVATIONS)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal values in float64."""
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def mlp(dropout: float = 0.0, widths=(6, 5, 4, 3), activation=layers.Tanh):
    model = layers.MLP(widths, seeded(1), activation, dropout, dtype=torch.float64)
    for bias in model.params[1::2]:  # from 0, a unit whose inputs are all 0 sits on ReLU's kink
        bias.value += drawn(len(bias.value))
    return model


def close(got: torch.Tensor, wanted: torch.Tensor, tolerance: float = 1e-9) -> None:
    assert got.shape == wanted.shape
    assert got.dtype == wanted.dtype == torch.float64
    assert (got - wanted).abs().max() <= tolerance


def check_against_autograd(layer, function, x: torch.Tensor) -> None:
    """Output, ``dx`` and every parameter's gradient equal those of ``function(x, *params)``."""
    leaf = x.clone().requires_grad_()
    twins = [parameter.value.clone().requires_grad_() for parameter in layer.params]
    wanted = function(leaf, *twins)
    dout = drawn(*wanted.shape, seed=9)
    gradients = torch.autograd.grad(wanted, [leaf, *twins], dout)
    close(layer.forward(x), wanted)
    close(layer.backward(dout), gradients[0])
    for parameter, gradient in zip(layer.params, gradients[1:], strict=True):
        close(parameter.grad, gradient)


class ByHand(torch.autograd.Function):
    """A layer as torch sees it, so that torch's own numerical check can try its backward."""

    @staticmethod
    def forward(context, make, x, *values):
        context.layer = make()  # anew: gradcheck calls forward again before it calls backward
        for parameter, value in zip(context.layer.params, values, strict=True):
            parameter.value = value.detach()
        return context.layer.forward(x.detach())

    @staticmethod
    def backward(context, dout):
        for parameter in context.layer.params:
            parameter.grad = torch.zeros_like(parameter.value)
        dx = context.layer.backward(dout)
        return None, dx, *(parameter.grad for parameter in context.layer.params)


def gradcheck(make, x: torch.Tensor) -> bool:
    """torch's own comparison with central differences, of ``dx`` and of every parameter."""
    values = [parameter.value.clone().requires_grad_() for parameter in make().params]
    return torch.autograd.gradcheck(
        lambda *tensors: ByHand.apply(make, *tensors), [x.clone().requires_grad_(), *values]
    )


def check_by_differences(layer, x: torch.Tensor, h: float = 1e-5) -> None:
    """(L(x + h) - L(x - h)) / 2h of L = Σ dout ⊙ y, entry by entry, for x and every parameter."""
    dout = drawn(*layer.forward(x).shape, seed=9)
    dx = layer.backward(dout)
    pairs = [(x, dx), *((parameter.value, parameter.grad) for parameter in layer.params)]
    for tensor, gradient in pairs:
        numerical = torch.empty_like(tensor)
        for i in range(tensor.numel()):
            value = tensor.view(-1)[i].item()
            losses = []
            for near in (value + h, value - h):
                tensor.view(-1)[i] = near
                losses.append((dout * layer.forward(x)).sum().item())
            tensor.view(-1)[i] = value
            numerical.view(-1)[i] = (losses[0] - losses[1]) / (2 * h)
        close(gradient, numerical, tolerance=1e-7)


@pytest.mark.parametrize(
    ("batch", "inputs", "outputs"), [(1, 1, 1), (1, 5, 3), (4, 2, 6), (7, 9, 1)]
)
def test_linear(batch, inputs, outputs) -> None:
    def layer():
        return layers.Linear(inputs, outputs, seeded(0), dtype=torch.float64)

    x = drawn(batch, inputs)
    check_against_autograd(layer(), lambda x, w, b: functional.linear(x, w.T, b), x)
    check_by_differences(layer(), x)
    assert gradcheck(layer, x)


@activation
@pytest.mark.parametrize("shape", SHAPES)
def test_activations(name, shape) -> None:
    make, x = getattr(layers, name), 2 * drawn(*shape)
    check_against_autograd(make(), ACTIVATIONS[name], x)
    check_by_differences(make(), x)
    assert gradcheck(make, x)


@activation
def test_activations_at_the_kink_and_far_out(name) -> None:
    x = torch.tensor([[0.0, -0.0, 1e-300, -1e-300, 40.0, -40.0, 900.0, -900.0]]).double()
    check_against_autograd(getattr(layers, name)(), ACTIVATIONS[name], x)


def test_leaky_relu_has_the_slope_asked_for() -> None:
    check_against_autograd(
        layers.LeakyReLU(0.3), lambda x: functional.leaky_relu(x, 0.3), drawn(4, 5)
    )


@activation
@pytest.mark.parametrize("widths", [(6, 3), (6, 5, 3), (6, 5, 4, 3)])
@pytest.mark.parametrize("batch", [1, 8])
def test_mlp(name, widths, batch) -> None:
    def network(x, *values):
        for i in range(0, len(values), 2):
            x = functional.linear(x, values[i].T, values[i + 1])
            x = ACTIVATIONS[name](x) if i + 2 < len(values) else x
        return x

    def make():
        return mlp(widths=widths, activation=getattr(layers, name))

    x = drawn(batch, 6)
    check_against_autograd(make(), network, x)
    assert gradcheck(make, x)


def test_sequential_goes_back_in_order() -> None:
    def stack():
        first = layers.Linear(4, 3, seeded(0), dtype=torch.float64)
        inner = layers.Sequential(
            layers.Tanh(), layers.Linear(3, 5, seeded(1), dtype=torch.float64)
        )
        return layers.Sequential(first, layers.ReLU(), inner, layers.Sigmoid())

    def twin(x, v, b, w, c):
        return torch.sigmoid(torch.tanh(torch.relu(x @ v + b)) @ w + c)

    check_against_autograd(stack(), twin, drawn(6, 4))
    check_by_differences(stack(), drawn(6, 4))


def test_backward_adds_to_the_gradients() -> None:
    layer, x, dout = mlp(), drawn(4, 6), drawn(4, 3, seed=2)
    layer.forward(x)
    layer.backward(dout)
    once = [parameter.grad.clone() for parameter in layer.params]
    layer.backward(dout)
    for parameter, gradient in zip(layer.params, once, strict=True):
        close(parameter.grad, 2 * gradient)
    optimizers.SGD(layer.params, lr=1.0).zero_grad()
    assert not any(parameter.grad.any() for parameter in layer.params)


def test_linear_begins_at_the_scale_of_he() -> None:
    linear = layers.Linear(400, 500, seeded(0))
    assert linear.weight.value.std().item() == pytest.approx((2 / 400) ** 0.5, rel=0.01)
    assert abs(linear.weight.value.mean().item()) < 1e-3
    assert not linear.bias.value.any()
    assert torch.equal(linear.weight.value, layers.Linear(400, 500, seeded(0)).weight.value)
    assert not torch.equal(linear.weight.value, layers.Linear(400, 500, seeded(1)).weight.value)


def test_dropout_keeps_the_expectation() -> None:
    dropout, n = layers.Dropout(0.3, seeded(0)), 200_000
    y = dropout.forward(torch.ones(n))
    assert y.unique().tolist() == [0.0, pytest.approx(1 / 0.7)]
    deviation = (0.3 * 0.7 / n) ** 0.5  # of the share that is dropped
    assert (y == 0).double().mean().item() == pytest.approx(0.3, abs=5 * deviation)
    assert y.double().mean().item() == pytest.approx(1, abs=5 * deviation / 0.7)


def test_dropout_goes_back_through_the_mask_of_its_forward() -> None:
    dropout, x = layers.Dropout(0.4, seeded(3)), drawn(20, 30)
    y, dout = dropout.forward(x), drawn(20, 30, seed=1)
    close(y, torch.where(y == 0, y, x / 0.6), tolerance=1e-12)
    close(dropout.backward(dout), dout * (y / x))
    assert torch.equal(dropout.backward(dout), dropout.backward(dout))
    assert not torch.equal(dropout.forward(x), y)  # a new mask at every forward
    same = layers.Dropout(0.4, seeded(3))
    assert torch.equal(same.forward(x), y)


def test_dropout_is_nothing_outside_training() -> None:
    dropout, x = layers.Dropout(0.4, seeded(0)), drawn(20, 30)
    dropout.forward(x)
    dropout.train(False)
    assert torch.equal(dropout.forward(x), x)
    assert torch.equal(dropout.backward(x), x)
    none = layers.Dropout(0.0, seeded(0))
    assert torch.equal(none.forward(x), x)


def test_train_reaches_every_layer() -> None:
    model = layers.Sequential(mlp(dropout=0.5), layers.Dropout(0.5, seeded(0)))
    x = drawn(4, 6)
    assert not torch.equal(model.forward(x), model.forward(x))
    model.train(False)
    assert torch.equal(model.forward(x), model.forward(x))
    model.train(True)
    assert not torch.equal(model.forward(x), model.forward(x))


def test_mlp_with_dropout_under_its_mask() -> None:
    """Autograd through the hand-written forward meets the mask that was drawn."""
    model, x, dout = mlp(dropout=0.5), drawn(8, 6).requires_grad_(), drawn(8, 3, seed=2)
    (wanted,) = torch.autograd.grad(model.forward(x), x, dout)
    close(model.backward(dout).detach(), wanted)
    assert (model.layers[2].mask == 0).any()
    assert gradcheck(lambda: mlp(dropout=0.5), x.detach())


@pytest.mark.parametrize(("batch", "classes"), [(1, 1), (1, 4), (6, 2), (9, 10)])
def test_cross_entropy(batch, classes) -> None:
    loss = losses.CrossEntropy()
    logits = 3 * drawn(batch, classes)
    labels = torch.randint(classes, (batch,), generator=seeded(0))
    leaf = logits.clone().requires_grad_()
    wanted = functional.cross_entropy(leaf, labels)
    wanted.backward()
    close(loss.forward(logits, labels), wanted.detach())
    close(loss.backward(), leaf.grad)

    class Loss(torch.autograd.Function):
        @staticmethod
        def forward(context, z):
            context.loss = losses.CrossEntropy()
            return context.loss.forward(z.detach(), labels)

        @staticmethod
        def backward(context, dout):
            return dout * context.loss.backward()

    assert torch.autograd.gradcheck(Loss.apply, leaf)


def test_cross_entropy_of_large_logits() -> None:
    loss = losses.CrossEntropy()
    logits = torch.tensor([[1000.0, 0.0, -1000.0], [1000.0, 0.0, -1000.0]])
    assert loss.forward(logits, torch.tensor([0, 2])).item() == 1000.0  # (0 + 2000) / 2
    assert loss.backward().tolist() == [[0.0, 0.0, 0.0], [0.5, 0.0, -0.5]]
    even = torch.full((3, 8), -500.0)
    assert loss.forward(even, torch.tensor([0, 3, 7])).item() == pytest.approx(math.log(8))


# the example's optimiser and its options -> torch's
OPTIMIZERS = [
    ("SGD", {}, torch.optim.SGD, {}),
    ("SGD", {"weight_decay": 0.1}, torch.optim.SGD, {"weight_decay": 0.1}),
    ("Momentum", {}, torch.optim.SGD, {"momentum": 0.9}),
    (
        "Momentum",
        {"momentum": 0.5, "weight_decay": 0.1},
        torch.optim.SGD,
        {"momentum": 0.5, "weight_decay": 0.1},
    ),
    ("RMSProp", {}, torch.optim.RMSprop, {"alpha": 0.9}),
    (
        "RMSProp",
        {"decay": 0.99, "epsilon": 1e-3, "weight_decay": 0.1},
        torch.optim.RMSprop,
        {"alpha": 0.99, "eps": 1e-3, "weight_decay": 0.1},
    ),
]


@pytest.mark.parametrize(("name", "options", "twin", "twin_options"), OPTIMIZERS)
def test_optimizers_step_as_torch_does(name, options, twin, twin_options) -> None:
    values = [drawn(4, 3), drawn(3, seed=1)]
    params = [layers.Parameter(value.clone()) for value in values]
    twins = [nn.Parameter(value.clone()) for value in values]
    ours = getattr(optimizers, name)(params, lr=0.05, **options)
    theirs = twin(twins, lr=0.05, **twin_options)
    for step in range(20):
        for i, (parameter, other) in enumerate(zip(params, twins, strict=True)):
            gradient = drawn(*other.shape, seed=10 * step + i)
            parameter.grad.copy_(gradient)
            other.grad = gradient
        ours.step()
        theirs.step()
        for parameter, other in zip(params, twins, strict=True):
            close(parameter.value, other.detach(), tolerance=1e-12)


def test_a_whole_training_equals_autograds() -> None:
    """Forward, loss, backward and momentum together, thirty steps beside torch.nn."""
    model = mlp(activation=layers.ReLU)
    linears = [nn.Linear(i, o, dtype=torch.float64) for i, o in ((6, 5), (5, 4), (4, 3))]
    for i, linear in enumerate(linears):
        linear.weight.data.copy_(model.params[2 * i].value.T)
        linear.bias.data.copy_(model.params[2 * i + 1].value)
    twin = nn.Sequential(linears[0], nn.ReLU(), linears[1], nn.ReLU(), linears[2])
    ours = optimizers.Momentum(model.params, lr=0.05, weight_decay=0.01)
    theirs = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)
    loss, x = losses.CrossEntropy(), drawn(12, 6)
    labels = torch.arange(12) % 3
    for _ in range(30):
        ours.zero_grad()
        got = loss.forward(model.forward(x), labels)
        model.backward(loss.backward())
        ours.step()
        theirs.zero_grad()
        wanted = functional.cross_entropy(twin(x), labels)
        wanted.backward()
        theirs.step()
        close(got, wanted.detach(), tolerance=1e-12)


def test_autograd_has_no_part_in_it() -> None:
    for path in (EXAMPLES / "backprop_from_scratch").glob("*.py"):
        text = path.read_text()
        assert not re.search(r"requires_grad|torch\.(nn|autograd|optim)|import nn", text), path.name
    loss, model = losses.CrossEntropy(), mlp()
    value = loss.forward(model.forward(drawn(4, 6)), torch.tensor([0, 1, 2, 0]))
    assert value.grad_fn is None
    assert not any(parameter.value.requires_grad for parameter in model.params)


def test_the_package_does_not_know_the_example() -> None:
    for path in (ROOT / "compact_vit").rglob("*.py"):
        assert "backprop_from_scratch" not in path.read_text(), path
