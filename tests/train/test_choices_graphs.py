"""`--compile graphs`: what is asked of torch, what the graphs hear, what happens without them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compact_vit.train import choices
from compact_vit.train.choices import before_replay, choose_graphs, compile_model, rehearse
from compact_vit.train.inputs import load_splits
from compact_vit.train.loop import train
from compact_vit.train.state import build_state, compiled_forward
from compact_vit.train.step import train_step

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))
FROM_TORCH = torch.compile
SKIPS = ("inductor", "cudagraph_skips")


@pytest.fixture
def marks(monkeypatch) -> list[str]:
    """What the graphs hear, in order."""
    heard: list[str] = []
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: heard.append("mark"))
    return heard


@pytest.fixture
def graphs_on_a_cpu(monkeypatch, marks) -> list[str | None]:
    """A CPU that claims to have CUDA graphs; the modes that its compiler was asked for.

    The compiler's back end is left out: it is torch's, and takes a minute.
    """
    modes: list[str | None] = []
    compiler = torch.compile

    def traced(model, *, dynamic, mode=None):
        modes.append(mode)
        return compiler(model, backend="aot_eager", dynamic=dynamic)

    monkeypatch.setattr(torch, "compile", traced)
    monkeypatch.setattr(choices, "choose_compile", lambda wanted, *given: (wanted != "auto", ""))
    monkeypatch.setattr(choices, "choose_graphs", lambda wanted, *given: (wanted == "graphs", ""))
    return modes


# --- choosing


@pytest.mark.parametrize("wanted", ["auto", "on", "off", "graphs"])
@pytest.mark.parametrize("compile", [True, False])
def test_graphs_are_for_who_asks_and_has_a_gpu(wanted, compile) -> None:
    assert choose_graphs(wanted, CUDA, compile) == (wanted == "graphs" and compile, "")
    for device in (CPU, MPS):
        asked, note = choose_graphs(wanted, device, compile)
        assert not asked
        said = f"compiled without CUDA graphs, which device {device.type} has not"
        assert note == (said if wanted == "graphs" and compile else "")


def test_the_compiler_is_asked_for_graphs(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(torch, "compile", lambda model, **options: asked.append(options))
    compile_model(nn.Identity(), graphs=True)
    compile_model(nn.Identity())
    assert asked == [{"dynamic": False, "mode": "reduce-overhead"}, {"dynamic": False}]


# --- between two replays


def test_gradients_of_parts_have_memory_of_their_own(marks) -> None:
    model = nn.Linear(2, 3)
    model.bias.requires_grad_(False)
    before_replay(model, parts=1)
    assert marks == ["mark"]
    assert model.weight.grad is None  # what a single part gives is read before the next replay
    before_replay(model, parts=2)
    assert torch.equal(model.weight.grad, torch.zeros(3, 2))
    assert model.bias.grad is None
    model.weight.grad += 1
    before_replay(model, parts=2)
    assert torch.equal(model.weight.grad, torch.ones(3, 2))  # the second part adds to the first
    assert marks == ["mark"] * 3


class Replayed(nn.Module):
    """``x @ weight``, its gradient written to the same memory in every backward pass.

    As a graph's is: the tensor is new and nobody else's, so that a parameter without a gradient
    takes it for its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.memory = memory = np.zeros(3, dtype=np.float32)

        class Product(torch.autograd.Function):
            @staticmethod
            def forward(ctx, weight: Tensor, x: Tensor) -> Tensor:
                ctx.save_for_backward(x)
                return x @ weight

            @staticmethod
            def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
                (x,) = ctx.saved_tensors
                memory[:] = (gradient @ x).numpy()
                return torch.from_numpy(memory), None

        self.product = Product

    def forward(self, x: Tensor) -> Tensor:
        return self.product.apply(self.weight, x)


def test_parts_add_up_where_a_replay_writes_over_the_last_ones_gradient(marks) -> None:
    model, x = Replayed(), torch.arange(12.0).view(4, 3)
    for part in x.chunk(2):
        before_replay(model, parts=2)
        model(part).sum().backward()
    assert torch.equal(model.weight.grad, x.sum(0))


# --- rehearsing


def test_graphs_are_rehearsed_until_they_are_replayed(marks) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.register_forward_pre_hook(lambda *given: marks.append("call"))
    assert rehearse(model, torch.randn(4, 2), "fp32", graphs=True) == ""
    assert marks == ["mark", "call"] * 3
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    marks.clear()
    assert rehearse(model, torch.randn(4, 2), "fp32") == ""
    assert marks == ["call"]


