r"""What does a training step take, in time and memory, beside the same model by others?

A step is forward, cross-entropy, backward, AdamW, gradients to zero, on normal noise; this library
steps with its own optimiser and, unless told otherwise, its automatic choices, the others with
AdamW as torch gives it and the published attention dropout. They take turns within one run:

    python benchmarks/bench_train_step.py --threads 2 --reference PATH
    python benchmarks/bench_train_step.py --threads 2 --reference PATH --precision fp32 \
        --attention-dropout 0
    python benchmarks/bench_train_step.py --threads 2 --reference PATH --all

Memory is the most that a step holds above what is held before it (weights, optimiser state),
after a first step: activations, gradients, scratch. Each peer is measured in a process of its own:
resident memory on a CPU (of Linux: it needs /proc), torch's allocations on a GPU.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING

from _common import print_table, start, train_step
from _peers import build_call, compare, peers_parser

from compact_vit.cli import program
from compact_vit.errors import UsageError
from compact_vit.timing import Call, finish

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

PROCESS = Path("/proc/self")


@program
def main(argv: Sequence[str] | None = None) -> int:
    parser = peers_parser("bench-train-step", __doc__.split("\n\n")[0])
    parser.add_argument(
        "--memory", action=argparse.BooleanOptionalAction, default=True, help="measure it (yes)"
    )
    args = parser.parse_args(argv)
    if args.memory and args.compile == "graphs":
        raise UsageError(
            "memory is not told of graphs, which hold it from when they are recorded: give "
            "--no-memory"
        )
    there = compare(args, "training step", training_step)
    if args.memory and there:
        print_table("MB above rest", {name: in_own_process(name, args) for name in there})
    return 0


def training_step(model: nn.Module, x: Tensor, precision: str, compile: str) -> Call:
    """A step of ``model`` on ``x [B,C,H,W]`` and labels of the first ten classes."""
    import torch

    labels = torch.randint(10, (len(x),)).to(x.device)
    step = train_step(model, adamw(model), precision, compile)
    return lambda: step(x, labels)


def adamw(model: nn.Module) -> Optimizer:
    """This library's optimiser for its own models, torch's for those of others."""
    import torch

    from compact_vit.models.compact import CompactTransformer
    from compact_vit.train.config import TrainConfig
    from compact_vit.train.optim import build_optimizer

    config = TrainConfig(dataset="cifar10")
    if isinstance(model, CompactTransformer):
        return build_optimizer(model, config)
    return torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)


def in_own_process(name: str, args: argparse.Namespace) -> list[float] | str:
    """The peak memory of a peer's step in MB (10^6 bytes), or why there is none."""
    # what is freed goes back at once, so that resident memory is what is held
    os.environ |= {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        try:
            peak = pool.submit(peak_memory, name, args).result()
        except BrokenProcessPool:
            return "killed: too large"
    return "needs /proc" if peak is None else [peak / 1e6]


def peak_memory(name: str, args: argparse.Namespace) -> int | None:
    """Bytes that a step holds at most, above what is held before it; None if nobody counts them."""
    import torch

    from compact_vit.train.choices import RECORDED

    device = start(args)
    step, _ = build_call(name, args, training_step, device)
    assert not isinstance(step, str)
    for _ in range(RECORDED):  # compile, make the optimiser's state, record a graph
        step()
    finish(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu" or not PROCESS.exists():
        return None
    before = resident("VmRSS")
    (PROCESS / "clear_refs").write_text("5")  # the peak starts again from here
    step()
    return resident("VmHWM") - before


def resident(field: str) -> int:
    """Bytes of memory this process holds now (VmRSS), or has held at most (VmHWM).

    ``getrusage`` will not do: its peak goes on from that of the process that started this one.
    """
    lines = (PROCESS / "status").read_text().splitlines()
    return 1024 * int(dict(line.split(":", 1) for line in lines)[field].split()[0])


if __name__ == "__main__":
    sys.exit(main())
