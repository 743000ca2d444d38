"""Several processes of ``torchrun`` (gloo, on this machine) are one run."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from compact_vit.data.loader import BatchLoader
from compact_vit.data.pictures import Pictures
from compact_vit.errors import UsageError
from compact_vit.evaluate import evaluate_run
from compact_vit.train import resume, train
from compact_vit.train.checkpoint import load_checkpoint
from compact_vit.train.distributed import ALONE, Processes, processes
from compact_vit.train.inputs import load_splits
from compact_vit.train.run import RunFolder
from compact_vit.train.state import build_state

#: no draw: what one process computes, two must
STILL = {
    "auto_augment": "none",
    "crop_padding": 0,
    "flip": 0.0,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "drop_path": 0.0,
    "label_smoothing": 0.1,
    "clip_grad": 0.5,
    "ema": 0.9,
}

#: softmax ignores the pooling's bias: its gradient is rounding alone, which AdamW makes large
MOOT = "pool.attention.bias"


@pytest.fixture
def start(monkeypatch):
    """Run a function of going_on.py in processes 0 to ``count``-1: their exit statuses."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["compact_vit.train.loop", "torch._dynamo"])

    def started(function: str, count: int, *args) -> list[int]:
        import going_on

        port = free_port()
        children = [
            context.Process(target=getattr(going_on, function), args=(rank, count, port, *args))
            for rank in range(count)
        ]
        for child in children:
            child.start()
        for child in children:
            child.join(120)
        assert all(child.exitcode is not None for child in children)
        return [child.exitcode for child in children]

    return started


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize(("dtype", "largest"), [("float64", 1e-12), ("float32", 2e-6)])
def test_the_steps_of_one_process(start, tiny, tmp_path, count, dtype, largest) -> None:
    config = tiny(**STILL, batch_size=6)
    ends = []
    for processes_ in (1, count):
        path = tmp_path / f"{processes_}.pt"
        assert start("steps", processes_, config, dtype, str(path)) == [0] * processes_
        ends.append(torch.load(path, weights_only=True))
    for one, many in zip(*ends, strict=True):
        for name, weight in one.items():
            if name.endswith(MOOT):
                continue
            assert weight.dtype in (getattr(torch, dtype), torch.int64)
            torch.testing.assert_close(many[name], weight, rtol=0, atol=largest)


def test_classes_weigh_as_in_the_whole_set(start, tiny, picture_folder, tmp_path) -> None:
    """However the pictures of a rare one fall to the processes."""
    for path in sorted((picture_folder / "train" / "red").iterdir())[4:]:
        path.unlink()
    ends = []
    for processes_ in (1, 2):
        path = tmp_path / f"{processes_}.pt"
        config = tiny(**STILL, batch_size=14, class_weight="balanced")
        assert start("steps", processes_, config, "float64", str(path)) == [0] * processes_
        ends.append(torch.load(path, weights_only=True)[0])
    for name, weight in ends[0].items():
        if name.endswith(MOOT):
            continue
        torch.testing.assert_close(ends[1][name], weight, rtol=0, atol=1e-12)


