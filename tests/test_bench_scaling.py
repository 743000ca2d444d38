"""The scripts on cost as work grows: more pictures, more tokens, more processes."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch

from compact_vit.errors import UsageError
from compact_vit.timing import Timing

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """Import a file of ``benchmarks/`` by its name, and give the process back its threads."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    yield importlib.import_module
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_scaling(script, capsys, monkeypatch, tmp_path, precision) -> None:
    module = script("bench_scaling")
    monkeypatch.setattr(module, "machine_rates", lambda device, precision, rounds: (2e11, 3e10))
    timed = []

    def seconds(calls, *, rounds, device):
        for call in calls:
            call()
            timed.append(call)
        return [[0.5, 0.25, 1.0] for _ in calls]

    monkeypatch.setattr(module, "seconds_in_turns", seconds)
    words = ["--models", "cvt_2_8", "cct_2_3x2", "--batch-sizes", "2", "8", "--threads", "1"]
    words += [
        "--precision",
        precision,
        "--img-sizes",
        "16",
        "32",
        "--plot",
        str(tmp_path / "drawn.png"),
        "--device",
        "cpu",
    ]
    assert module.main(words) == 0
    out = capsys.readouterr().out
    assert f"{precision} products 200 GFLOP/s, copies 30 GB/s" in out
    rows = [line.split() for line in out.splitlines() if line.startswith(("cvt_2_8", "cct_2_3x2"))]
    assert [row[:3] for row in rows] == [
        [model, *place]
        for model in ("cvt_2_8", "cct_2_3x2")
        for place in (["2", "32"], ["8", "32"], ["32", "16"], ["32", "32"])
    ]
    assert len(timed) == 2 * len(rows)
    assert [row[3] for row in rows[4:]] == ["64", "64", "16", "64"]
    assert [row[5] for row in rows[:2]] == ["4", "16"]  # batch / 0.5 s
    assert (tmp_path / "drawn.png").stat().st_size > 10_000


@pytest.mark.parametrize(("precision", "kind"), [("fp32", "float32"), ("bf16", "bfloat16")])
def test_the_bound_is_of_the_models_precision(script, monkeypatch, precision, kind) -> None:
    module = script("bench_scaling")
    products = []

    def seconds(calls, *, rounds, device):
        products.append(calls[0]())
        return [[0.5], [0.25]]

    monkeypatch.setattr(module, "seconds_in_turns", seconds)
    rates = module.machine_rates(torch.device("cpu"), precision, 1)
    assert rates == (2 * 2048**3 / 0.5, 2 * 2**28 / 0.25)
    assert products[0].shape == (2048, 2048)
    assert products[0].dtype == getattr(torch, kind)


def test_the_share_of_the_bound_by_hand(script) -> None:
    module = script("bench_scaling")
    rate = Timing(10.0, 9.0, 11.0, 3)
    point = module.Point("cct_6_3x1", 32, 32, 256, 10**9, rate, rate)
    # 10 pictures/s of 2e9 operations are 20 of 200 GFLOP/s; a training step takes three times that
    assert module.told(point, 2e11).split()[-3:] == ["10%", "10", "30%"]


def test_wrong_sizes_are_refused(script, capsys, tmp_path) -> None:
    module = script("bench_scaling")
    assert module.main(["--batch-sizes", "0"]) == 2
    assert "batch_sizes must be at least 1, got 0" in capsys.readouterr().err
    assert module.main(["--plot", str(tmp_path / "a.docx")]) == 2


def test_the_estimate_of_a_ring_by_hand(script) -> None:
    """4 MB at 1 GB/s: two send 2 x 1/2 of it, four 2 x 3/4; a hop is 1 ms, there are 2 (R - 1)."""
    rows = script("bench_processes").estimate({1: 8.0, 2: 4.0, 4: 2.0}, 4_000_000, 1e9, 1e-3)
    assert [row[:2] for row in rows] == [(1, 8.0), (2, 4.0), (4, 2.0)]
    assert [row[2] for row in rows] == pytest.approx([0.0, 0.004 + 0.002, 0.006 + 0.006])


def test_a_process_that_fails_is_not_waited_for(script) -> None:
    words = {"threads": 1, "model": "no_such_model", "rounds": 1, "shares": [4]}
    with pytest.raises(UsageError, match="1 processes must all come to their end, and one failed"):
        script("bench_processes").run(1, words)


def test_processes(script, capsys) -> None:
    module = script("bench_processes")
    words = ["--model", "cvt_2_8", "--batch-size", "4", "--rounds", "2", "--most", "4"]
    assert module.main([*words, "--rate", "0.5", "--latency", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in ("step of one process", "step of two", "average of 0.9 MB", "average of nothing"):
        assert sum(line.startswith(name) for line in lines) == 1, name
    assert "estimate at 0.50 GB/s and 1.00 ms a hop" in lines
    rows = [line.split() for line in lines[-3:]]
    assert [row[:2] for row in rows] == [["1", "4"], ["2", "2"], ["4", "1"]]
    assert [row[3] for row in rows] == ["0.0", "3.8", "8.7"]
    assert module.main([*words, "--batch-size", "6"]) == 2
    assert "--batch-size must be a multiple of 4, got 6" in capsys.readouterr().err
