r"""How long does a GPU wait within training steps, loader, augmentation and optimiser included?

Steps are taken as training takes them and recorded by ``torch.profiler``. The GPU waits where none
of its kernels, copies and fills runs, from the first one's start to the last one's end. Recording
them costs some time of its own, so the share told is rather too large:

    python benchmarks/bench_idle.py --data-dir FOLDER --model cct_6_3x1 --recipe published-200
    python benchmarks/bench_idle.py --data-dir FOLDER --model cct_6_3x1 --recipe published-200 \
        --compile graphs
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _common import how_called, machine_parser, print_head, start

from compact_vit.bench import at_least_one
from compact_vit.cli import program
from compact_vit.errors import UsageError
from compact_vit.timing import Call, Timing, finish

if TYPE_CHECKING:
    import torch

    from compact_vit.train.config import TrainConfig

    Interval = tuple[float, float]

#: What of a trace runs on a GPU; its annotations only say who asked for it, waiting and all.
ON_GPU = ("kernel", "gpu_memcpy", "gpu_memset")
#: Steps before those recorded: they compile, allocate, tune and fill the queue.
WARM_UP = 20


@program
def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    from compact_vit.train.config import TrainConfig

    config = TrainConfig(
        dataset=args.dataset,
        data_dir=args.data_dir,
        recipe=args.recipe,
        model=args.model,
        batch_size=args.batch_size,
    )
    device = start(args)
    if device.type != "cuda":
        raise UsageError(f"what waits is a GPU: --device must be cuda, and is {device.type} here")
    windows = measured(config, args, device)
    print_head(device)
    print(
        f"{config.model}, {args.precision}, {how_called(args.compile)}, batch {config.batch_size}"
    )
    print(f"recipe {config.recipe}; windows of {args.steps} steps")
    for name, digits, values in (
        ("ms a step", 3, [(last(w) - first(w)) / 1000 / args.steps for w in windows]),
        ("kernels a step", 0, [len(window) / args.steps for window in windows]),
        ("waiting, % of a step", 2, [100 * idle_share(window) for window in windows]),
        ("longest wait, ms", 3, [longest_gap(window) / 1000 for window in windows]),
    ):
        spread = Timing.of(values)
        figures = "".join(f"{v:>12,.{digits}f}" for v in (spread.median, spread.low, spread.high))
        print(f"{name:<22}{figures}{spread.n:>4}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = machine_parser("bench-idle", __doc__.split("\n\n")[0], rounds=3)
    add = parser.add_argument
    add("--dataset", default="folder", metavar="NAME", help="named data set (folder)")
    add("--data-dir", metavar="FOLDER", help="holds train/ and test/, or a named set's archives")
    add("--model", metavar="NAME", help="of this library (the recipe's)")
    add("--batch-size", type=at_least_one, metavar="N", help="pictures (the recipe's)")
    add("--recipe", metavar="NAME", help="whose model, batch and augmentation (the data set's)")
    add("--steps", type=at_least_one, default=50, metavar="N", help="steps of a window (50)")
    return parser


def measured(
    config: TrainConfig, args: argparse.Namespace, device: torch.device
) -> list[list[Interval]]:
    """What the device did in each window of ``args.steps`` steps, in microseconds."""
    step = training_step(config, args.precision, args.compile, device)
    for _ in range(WARM_UP):
        step()
    return [recorded(step, args.steps, device) for _ in range(args.rounds)]


def training_step(config: TrainConfig, precision: str, compile: str, device: torch.device) -> Call:
    """A step as an epoch takes it: the next batch, its augmentation, forward, backward, update."""
    import dataclasses

    from compact_vit.train.inputs import build_train_batch, load_splits
    from compact_vit.train.state import build_state, compiled_forward
    from compact_vit.train.step import train_step

    config = dataclasses.replace(config, precision=precision, compile=compile)
    splits = load_splits(config)
    state, batch = build_state(config, splits, device), build_train_batch(config, splits)
    forward = compiled_forward(state)
    if compile != "off" and (
        not state.choices.compile or state.choices.graphs != (compile == "graphs")
    ):
        raise UsageError(state.choices.notes[-1])
    batches = itertools.chain.from_iterable(itertools.repeat(state.loader))

    def step() -> None:
        images, labels = next(batches)
        state.reseed()
        x, targets = batch(images, labels, 0, state.augmentation)
        targets = state.objective.targets(x, targets, state.augmentation)
        train_step(state, config, forward, x, targets)
        state.health.check(lr=0.0, epoch=1, batch=1)

    return step


def recorded(step: Call, steps: int, device: torch.device) -> list[Interval]:
    """When the GPU worked in so many steps."""
    from torch.profiler import ProfilerActivity, profile

    finish(device)
    # what the host does is not read, and to record it would keep the GPU waiting
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(steps):
            step()
        finish(device)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        return intervals(json.loads(path.read_bytes())["traceEvents"])


def intervals(events: Iterable[dict[str, Any]], kinds: Sequence[str] = ON_GPU) -> list[Interval]:
    """Start and end, in microseconds, of what of a trace's ``events`` is of these ``kinds``."""
    return [
        (float(event["ts"]), float(event["ts"]) + float(event["dur"]))
        for event in events
        if event.get("cat") in kinds and "dur" in event
    ]


def idle_share(work: Sequence[Interval]) -> float:
    """The share of the time from first to last in which none of ``work`` goes on."""
    return sum(gaps(work)) / (last(work) - first(work))


def longest_gap(work: Sequence[Interval]) -> float:
    """The longest time without work between first and last."""
    return max(gaps(work), default=0.0)


def gaps(work: Sequence[Interval]) -> list[float]:
    """The times between pieces of ``work``, which may overlap: streams run side by side."""
    found, busy_until = [], first(work)
    for begin, end in sorted(work):
        if begin > busy_until:
            found.append(begin - busy_until)
        busy_until = max(busy_until, end)
    return found


def first(work: Sequence[Interval]) -> float:
    """When the work begins; ``UsageError`` where there is none."""
    if not work:
        raise UsageError("the trace holds no work of a GPU: torch.profiler cannot record it here")
    return min(begin for begin, _ in work)


def last(work: Sequence[Interval]) -> float:
    """When all work is done."""
    return max(end for _, end in work)


if __name__ == "__main__":
    sys.exit(main())