def test_in_parts_the_gradients_are_averaged_once(start, tiny, tmp_path) -> None:
    ends = []
    for parts in (1, 3):
        path = tmp_path / f"{parts}.pt"
        config = tiny(**STILL, batch_size=6, accumulation=parts)
        assert start("steps", 2, config, "float64", str(path)) == [0, 0]
        ends.append(torch.load(path, weights_only=True)[0])
    for name, weight in ends[0].items():
        if name.endswith(MOOT):
            continue
        torch.testing.assert_close(ends[1][name], weight, rtol=0, atol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_every_picture_is_seen_once_an_epoch(count) -> None:
    pictures = Pictures(torch.zeros(37, 1, 2, 2, dtype=torch.uint8), torch.arange(37))
    generators = [torch.Generator().manual_seed(1) for _ in range(count)]
    loaders = [
        BatchLoader(pictures, 15, shuffle=True, generator=one, share=(rank, count))
        for rank, one in enumerate(generators)
    ]
    alone = BatchLoader(pictures, 15, shuffle=True, generator=torch.Generator().manual_seed(1))
    whole = [labels for _, labels in alone]
    shared = [torch.cat([labels for _, labels in parts]) for parts in zip(*loaders, strict=True)]
    assert all(map(torch.equal, shared, whole))
    assert torch.cat(shared).sort().values.equal(torch.arange(37))


@pytest.mark.parametrize("length", [0, 1, 7, 8, 100])
@pytest.mark.parametrize("count", [1, 3, 8])
def test_shares_are_even_and_whole(length, count) -> None:
    rows = list(range(length))
    shares = [rows[Processes(rank, count).share_of(length)] for rank in range(count)]
    assert [row for share in shares for row in share] == rows
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_process_draws_for_itself(tiny, tmp_path) -> None:
    """Draws depend on the seed, the step and the process, and on nothing that was drawn before."""
    from compact_vit.train.inputs import load_splits
    from compact_vit.train.state import build_state

    config, draws = tiny(batch_size=12), {}
    splits = load_splits(config)
    for rank in (0, 1):
        state = build_state(config, splits, torch.device("cpu"), Processes(rank, 2))
        for step in (0, 1, 0):
            state.health.steps = step
            state.reseed()
            drawn = torch.rand(2, generator=state.augmentation).tolist() + torch.rand(2).tolist()
            assert draws.setdefault((rank, step), drawn) == drawn
    assert len({number for drawn in draws.values() for number in drawn}) == 4 * 4


def test_a_process_that_dies_ends_the_run_and_it_goes_on(
    start, everything, tmp_path, same, timeless
) -> None:
    config = everything(epochs=3)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start("together", 2, config, str(whole), 0) == [0, 0]
    first, last = start("together", 2, config, str(killed), 5)
    assert last == -signal.SIGKILL
    assert first not in (0, None)
    assert 0 < load_checkpoint(killed / "last.pt")["epoch"] < 3
    alone = tmp_path / "alone"
    subprocess.run(["cp", "-r", killed, alone], check=True)

    assert start("together", 2, config, str(killed), 0) == [0, 0]
    ends = [load_checkpoint(run / "last.pt") for run in (whole, killed)]
    assert same(*ends)
    rows = [[json.loads(row) for row in (run / "metrics.jsonl").open()] for run in (whole, killed)]
    assert timeless(rows[0]) == timeless(rows[1])
    assert [row["epoch"] for row in rows[0]] == [1, 2, 3]
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["final"]["n"] == len(load_test_labels(config))
    assert summary["processes"] == 2

    resumed = resume(alone, quiet=True)  # with another number of processes
    assert resumed.summary["processes"] == 1
    assert [row["epoch"] for row in resumed.history] == [1, 2, 3]


def test_a_process_that_dies_before_the_first_epoch_is_a_line(start, tiny, tmp_path) -> None:
    assert start("vanish", 2, tiny(), str(tmp_path / "run")) == [0, -signal.SIGKILL]
    assert not (tmp_path / "run").exists()


def test_nobody_leaves_before_all_is_saved(start, tiny, tmp_path) -> None:
    """``torchrun`` would end the first, which writes."""
    config = tiny(epochs=1, batch_size=2)  # 18 steps, and what was asked is agreed on every ten
    assert start("depart", 2, config, str(tmp_path / "run")) == [0, 0]
    assert load_checkpoint(tmp_path / "run" / "last.pt")["epoch"] == 0


def test_all_compile_or_none(start, tiny) -> None:
    assert start("compile_apart", 2, tiny(batch_size=12)) == [0, 0]


def load_test_labels(config) -> torch.Tensor:
    from compact_vit.train.inputs import load_splits

    return load_splits(config).test.labels


def test_metrics_are_those_of_one_process(start, tiny, tmp_path) -> None:
    config = tiny(**STILL, batch_size=6, val_fraction=0.25)
    alone = train(config, output=tmp_path / "alone", quiet=True)
    assert start("together", 2, config, str(tmp_path / "two"), 0) == [0, 0]
    rows = [json.loads(row) for row in (tmp_path / "two" / "metrics.jsonl").open()]
    for one, two in zip(alone.history, rows, strict=True):
        assert one.keys() == two.keys()
        for name in one.keys() - {"seconds", "pictures_per_second"}:
            assert two[name] == pytest.approx(one[name], abs=1e-4), name
    summary = json.loads((tmp_path / "two" / "summary.json").read_text())
    for which in ("final", "best"):
        assert summary[which] == pytest.approx(alone.summary[which], abs=1e-4)


def test_batch_norms_are_evaluated_as_they_are_saved(start, tiny, tmp_path) -> None:
    config = tiny(model="cct2_2_3x2", batch_size=6, ema=0.5)
    assert start("together", 2, config, str(tmp_path / "two"), 0) == [0, 0]
    summary = json.loads((tmp_path / "two" / "summary.json").read_text())
    _, again = evaluate_run(tmp_path / "two", checkpoint="last", device="cpu")
    assert again.loss == pytest.approx(summary["final"]["loss"], rel=1e-6)


#: the command, and then the names of the threads that are left
THREADS = """
import glob, pathlib, sys
from compact_vit.train.cli import main
code = main(sys.argv[1:])
names = [pathlib.Path(name).read_text() for name in glob.glob("/proc/self/task/*/comm")]
sys.stdout.write("threads " + repr(names) + chr(10))
sys.exit(code)
"""


def threads(printed: str) -> list[str]:
    """The lines that name threads; none of gloo's, which may abort an interpreter that ends."""
    lines = [line for line in printed.splitlines() if line.startswith("threads ")]
    assert not re.search("[\"'](pt_)?gloo", "".join(lines)), lines
    return lines


def command(
    config_words: list[str], count: int, program: tuple[str, ...] = ("-m", "compact_vit.train")
) -> list[subprocess.CompletedProcess[str]]:
    """The command in ``count`` processes, as ``torchrun`` starts them."""
    port, children = free_port(), []
    for rank in range(count):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_PORT": port}
        values = {name: str(value) for name, value in place.items()}
        children.append(
            subprocess.Popen(
                [sys.executable, *program, *config_words],
                env=os.environ | values | {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return [
        subprocess.CompletedProcess(child.args, child.wait(), *texts)
        for child in children
        for texts in [child.communicate(timeout=120)]
    ]


def test_what_cannot_run_is_said_once(picture_folder, tmp_path) -> None:
    words = ["--dataset", "folder", "--data-dir", str(picture_folder), "--img-size", "16"]
    words += ["--model", "cvt_2_8", "--device", "cpu", "--batch-size", "9"]
    ends = command([*words, "--output", str(tmp_path / "run")], 2, ("-c", THREADS))
    assert [end.returncode for end in ends] == [2, 2]
    assert ends[0].stderr == ("error: batch_size must be a multiple of the 2 processes, got 9\n")
    assert ends[1].stderr == ""
    assert [end.stdout.splitlines() for end in ends] == [threads(end.stdout) for end in ends]
    assert not (tmp_path / "run").exists()


def test_a_run_at_work_is_left_alone_by_all(tiny, tmp_path) -> None:
    with RunFolder.create(tmp_path / "run", tiny()):
        ends = command(["--resume", str(tmp_path / "run")], 2)
    assert [end.returncode for end in ends] == [2, 2]
    assert "is being trained by another process" in ends[0].stderr
    assert [end.stderr.count("\n") for end in ends] == [1, 0]


def test_different_pictures_are_refused(start, tiny, tmp_path) -> None:
    assert start("differ", 2, tiny(), str(tmp_path / "run")) == [0, 0]
    assert not (tmp_path / "run").exists()


def test_machines_are_asked_for_the_same(start, tiny, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert start("ask_apart", 2, tiny(), str(tmp_path / "run")) == [0, 0]
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_finite_elsewhere_leaves_the_step_out_in_all(start, tiny, tmp_path) -> None:
    config = tiny(**STILL, epochs=1, batch_size=6)
    assert start("overflow", 2, config, str(tmp_path / "run")) == [0, 0]
    first, second = (torch.load(tmp_path / f"run-{rank}.pt") for rank in (0, 1))
    assert all(map(torch.equal, first, second))
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["skipped_steps"] == 2


def test_what_is_wrong_is_said_by_the_first_alone(picture_folder, tmp_path) -> None:
    (picture_folder / "train" / "red" / "bad.png").write_text("no picture")
    words = ["--dataset", "folder", "--data-dir", str(picture_folder), "--model", "cvt_2_8"]
    words += ["--img-size", "16", "--device", "cpu", "--batch-size", "12", "--epochs", "1"]
    words += ["--quiet", "--on-bad-picture", "skip", "--output", str(tmp_path / "run")]
    ends = command(words, 2)
    assert [end.returncode for end in ends] == [0, 0]
    assert "bad.png" in ends[0].stderr
    assert [end.stderr.count("\n") for end in ends] == [1, 0]
    ends = command(["--dropuot", "0.1"], 2)
    assert [end.returncode for end in ends] == [2, 2]
    assert [end.stderr.count("\n") for end in ends] == [1, 0]


def test_torchrun(picture_folder, tmp_path) -> None:
    words = ["--dataset", "folder", "--data-dir", str(picture_folder), "--img-size", "16"]
    words += ["--model", "cvt_2_8", "--device", "cpu", "--batch-size", "12", "--epochs", "1"]
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = tmp_path / "command.py"
    script.write_text(THREADS)
    end = subprocess.run(
        [*run, str(script), *words, "--output", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert end.returncode == 0, end.stderr
    assert len(threads(end.stdout)) == 2
    assert end.stdout.count("test accuracy") == 1
    assert end.stderr.count("epoch 1/1") == 1
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["processes"] == 2


def test_each_process_has_a_gpu_of_its_own(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    two, third = Processes(1, 2, 1), Processes(2, 3, 2)
    other = Processes(3, 4, 1)  # the second of the second machine
    for one, name in ((ALONE, "cuda:1"), (two, "cuda"), (other, "cuda"), (third, "cpu")):
        device = torch.device(name)
        assert one.own(device) is device
    with pytest.raises(UsageError, match=r"has 2: start at most 2 there .*or give --device cpu$"):
        third.own(torch.device("cuda"))
    with pytest.raises(UsageError, match=r"^device must be 'cuda' with .*, got 'cuda:0'$"):
        two.own(torch.device("cuda", 0))


def test_more_processes_than_gpus_are_refused_in_all(start, tiny, tmp_path) -> None:
    assert start("crowd", 2, tiny(), str(tmp_path / "run")) == [0, 0]
    assert not (tmp_path / "run").exists()


def test_an_error_of_one_is_everybodys(start) -> None:
    assert start("quarrel", 3) == [0, 0, 0]


def test_alone_nothing_is_sent(monkeypatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    rows = torch.arange(3)
    with processes() as one:
        assert one is ALONE
        assert one.share(lambda: 1) == one.agree(lambda: 1) == one.in_turns(lambda: 1) == 1
        assert one.most(4) == 4
        assert one.gather(rows).equal(rows)
        assert one.wrap(model := torch.nn.Linear(1, 1)) is model


def test_deterministic_holds_within_the_run(tiny, tmp_path, monkeypatch) -> None:
    from compact_vit.train import objective

    seen, original = [], objective.evaluate_model

    def evaluated(*args, **options):
        seen.append(torch.are_deterministic_algorithms_enabled())
        return original(*args, **options)

    monkeypatch.setattr(objective, "evaluate_model", evaluated)
    for wanted in (True, False):
        train(tiny(epochs=1, deterministic=wanted), output=tmp_path / str(wanted), quiet=True)
    assert seen == [True, False]
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("name", "value"),
    [("RANK", ""), ("WORLD_SIZE", "two"), ("MASTER_PORT", "-1"), ("MASTER_ADDR", "")],
)
def test_half_an_environment_is_refused(monkeypatch, name, value) -> None:
    whole = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_PORT": "1"}
    for variable, usual in (whole | {"MASTER_ADDR": "127.0.0.1", name: value}).items():
        monkeypatch.setenv(variable, usual)
    with (
        pytest.raises(UsageError, match=f"but {name} is not as torchrun sets it: start several"),
        processes(),
    ):
        pass


def test_an_empty_number_of_processes_is_none(monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "")
    with processes() as one:
        assert one is ALONE


def test_a_batch_that_cannot_be_shared(tiny) -> None:
    config, two = tiny(overfit=25, batch_size=128), Processes(0, 2, 0)
    splits, cpu = load_splits(config), torch.device("cpu")
    with pytest.raises(UsageError, match=r"got 128: the 25 training .*, take 24$"):
        build_state(config, splits, cpu, two)
