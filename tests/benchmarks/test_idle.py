"""The share of time in which a GPU waits, from what a trace says of its work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from compact_vit.errors import UsageError


@pytest.fixture
def idle(script):
    return script("bench_idle")


@pytest.mark.parametrize(
    ("work", "gaps"),
    [
        ([(0, 4)], []),
        ([(0, 4), (4, 6)], []),
        ([(0, 4), (6, 7), (10, 20)], [2, 3]),
        ([(10, 20), (0, 4), (6, 7)], [2, 3]),  # in any order
        ([(0, 4), (2, 6), (3, 5), (7, 10)], [1]),  # two streams at once
        ([(0, 10), (2, 3), (12, 14)], [2]),  # one within the other
    ],
)
def test_gaps_by_hand(idle, work, gaps) -> None:
    moved = [(100 + begin, 100 + end) for begin, end in work]
    assert idle.gaps(moved) == gaps
    assert idle.longest_gap(moved) == max(gaps, default=0)
    length = max(end for _, end in work) - min(begin for begin, _ in work)
    assert idle.idle_share(moved) == pytest.approx(sum(gaps) / length)


def test_a_trace_without_a_gpu_is_refused(idle) -> None:
    with pytest.raises(UsageError, match="holds no work of a GPU"):
        idle.idle_share([])


def test_only_work_of_a_gpu_counts(idle) -> None:
    def event(kind: str, begin: float, length: float) -> dict:
        return {"ph": "X", "cat": kind, "name": kind, "ts": begin, "dur": length}

    events = [
        event("kernel", 100.0, 5.0),
        event("gpu_memcpy", 110.0, 2.5),
        event("gpu_memset", 120.0, 1.0),
        event("gpu_user_annotation", 100.0, 21.0),  # spans what it asked for, waiting and all
        event("cpu_op", 90.0, 100.0),
        event("cuda_runtime", 90.0, 3.0),
        {"ph": "M", "name": "process_name", "ts": 0.0},
        {"ph": "s", "cat": "kernel", "name": "an arrow", "ts": 101.0},
    ]
    work = idle.intervals(events)
    assert work == [(100.0, 105.0), (110.0, 112.5), (120.0, 121.0)]
    assert idle.idle_share(work) == pytest.approx((5 + 7.5) / 21)


def test_a_real_trace_is_read(idle, tmp_path, picture_folder) -> None:
    """Of a CPU, whose operations stand for kernels: the form of the file is the same."""
    from compact_vit.train.config import TrainConfig

    config = TrainConfig(
        dataset="folder", data_dir=str(picture_folder), model="cvt_2_8", img_size=16, batch_size=12
    )
    device = torch.device("cpu")
    step = idle.training_step(config, "fp32", "off", device)
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities) as profiler:
        for _ in range(4):  # of three batches an epoch
            step()
    profiler.export_chrome_trace(str(tmp_path / "trace.json"))
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert idle.intervals(events) == []
    work = idle.intervals(events, kinds=["cpu_op"])
    ours = [event.time_range for event in profiler.events()]  # as torch itself reads the trace
    whole = max(times.end for times in ours) - min(times.start for times in ours)
    assert idle.last(work) - idle.first(work) == pytest.approx(whole, rel=0.01)
    assert 0 < idle.idle_share(work) < 1
    names = {event["name"] for event in events if event.get("cat") == "cpu_op"}
    assert any("conv" in name for name in names)  # the model, and the augmentation
    assert any("flip" in name for name in names)


def test_only_the_gpu_is_recorded(idle, monkeypatch) -> None:
    """What it would take to record the host's operations, the GPU would wait for."""
    asked = []

    class Profiler:
        def __init__(self, *, activities):
            asked.extend(activities)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def export_chrome_trace(self, path):
            event = {"cat": "kernel", "ts": 1.0, "dur": 2.0}
            Path(path).write_text(json.dumps({"traceEvents": [event]}))

    monkeypatch.setattr(torch.profiler, "profile", Profiler)
    assert idle.recorded(lambda: None, 2, torch.device("cpu")) == [(1.0, 3.0)]
    assert asked == [torch.profiler.ProfilerActivity.CUDA]


def test_a_cpu_is_refused_in_one_line(idle, capsys, picture_folder) -> None:
    words = ["--data-dir", str(picture_folder), "--device", "cpu", "--threads", "1"]
    assert idle.main(words) == 2
    captured = capsys.readouterr()
    said = "what waits is a GPU: --device must be cuda, and is cpu here"
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert said in captured.err


def test_what_is_printed(idle, capsys, picture_folder, monkeypatch) -> None:
    monkeypatch.setattr(idle, "start", lambda args: torch.device("cuda"))
    monkeypatch.setattr(idle, "print_head", lambda device: print("a GPU"))
    windows = [[(0.0, 900.0), (1000.0, 2000.0)], [(0.0, 1000.0)], [(0.0, 500.0), (600.0, 1000.0)]]
    monkeypatch.setattr(idle, "measured", lambda *given: windows)
    words = ["--data-dir", str(picture_folder), "--precision", "bf16", "--compile", "graphs"]
    words += ["--recipe", "published-200", "--steps", "1"]
    assert idle.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "cct_6_3x1, bf16, compiled, CUDA graphs, batch 128"
    rows = {line[:22].strip(): line[22:].split() for line in lines[3:]}
    assert rows == {
        "ms a step": ["1.000", "1.000", "2.000", "3"],
        "kernels a step": ["2", "1", "2", "3"],
        "waiting, % of a step": ["5.00", "0.00", "10.00", "3"],
        "longest wait, ms": ["0.100", "0.000", "0.100", "3"],
    }
