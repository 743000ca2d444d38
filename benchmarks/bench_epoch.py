"""What do the data cost in a whole epoch of a folder of pictures, loader, augmentation and all?

The same number of training steps in turns: on one fixed batch, on the epoch's batches as training
makes them, and the batches alone without a step. Before that the folder is started twice: the
first start decodes every picture, the second reads them from the cache.

    python benchmarks/bench_epoch.py --data-dir FOLDER --threads 2
    python benchmarks/bench_epoch.py --data-dir FOLDER --threads 2 --recipe published-200
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from _common import how_called, machine_parser, print_head, print_table, start, train_step

from compact_vit.bench import at_least_one
from compact_vit.cli import Parser, pixels, program
from compact_vit.timing import Call, Timing, elapsed

if TYPE_CHECKING:
    import torch

    from compact_vit.data.pictures import DataSplits
    from compact_vit.train.config import TrainConfig

BARE, EPOCH, DATA = "step on a fixed batch", "whole epoch", "its batches alone"


@program
def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    from compact_vit.train.config import TrainConfig
    from compact_vit.train.inputs import load_splits

    config = TrainConfig(
        dataset="folder",
        data_dir=args.data_dir,
        img_size=args.img_size,
        recipe=args.recipe,
        model=args.model,
        batch_size=args.batch_size,
    )
    device = start(args)
    config = dataclasses.replace(config, precision=args.precision, compile=args.compile)
    with tempfile.TemporaryDirectory() as cache:  # an empty one: nothing is decoded yet
        os.environ["COMPACT_VIT_CACHE"] = cache
        times = [time.perf_counter()]
        for _ in range(2):
            splits = load_splits(config)
            times.append(time.perf_counter())
        first, second = times[1] - times[0], times[2] - times[1]
        ways, seen, batch_size = three_ways(config, limited(splits, args.limit), device)
        print_head(device, ("pillow",))
        how = f"{config.precision}, {how_called(args.compile)}"
        print(f"{config.model}, {how}, batch {batch_size}, recipe {config.recipe}")
        print(f"start of {count(splits):,} pictures: first {first:.2f} s, second {second:.2f} s")
        print(f"{seen:,} pictures an epoch")
        seconds = in_turns(ways, args.rounds, device)
    print_table("pictures/s", {n: [seen / s for s in taken] for n, taken in seconds.items()})
    shares = [1 - bare / epoch for bare, epoch in zip(seconds[BARE], seconds[EPOCH], strict=True)]
    alone = statistics.median(seconds[DATA]) / statistics.median(seconds[EPOCH])
    cost = Timing.of(100 * share for share in shares)
    print(f"\ndata cost {cost.median:.1f}% of the epoch ({cost.low:.1f} to {cost.high:.1f})")
    print(f"the batches alone take {100 * alone:.1f}% of its time")
    return 0


def _parser() -> Parser:
    parser = machine_parser("bench-epoch", __doc__.split("\n\n")[0], rounds=3)
    add = parser.add_argument
    add("--data-dir", required=True, metavar="FOLDER", help="holds train/ and test/ or val/")
    add("--img-size", type=pixels, default=32, metavar="SIZE", help="pixels (32)")
    add("--model", default="cct_2_3x2", metavar="NAME", help="of this library (cct_2_3x2)")
    add("--batch-size", type=at_least_one, default=128, metavar="N", help="pictures (128)")
    add("--recipe", metavar="NAME", help="whose augmentation (the folder's own: quick)")
    add("--limit", type=at_least_one, metavar="N", help="pictures an epoch at most (all)")
    return parser


def limited(splits: DataSplits, limit: int | None) -> DataSplits:
    """``splits`` with at most ``limit`` training pictures, of all classes alike."""
    import torch

    train, here = splits.train, len(splits.train)
    if limit is None or limit >= here:
        return splits
    index = torch.arange(limit) * here // limit
    return dataclasses.replace(splits, train=train.part(index))


def count(splits: DataSplits) -> int:
    """Pictures of all parts."""
    return len(splits.train) + len(splits.test) + len(splits.val or ())


def three_ways(
    config: TrainConfig, splits: DataSplits, device: torch.device
) -> tuple[dict[str, Call], int, int]:
    """The three calls that are timed, the pictures each of them sees, and those of a batch."""
    from compact_vit.train.inputs import build_train_batch
    from compact_vit.train.state import build_state

    state, batch = build_state(config, splits, device), build_train_batch(config, splits)
    step = train_step(state.model, state.optimizer, config.precision, config.compile)
    fixed = batch(*next(iter(state.loader)), 0, state.augmentation)

    def bare() -> None:
        for _ in range(len(state.loader)):
            step(*fixed)

    def epoch() -> None:
        for images, labels in state.loader:
            step(*batch(images, labels, 0, state.augmentation))

    def data() -> None:
        for images, labels in state.loader:
            batch(images, labels, 0, state.augmentation)

    size = state.loader.batch_size
    return {BARE: bare, EPOCH: epoch, DATA: data}, size * len(state.loader), size


def in_turns(ways: dict[str, Call], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each way in each round, after one round that compiles and allocates."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, call in ways.items():
            taken = elapsed(call, 1, device)
            if turn:
                seconds[name].append(taken)
    return seconds


if __name__ == "__main__":
    sys.exit(main())
