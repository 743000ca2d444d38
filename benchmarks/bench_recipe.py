r"""How long does the whole recipe take, epochs with data and evaluation, beside the published code?

``published-200`` of CIFAR pictures: AutoAugment, crop and flip, batches of 128, an evaluation and
a checkpoint after each epoch. This library trains by ``train()``, as its command does; the
published model, from a checkout, as its script does: PIL's AutoAugment in the workers of a
DataLoader, mixed precision, a wait for the device after every step. They take an epoch in turns:

    python benchmarks/bench_recipe.py --data-dir FOLDER --reference PATH --workers 8
    python benchmarks/bench_recipe.py --data-dir FOLDER --epochs 200 --compile on

The first epoch of each warms up and is left out. What 200 epochs take is reckoned from the median
of those measured, and said to be; with ``--epochs 200`` this library trains them all.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _common import how_called, machine_parser, print_head, print_table, start

from compact_vit.bench import at_least_one
from compact_vit.cli import program
from compact_vit.errors import UsageError

if TYPE_CHECKING:
    from compact_vit.train.config import TrainConfig

RECIPE, OURS, PUBLISHED = "published-200", "compact_vit", "published code"


@program
def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    from compact_vit.train.config import TrainConfig
    from compact_vit.train.inputs import load_splits

    epochs = args.epochs or args.rounds + 1
    if epochs <= args.rounds:
        raise UsageError(f"--epochs must be above --rounds ({args.rounds}), got {epochs}")
    config = TrainConfig(
        dataset=args.dataset,
        data_dir=args.data_dir,
        recipe=RECIPE,
        model=args.model,
        epochs=epochs,
        device=args.device,
    )
    device = start(args)
    peer: Callable[[], float] | None = None
    splits = load_splits(config)
    if args.reference is not None:
        from _published import published_epoch

        peer = published_epoch(config, splits, args.reference, args.workers, device)
    print_head(device)
    test = splits.test if splits.val is None else splits.val
    print(f"{config.model}, {RECIPE}, batch {config.batch_size}, an epoch: {len(splits.train):,} "
          f"pictures to train, {len(test):,} to evaluate")  # fmt: skip
    print(f"this library: {args.precision}, {how_called(args.compile)}")
    mixed = "fp16 mixed" if device.type == "cuda" else "fp32"
    print(f"the published code: {mixed}, eager, {args.workers} workers", flush=True)
    ours, theirs, accuracy = in_turns(config, args, peer)
    seen = len(splits.train) + len(test)
    rows: dict[str, Sequence[float] | str] = {OURS: ours, PUBLISHED: theirs or "not given"}
    print_table("s an epoch", rows)
    rates = {n: r if isinstance(r, str) else [seen / s for s in r] for n, r in rows.items()}
    print_table("pictures/s, both kinds", rates, digits=0)
    whole = {n: r for n, r in rows.items() if not isinstance(r, str)}
    print()
    for name, seconds in whole.items():
        print(f"{name}: {reckoned(seconds, args.of)}")
    if epochs > args.rounds + 1:
        print(f"{OURS}: the last {len(ours)} of {epochs} epochs took {sum(ours) / 60:.2f} min, "
              f"measured; accuracy {accuracy:.2f}%")  # fmt: skip
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = machine_parser("bench-recipe", __doc__.split("\n\n")[0], rounds=3)
    add = parser.add_argument
    add("--dataset", default="folder", metavar="NAME", help="named data set (folder)")
    add("--data-dir", metavar="FOLDER", help="holds train/ and test/, or a named set's archives")
    add("--model", default="cct_6_3x1", metavar="NAME", help="of this library (cct_6_3x1)")
    add("--epochs", type=at_least_one, metavar="N", help="to train here (rounds and one more)")
    add("--of", type=at_least_one, default=200, metavar="N", help="epochs reckoned with (200)")
    add("--reference", type=Path, metavar="PATH", help="checkout of the published code")
    add("--workers", type=count, default=8, metavar="N", help="of its DataLoader (8, as published)")
    return parser


def count(text: str) -> int:
    """The value of an option that counts something that may be left out."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"wanted a whole number of at least 0, got {text!r}")
    return int(text)


def in_turns(
    config: TrainConfig, args: argparse.Namespace, peer: Callable[[], float] | None
) -> tuple[list[float], list[float], float]:
    """Seconds of the epochs here, of ``args.rounds`` of the peer's, and the accuracy in the end.

    An epoch here lasts from the end of the last one to the call that tells of it: with training,
    evaluation, checkpoint and log.
    """
    import dataclasses

    from compact_vit.train import train

    config = dataclasses.replace(config, precision=args.precision, compile=args.compile)
    ours: list[float] = []
    theirs: list[float] = []
    since = [time.perf_counter()]

    def told(row: Mapping[str, Any]) -> None:
        ours.append(time.perf_counter() - since[0])
        if peer is not None and len(theirs) <= args.rounds:
            theirs.append(peer())
        since[0] = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        since[0] = time.perf_counter()
        run = train(config, output=os.path.join(folder, "run"), quiet=True, on_epoch=told)
    return ours[1:], theirs[1:], run.summary["final"]["accuracy"]


def reckoned(seconds: Sequence[float], epochs: int) -> str:
    """What ``epochs`` like these take."""
    minutes = statistics.median(seconds) * epochs / 60
    return f"{epochs} epochs take {minutes:.2f} min, reckoned from the median of {len(seconds)}"


if __name__ == "__main__":
    sys.exit(main())
