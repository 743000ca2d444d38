r"""How long does the whole recipe take, epochs with data and evaluation, beside the published code?

``published-200`` of CIFAR pictures: AutoAugment, crop and flip, batches of 128, an evaluation and
a checkpoint after each epoch. This library trains by ``train()``, as its command does; the
published model, from a checkout, as its script does: PIL's AutoAugment in the workers of a
DataLoader, mixed precision, a wait for the device after every step. They take an epoch in turns:

    python benchmarks/bench_recipe.py --data-dir FOLDER --reference PATH --workers 8
    python benchmarks/bench_recipe.py --data-dir FOLDER --epochs 200 --compile on --output RUN

The first epoch of each warms up and is left out. What 200 epochs take is reckoned from the median
of those measured, and said to be; with ``--epochs 200`` this library trains them all. Stopped, it
tells of the epochs that are measured. With ``--output`` the run is kept there with its times, and
the same command goes on with it: the first epoch of every call is left out then.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from _common import how_called, machine_parser, print_head, print_table, ran_as, start, stoppable

from compact_vit.bench import at_least_one
from compact_vit.cli import program
from compact_vit.errors import Stopped, UsageError
from compact_vit.files import append_line, check_is_folder

if TYPE_CHECKING:
    from compact_vit.train.config import TrainConfig

RECIPE, OURS, PUBLISHED = "published-200", "compact_vit", "published code"


class Turns(NamedTuple):
    """What the epochs took in seconds, without the first of every call, and what they came to."""

    ours: list[float]
    theirs: list[float] | None
    summary: Mapping[str, Any] | None
    """Of the run; None where it was stopped."""
    status: int = 0


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
    config = dataclasses.replace(config, precision=args.precision, compile=args.compile)
    check_same(config, args.output)
    peer: Callable[[], float] | None = None
    splits = load_splits(config)
    if args.reference is not None:
        from _published import published_epoch

        peer = published_epoch(config, splits, args.reference, args.workers, device)
    print_head(device)
    test = splits.test if splits.val is None else splits.val
    print(f"{config.model}, {RECIPE}, batch {config.batch_size}, an epoch: {len(splits.train):,} "
          f"pictures to train, {len(test):,} to evaluate")  # fmt: skip
    mixed = "fp16 mixed" if device.type == "cuda" else "fp32"
    print(f"the published code: {mixed}, eager, {args.workers} workers", flush=True)
    turns = in_turns(config, args.rounds, peer, args.output)
    tell(turns, config, args.of, seen=len(splits.train) + len(test))
    if turns.status:
        how = "" if args.output is None else "; the same command goes on"
        measured = f"{len(turns.ours)} of {epochs} epochs are measured"
        raise Stopped(f"stopped: {measured}{how}", turns.status)
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
    add("--output", type=Path, metavar="FOLDER", help="keep the run there, or go on with it")
    add("--workers", type=count, default=8, metavar="N", help="of its DataLoader (8, as published)")
    return parser


def count(text: str) -> int:
    """The value of an option that counts something that may be left out."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"wanted a whole number of at least 0, got {text!r}")
    return int(text)


def check_same(config: TrainConfig, output: Path | None) -> None:
    """``UsageError`` where ``output`` holds something else than a run of ``config``."""
    from compact_vit.train.config import with_whole_paths
    from compact_vit.train.run import RunFolder

    if output is None:
        return
    check_is_folder(output)
    if not (output / "run" / "config.json").exists():
        return
    now, before = with_whole_paths(config), RunFolder.open(output / "run").config()
    if dataclasses.replace(before, data_dir=now.data_dir) != now:  # pictures may have moved
        raise UsageError(
            f"--output '{output}' holds a run of another configuration: give the options that it "
            "was begun with, or another folder"
        )


def in_turns(
    config: TrainConfig,
    rounds: int,
    peer: Callable[[], float] | None = None,
    output: Path | None = None,
) -> Turns:
    """The epochs here, those that ``output`` tells of among them, and ``rounds`` of the peer's.

    An epoch here lasts from the end of the last one to the call that tells of it: with training,
    evaluation, checkpoint and log.
    """
    from compact_vit.train import resume, train

    theirs: list[float] = []
    since: list[float] = []  # when the epoch under way began, but for the first

    with ExitStack() as held:
        if output is None:
            output = Path(held.enter_context(tempfile.TemporaryDirectory()))
        run, times = output / "run", output / "seconds.jsonl"

        def told(row: Mapping[str, Any]) -> None:
            if since:
                append_line(times, json.dumps(time.perf_counter() - since.pop()))
            if peer is not None and len(theirs) <= rounds:
                theirs.append(peer())
            since.append(time.perf_counter())

        summary, status = None, 0
        try:
            with stoppable():
                if (run / "config.json").exists():
                    result = resume(run, data_dir=config.data_dir, quiet=True, on_epoch=told)
                else:
                    result = train(config, output=run, quiet=True, on_epoch=told)
            summary = result.summary
        except Stopped as stop:
            status = stop.status
        lines = times.read_text().splitlines() if times.exists() else []
    mine = [float(line) for line in lines]
    return Turns(mine, None if peer is None else theirs[1:], summary, status)


def tell(turns: Turns, config: TrainConfig, of: int, seen: int) -> None:
    """Print what was measured, of epochs in which ``seen`` pictures are trained or evaluated on."""
    summary = turns.summary
    if summary is None:
        asked = how_called(str(config.compile))
        print(f"this library: asked for {config.precision}, {asked}; stopped before it could say")
    else:
        print(f"this library: {summary['precision']}, {ran_as(summary)}")
        for note in summary["notes"]:
            print(note)
    rows: dict[str, Sequence[float] | str] = {
        OURS: turns.ours or "not measured",
        PUBLISHED: "not given" if turns.theirs is None else turns.theirs or "not measured",
    }
    print_table("s an epoch", rows)
    rates = {n: r if isinstance(r, str) else [seen / s for s in r] for n, r in rows.items()}
    print_table("pictures/s, both kinds", rates, digits=0)
    print()
    for name, seconds in rows.items():
        if not isinstance(seconds, str):
            print(f"{name}: {reckoned(seconds, of)}")
    if summary is not None and len(turns.ours) > 1:
        print(f"{OURS}: {len(turns.ours)} of {config.epochs} epochs took "
              f"{sum(turns.ours) / 60:.2f} min, measured; accuracy "
              f"{summary['final']['accuracy']:.2f}%")  # fmt: skip


def reckoned(seconds: Sequence[float], epochs: int) -> str:
    """What ``epochs`` like these take."""
    minutes = statistics.median(seconds) * epochs / 60
    return f"{epochs} epochs take {minutes:.2f} min, reckoned from the median of {len(seconds)}"


if __name__ == "__main__":
    sys.exit(main())
