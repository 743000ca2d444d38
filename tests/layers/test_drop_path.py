"""Stochastic depth: how often it drops, whole samples at a time, and what is kept on average."""

from __future__ import annotations

import math

import pytest
import torch
from functorch.compile import aot_function, make_boxed_func
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from compact_vit.layers import DropPath
from compact_vit.layers.drop_path import take


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_keeps_as_often_as_it_says(rate: float) -> None:
    torch.manual_seed(0)
    n, keep = 20_000, 1.0 - rate
    out = DropPath(rate)(torch.ones(n, 1, 1))
    kept = int((out != 0).sum())
    assert abs(kept - n * keep) < 4 * math.sqrt(n * keep * rate)  # 4 binomial deviations
    torch.testing.assert_close(out[out != 0], torch.full((kept,), 1.0 / keep))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_keeps_the_expected_value(rate: float) -> None:
    torch.manual_seed(1)
    n = 20_000
    mean = DropPath(rate)(torch.full((n, 1), 3.0)).mean().item()
    assert abs(mean - 3.0) < 4 * 3.0 * math.sqrt(rate / (1.0 - rate) / n)


@pytest.mark.parametrize("shape", [(64, 5), (64, 5, 3), (64, 2, 3, 4)])
def test_drops_whole_samples(shape: tuple[int, ...]) -> None:
    torch.manual_seed(2)
    out = DropPath(0.5)(torch.rand(shape) + 1.0).flatten(1)
    dropped = (out == 0).all(dim=1)
    assert 0 < dropped.sum() < 64
    assert (out[~dropped] != 0).all()


def test_a_dropped_sample_has_no_gradient() -> None:
    torch.manual_seed(3)
    x = torch.ones(64, 2, requires_grad=True)
    out = DropPath(0.25)(x)
    out.sum().backward()
    torch.testing.assert_close(x.grad, out.detach())  # 0 or 1 / 0.75, as the values


def test_evaluation_and_rate_zero_are_the_identity() -> None:
    x = torch.randn(8, 3)
    assert DropPath(0.5).eval()(x) is x
    assert DropPath(0.0).train()(x) is x


def test_keeps_the_precision_of_its_input() -> None:
    assert DropPath(0.5)(torch.ones(4, 2, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5])
def test_impossible_rates(rate: float) -> None:
    with pytest.raises(ValueError, match=rf"must be in \[0, 1\), got {rate}"):
        DropPath(rate)


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.999])
def test_survivors_alone_give_the_same_as_a_mask(rate: float) -> None:
    drop, branch = DropPath(rate), torch.nn.Linear(4, 4, dtype=torch.float64)
    x = torch.randn(16, 3, 4, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(5)
    masked = x + drop(branch(x))
    gradients = torch.autograd.grad(masked.square().sum(), [x, *branch.parameters()])
    torch.manual_seed(5)
    kept = drop.kept(x)
    assert (kept is None) == (rate == 0.0)
    gathered = drop.add(x, branch(take(x, kept)), kept)
    torch.testing.assert_close(gathered, masked)
    again = torch.autograd.grad(gathered.square().sum(), [x, *branch.parameters()])
    torch.testing.assert_close(again, gradients)


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_branches_of_half_precision_are_scaled_in_the_residuals(rate: float) -> None:
    """As under autocast: of a mask rounded to bf16 the survivors would be 1.109375, not 1 / 0.9."""
    x, branch = torch.zeros(64, 3), torch.ones(64, 3, dtype=torch.bfloat16)
    masked = DropPath(rate).add(x, branch, None)
    assert masked.dtype == torch.float32
    torch.testing.assert_close(masked.unique(), torch.tensor([0.0, 1 / (1 - rate)]))


def test_the_default_device_draws_nothing() -> None:
    x = torch.randn(16, 3)
    torch.manual_seed(6)
    wanted = DropPath(0.5).kept(x)
    torch.manual_seed(6)
    with torch.device("meta"):
        assert torch.equal(DropPath(0.5).kept(x), wanted)


def test_what_traces_drops_by_a_mask() -> None:
    drop = DropPath(0.5)

    def layer(x: torch.Tensor) -> torch.Tensor:
        kept = drop.kept(x)
        assert kept is None
        return drop.add(x, x.sin(), kept)

    x = torch.randn(16, 3, requires_grad=True)
    with FakeTensorMode() as mode:
        assert layer(mode.from_tensor(x)).shape == x.shape
    for tracing in ("fake", "symbolic"):
        assert make_fx(layer, tracing_mode=tracing)(x)(x).shape == x.shape
    aot_function(layer, fw_compiler=lambda graph, _: make_boxed_func(graph))(x).sum().backward()
    assert x.grad is not None
    assert isinstance(torch.fx.symbolic_trace(drop), torch.fx.GraphModule)


def test_evaluation_keeps_every_sample() -> None:
    assert DropPath(0.5).eval().kept(torch.randn(8, 3)) is None
