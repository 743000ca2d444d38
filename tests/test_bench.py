"""``compact-vit bench``: what it counts, by a clock that the test turns, and how it refuses."""

from __future__ import annotations

import functools
import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from compact_vit import timing
from compact_vit.bench import compiled, main, measure
from compact_vit.errors import UsageError
from compact_vit.timing import Timing, elapsed, seconds_in_turns
from compact_vit.train.machine import choose_precision

#: what is chosen on this machine
AUTO, _ = choose_precision("auto", torch.device("cpu"))

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def threads():
    """A command sets the threads of its process: give them back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def clock(monkeypatch):
    """The clock that measures, at ``clock.now`` seconds."""
    clock = SimpleNamespace(now=0.0)
    clock.perf_counter = lambda: clock.now
    monkeypatch.setattr(timing, "time", clock)
    return clock


class Slow(nn.Module):
    """Takes 10 ms and 1 ms a picture by the clock, and keeps how it was called."""

    def __init__(self, clock):
        super().__init__()
        self.clock, self.seen = clock, []
        self.map = nn.Linear(3 * 4 * 5, 7)

    def forward(self, x):
        self.clock.now += 0.010 + 0.001 * len(x)
        y = self.map(x.flatten(1))
        self.seen.append(
            (tuple(x.shape), self.training, torch.is_inference_mode_enabled(), y.dtype)
        )
        return y


def test_spread():
    assert Timing.of([3.0, 1.0, 2.0]) == Timing(2.0, 1.0, 3.0, 3)
    assert Timing.of(iter([4.0, 1.0])) == Timing(2.5, 1.0, 4.0, 2)


def test_elapsed_is_the_time_of_all_calls(clock):
    def call():
        clock.now += 0.25

    assert elapsed(call, 6, CPU) == pytest.approx(1.5)


def test_calls_take_turns_of_at_least_the_length_asked_for(clock):
    order = []

    def call(name, seconds):
        order.append(name)
        clock.now += seconds

    calls = [functools.partial(call, "a", 0.06), functools.partial(call, "b", 3.0)]
    seconds = seconds_in_turns(calls, rounds=3, device=CPU, turn=0.2)
    assert "".join(order) == "aabb" + 3 * "aaaab"
    assert seconds == [pytest.approx([0.06] * 3), pytest.approx([3.0] * 3)]


def test_a_turn_is_sized_by_a_call_that_no_longer_gets_faster(clock):
    """Compiled, then recorded, then replayed: as CUDA graphs are."""
    slow, calls = iter([30.0, 1.0]), []

    def call():
        calls.append(1)
        clock.now += next(slow, 0.0625)

    assert seconds_in_turns([call], rounds=2, device=CPU, turn=0.25) == [[0.0625] * 2]
    assert len(calls) == 4 + 2 * 4


def test_without_a_length_every_process_calls_as_often(clock):
    """Two that average together would wait for each other for ever."""
    for durations in ([1.0] * 9, [5.0, 4.0, 3.0, 2.0, 1.0, 0.5, 0.25]):
        left = iter(durations)

        def call(left=left):
            clock.now += next(left)

        seconds = seconds_in_turns([call], rounds=3, device=CPU, turn=0.0)
        assert seconds == [durations[1:4]]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_measure(clock, precision):
    model = Slow(clock).train()
    figures = measure(model, (3, 4, 5), batch_size=6, precision=precision, rounds=4)
    assert figures.batch_size == 6
    assert figures.latency_ms.median == pytest.approx(11.0)
    assert figures.pictures_per_second.median == pytest.approx(6 / 0.016)
    assert figures.latency_ms.n == figures.pictures_per_second.n == 4
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    wanted = {(shape, False, True, dtype) for shape in ((1, 3, 4, 5), (6, 3, 4, 5))}
    assert set(model.seen) == wanted
    assert model.training


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16"])
def test_a_model_that_was_cast_is_measured_as_it_is(clock, precision, dtype):
    model = Slow(clock).to(dtype)
    figures = measure(model, (3, 4, 5), batch_size=6, precision=precision, rounds=1)
    assert figures.latency_ms.median == pytest.approx(11.0)
    assert {seen for *_, seen in model.seen} == {dtype}


def test_the_mode_comes_back_after_a_failure(clock):
    class Broken(Slow):
        def forward(self, x):
            raise KeyError("broken")

    model = Broken(clock)
    with pytest.raises(KeyError, match="broken"):
        measure(model, (3, 4, 5))
    assert model.training


def test_a_model_without_parameters_is_on_the_cpu(clock):
    class Tick(nn.Module):
        def forward(self, x):
            clock.now += 0.5
            return x

    assert measure(Tick().eval(), (1, 2, 2), rounds=1).latency_ms.median == pytest.approx(500)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"precision": "bf61"}, "did you mean 'bf16'?"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"rounds": 0}, "rounds must be at least 1, got 0"),
    ],
)
def test_measure_refuses(options, said):
    with pytest.raises(UsageError, match=said.replace("?", r"\?")):
        measure(nn.Flatten(), (3, 4, 5), **options)


class Twice(nn.Module):
    def forward(self, x):
        return 2 * x


def test_many_models_and_shapes_are_all_compiled(monkeypatch):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 8)
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    torch.compiler.reset()
    calls = [compiled(Twice()) for _ in range(2)]
    for size in range(2, 12):
        for call in calls:
            assert torch.equal(call(torch.ones(size)), torch.full((size,), 2.0))
    shapes = {
        tuple(node.meta["example_value"].shape)
        for graph in graphs
        for node in graph.graph.nodes
        if node.op == "placeholder"
    }
    assert shapes == {(size,) for size in range(2, 12)}
    torch.compiler.reset()


def test_a_machine_that_cannot_compile_says_so_in_one_line(monkeypatch):
    def fails(x):
        raise torch._dynamo.exc.TorchDynamoException("no C++ compiler\n\nlong story")

    monkeypatch.setattr(torch, "compile", lambda module, **options: fails)
    with pytest.raises(UsageError, match=r"^torch.compile fails here, .*: no C\+\+ compiler$"):
        compiled(Twice())(torch.ones(1))


def run(capsys, *words):
    status = main([*words, "--threads", "1", "--device", "cpu"])
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    return captured.out


def test_the_table(capsys):
    text = run(capsys, "cvt_2_16", "vit_lite_2_16", "--rounds", "1", "--batch-size", "2")
    machine, versions, setting, _, units, titles, *rows = text.splitlines()
    assert "1 of " in machine
    assert f"torch {torch.__version__}" in versions
    assert f"{AUTO}, eager; n = 1 turns" in setting
    assert units.split() == ["ms,", "one", "picture", "pictures/s,", "batch", "2"]
    assert titles.split() == ["model", *2 * ["median", "min", "max"]]
    assert [row.split()[0] for row in rows] == ["cvt_2_16", "vit_lite_2_16"]
    for row in rows:
        figures = [float(word.replace(",", "")) for word in row.split()[1:]]
        assert len(figures) == 6
        assert min(figures) > 0


def test_json(capsys):
    words = "--img-size", "16x48", "--in-chans", "1", "--num-classes", "3", "--precision", "bf16"
    got = json.loads(run(capsys, "cvt_2_16", *words, "--rounds", "2", "--json"))
    assert {"hardware", "versions", "precision", "compile", "models"} == set(got)
    assert (got["precision"], got["compile"]) == ("bf16", False)
    (model,) = got["models"]
    assert model["model"] == "cvt_2_16"
    assert model["config"]["img_size"] == [16, 48]
    assert (model["config"]["in_chans"], model["config"]["num_classes"]) == (1, 3)
    assert model["batch_size"] == 32
    for figure in (model["latency_ms"], model["pictures_per_second"]):
        assert figure["n"] == 2
        assert 0 < figure["low"] <= figure["median"] <= figure["high"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cvt_2_9x"], "did you mean 'cvt_2_8'?"),
        (["cvt_2_8", "cct_6_3y1"], "did you mean 'cct_6_3x1'?"),
        (["cvt_2_8", "--precision", "fp23"], "did you mean 'fp32'?"),
        (["cvt_2_8", "--device", "abacus"], "device must be one of this machine's"),
        (["cvt_2_8", "--img-size", "4"], "at least 8 pixels"),
        (["cvt_2_8", "--num-classes", "-1"], "num_classes must be"),
        (["cvt_2_8", "--in-chans", "0"], "in_chans must be"),
        (["cvt_2_8", "--batch-size", "9" * 15], "out of memory"),
        ([], "required: NAME"),
        (["cvt_2_8", "--rounds", "0"], "--rounds: wanted a whole number of at least 1, got '0'"),
        (["cvt_2_8", "--batch-size", "-2"], "--batch-size: wanted a whole number of at least 1"),
        (["cvt_2_8", "--threads", "two"], "--threads: wanted a whole number of at least 1"),
        (["cvt_2_8", "--img-size", "big"], "wanted pixels such as 32 or 32x48, got 'big'"),
        (["cvt_2_8", "--batchsize", "2"], "did you mean '--batch-size'?"),
    ],
)
def test_bad_input(capsys, words, said):
    try:
        status = main(words)
    except SystemExit as done:
        status = done.code
    captured = capsys.readouterr()
    assert (status, captured.out) == (2, "")
    assert said in captured.err
    assert captured.err.count("\n") == 1