def test_graphs_that_torch_leaves_out_have_failed(marks) -> None:
    from torch._dynamo.utils import counters

    class LeftOut(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            counters[SKIPS[0]][SKIPS[1]] += 1
            return super().forward(x)

    for model, failure in ((LeftOut(2, 2), "torch left them out"), (nn.Linear(2, 2), "")):
        assert rehearse(model, torch.randn(1, 2), "fp32", graphs=True) == failure
    assert rehearse(LeftOut(2, 2), torch.randn(1, 2), "fp32") == ""  # nobody asked for any


# --- in training


def test_every_forward_pass_of_a_run_is_marked(tiny, tmp_path, graphs_on_a_cpu, marks) -> None:
    config = {"epochs": 2, "accumulation": 2, "dropout": 0.0, "drop_path": 0.0}
    plain = train(tiny(**config), output=tmp_path / "plain", quiet=True)
    assert (graphs_on_a_cpu, marks) == ([], [])
    run = train(tiny(**config, compile="graphs"), output=tmp_path / "graphs", quiet=True)
    assert graphs_on_a_cpu == ["reduce-overhead"]
    assert len(marks) == 3 + 2 * 3 * 2  # rehearsals; epochs, batches of 12 out of 36, parts
    assert (run.summary["compiled"], run.summary["cuda_graphs"]) == (True, True)
    assert (plain.summary["compiled"], plain.summary["cuda_graphs"]) == (False, False)
    for a, b in zip(plain.history, run.history, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-4)


@pytest.mark.parametrize("both", [False, True])
def test_graphs_that_fail_are_done_without(
    tiny, tmp_path, monkeypatch, capsys, graphs_on_a_cpu, both
) -> None:
    works = torch.compile

    def fails(x: Tensor) -> Tensor:
        raise RuntimeError("no such\nback end")

    def compiler(model, *, dynamic, mode=None):
        return fails if mode is not None or both else works(model, dynamic=dynamic)

    monkeypatch.setattr(torch, "compile", compiler)
    config = {"epochs": 1, "dropout": 0.2}
    run = train(tiny(**config, compile="graphs"), output=tmp_path / "run")
    said = [line for line in capsys.readouterr().err.splitlines() if "compile" in line]
    assert said == [
        "compiled without CUDA graphs: they fail here: no such back end",
        *["not compiled: torch.compile fails here: no such back end"] * both,
    ]
    assert (run.summary["compiled"], run.summary["cuda_graphs"]) == (not both, False)
    assert run.summary["notes"] == said  # for who has not seen them
    if both:  # bit for bit as without: no draw was used up
        plain = train(tiny(**config), output=tmp_path / "plain", quiet=True)
        for name, weight in plain.model.state_dict().items():
            assert torch.equal(weight, run.model.state_dict()[name])


def test_graphs_left_out_are_left_out_of_every_run(
    tiny, tmp_path, graphs_on_a_cpu, monkeypatch
) -> None:
    """torch counts them where it compiles, and would take one run's code over into the next."""
    from torch._dynamo.utils import counters

    def leaving_out(graph, inputs):
        counters[SKIPS[0]][SKIPS[1]] += 1
        return graph.forward

    monkeypatch.setattr(
        torch,
        "compile",
        lambda model, *, dynamic, mode=None: FROM_TORCH(
            model, backend=leaving_out if mode else "eager", dynamic=dynamic
        ),
    )
    for number in range(3):
        run = train(tiny(epochs=1, compile="graphs"), output=tmp_path / str(number), quiet=True)
        assert (run.summary["compiled"], run.summary["cuda_graphs"]) == (True, False)
        said = "compiled without CUDA graphs: they fail here: torch left them out"
        assert run.summary["notes"] == [said]


@pytest.mark.parametrize("graphs", [False, True])
def test_parts_of_every_size_are_rehearsed(tiny, monkeypatch, marks, graphs) -> None:
    """Twelve pictures in five parts: three, and two, of which none is compiled in a step."""
    made: list[torch.fx.GraphModule] = []

    def backend(graph, inputs):
        made.append(graph)
        return graph.forward

    monkeypatch.setattr(
        torch,
        "compile",
        lambda model, *, dynamic, mode=None: FROM_TORCH(model, backend=backend, dynamic=dynamic),
    )
    torch.compiler.reset()
    config = tiny(accumulation=5)
    state = build_state(config, load_splits(config), CPU)
    state.choices = dataclasses.replace(state.choices, compile=True, graphs=graphs)
    forward = compiled_forward(state)
    assert state.choices.graphs == graphs
    assert len(marks) == 2 * 3 * graphs
    rehearsed = len(made)
    assert rehearsed >= 2
    train_step(state, config, forward, torch.zeros(12, 3, 16, 16), torch.zeros(12).long())
    assert len(made) == rehearsed


def test_a_cpu_says_that_it_has_no_graphs(tiny, tmp_path, monkeypatch, capsys) -> None:
    compiler = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda model, dynamic: compiler(model, backend="eager", dynamic=dynamic)
    )
    monkeypatch.setattr(choices, "choose_compile", lambda *given: (True, ""))
    run = train(tiny(epochs=1, compile="graphs"), output=tmp_path / "run")
    said = capsys.readouterr().err.splitlines()
    assert said.count("compiled without CUDA graphs, which device cpu has not") == 1
    assert (run.summary["compiled"], run.summary["cuda_graphs"]) == (True, False)
