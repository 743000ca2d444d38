r"""How soon does a compact transformer tell CIFAR-10's pictures at 94%, on one GPU?

    python benchmarks/speedrun.py --compile graphs
    python benchmarks/speedrun.py --dataset folder --data-dir FOLDER --compile graphs --json

Runs of ``--recipe speedrun``, each of a seed of its own, and of a number of epochs that is fixed
before: the accuracy is the last epoch's, and nothing is picked on the test set. Time is told three
ways: training, from the first step to the end of the last, epoch by epoch; with the evaluation
that ``train()`` makes after every epoch; and the whole call, with building, compiling or finding
what was compiled, checkpoints and pictures. A run of one epoch comes first and is left out: it
compiles, tunes and allocates. It is told how long that took. Stopped, it tells of the runs that
are done; with ``--json`` the table goes to standard error meanwhile.

The recipe is put together from published evidence. It has not been tuned, nor run on a GPU. By
arithmetic: CCT-6/3x2 takes 253.5 million multiply-accumulates a picture, 1.52 GFLOP forward and
backward, so that 100 epochs of 50,000 pictures are 7.6 PFLOP. At 15% of the 989 TFLOP/s in bf16
that an H200 is sold for they take 51 s, at 20% 38 s, at 10% 77 s. Maps of width 256 are bound by
memory rather than by products, so that much more than 20% is not to be expected.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from _common import above_zero, machine_parser, ran_as, start, stoppable

from compact_vit.bench import at_least_one
from compact_vit.cli import program
from compact_vit.errors import Stopped

if TYPE_CHECKING:
    import torch

    from compact_vit.train import TrainResult
    from compact_vit.train.config import TrainConfig

RECIPE = "speedrun"


@dataclass(frozen=True)
class Run:
    """What came of one seed: percent of the test pictures, and seconds."""

    seed: int
    accuracy: float
    training: float
    with_evaluation: float
    whole: float

    @classmethod
    def of(cls, result: TrainResult, whole: float) -> Run:
        """The figures of a run whose call took ``whole`` seconds."""
        summary, batch = result.summary, result.config.batch_size
        batch = min(batch, summary["train_pictures"])
        pictures = summary["train_pictures"] // batch * batch  # an epoch leaves the rest out
        return cls(
            seed=result.config.seed,
            accuracy=summary["final"]["accuracy"],
            training=sum(pictures / row["pictures_per_second"] for row in result.history),
            with_evaluation=sum(row["seconds"] for row in result.history),
            whole=whole,
        )


@program
def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    from compact_vit.train.config import TrainConfig
    from compact_vit.train.machine import pick_device

    config = TrainConfig(
        dataset=args.dataset,
        data_dir=args.data_dir,
        recipe=RECIPE,
        model=args.model,
        epochs=args.epochs,
        batch_size=args.batch_size,
        device=args.device,
    )
    if args.compile == "auto" and pick_device(args.device).type == "cuda":
        args.compile = "on"  # runs this long compile by themselves, but not the first, short one
    device = start(args)
    config = dataclasses.replace(config, precision=args.precision, compile=args.compile)
    short = dataclasses.replace(config, epochs=1, seed=args.rounds)
    tell = functools.partial(print, file=sys.stderr if args.json else sys.stdout, flush=True)
    runs: list[Run] = []
    status = 0
    try:
        with stoppable():
            result, warm_up = trained(short)
            head = about(config, result, device) | {"warm_up_seconds": warm_up}
            tell(told(head))
            for seed in range(args.rounds):
                runs.append(Run.of(*trained(dataclasses.replace(config, seed=seed))))
                tell(row(seed, *list(asdict(runs[-1]).values())[1:]))
    except Stopped as stop:
        status = stop.status
    if runs:
        together = summed_up(runs, args.target, head["pflop"])
        whole = {**head, "runs": [asdict(run) for run in runs], **together}
        print(json.dumps(whole, indent=2) if args.json else judged(together), flush=True)
    if status:
        raise Stopped(f"stopped: {len(runs)} of {args.rounds} runs are done", status)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = machine_parser("speedrun", __doc__.split("\n\n")[0], rounds=5)
    add = parser.add_argument
    add("--dataset", default="cifar10", metavar="NAME", help="named data set (cifar10)")
    add("--data-dir", metavar="FOLDER", help="of archives; for 'folder': holds train/ and test/")
    add("--model", metavar="NAME", help="of this library (the recipe's)")
    add("--epochs", type=at_least_one, metavar="N", help="passes (the recipe's)")
    add("--batch-size", type=at_least_one, metavar="N", help="pictures (the recipe's)")
    add("--target", type=above_zero, default=94.0, metavar="X", help="percent to be reached (94)")
    add("--json", action="store_true", help="print JSON")
    return parser


def trained(config: TrainConfig) -> tuple[TrainResult, float]:
    """A run of ``config``, and the seconds of the whole call."""
    from compact_vit.train import train

    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        result = train(config, output=os.path.join(folder, "run"), quiet=True)
        return result, time.perf_counter() - begin


def about(config: TrainConfig, first: TrainResult, device: torch.device) -> dict[str, Any]:
    """What is run, and on what; the ``first`` run says how it was computed."""
    from compact_vit.train.machine import hardware, versions

    summary = first.summary
    macs = 3 * summary["macs"] * summary["train_pictures"] * config.epochs  # forward, backward: 3
    return {
        "hardware": hardware(device),
        "versions": versions(),
        "called": ran_as(summary),
        "precision": summary["precision"],
        "parameters": summary["parameters"],
        "pflop": 2 * macs / 1e15,
        "config": config.to_dict(),
    }


def told(head: dict[str, Any]) -> str:
    """The lines above the table, and its head."""
    config = head["config"]
    return "\n".join(
        (
            head["hardware"],
            ", ".join(f"{name} {version}" for name, version in head["versions"].items()),
            f"{config['model']} on {config['dataset']}, {head['parameters']:,} parameters, "
            f"{config['epochs']} epochs, batch {config['batch_size']}, "
            f"{head['precision']}, {head['called']}",
            f"{head['pflop']:.3g} PFLOP of products a run; "
            f"left out: a first run of one epoch, {head['warm_up_seconds']:.1f} s",
            "",
            f"{'seed':<8}{'accuracy':>10}{'training, s':>14}{'with evaluation':>18}{'whole':>10}",
        )
    )


def row(name: object, *figures: float) -> str:
    """A line of the table."""
    accuracy, training, evaluated, whole = figures
    return f"{name:<8}{accuracy:>10.2f}{training:>14.2f}{evaluated:>18.2f}{whole:>10.2f}"


def summed_up(runs: Sequence[Run], target: float, pflop: float) -> dict[str, Any]:
    """Mean, standard deviation (of a sample), least and most of every figure, and the target."""
    figures = ("accuracy", "training", "with_evaluation", "whole")
    values = {name: [getattr(run, name) for run in runs] for name in figures}
    return {
        "n": len(runs),
        "mean": {name: statistics.fmean(v) for name, v in values.items()},
        "deviation": {
            name: statistics.stdev(v) if len(v) > 1 else None for name, v in values.items()
        },
        "least": {name: min(v) for name, v in values.items()},
        "most": {name: max(v) for name, v in values.items()},
        "target": target,
        "reached": sum(accuracy >= target for accuracy in values["accuracy"]),
        "tflops": 1000 * pflop / statistics.fmean(values["training"]),
    }


def judged(together: dict[str, Any]) -> str:
    """The lines below the table."""
    names = ("mean", *(["deviation"] if together["n"] > 1 else []), "least", "most")
    lines = [row(name, *together[name].values()) for name in names]
    mean, n, target = together["mean"], together["n"], together["target"]
    beyond = "at least" if mean["accuracy"] >= target else "below"
    return "\n".join(
        (
            "",
            *lines,
            "",
            f"the mean of {n} runs is {beyond} {target:g}%, and {together['reached']} of {n} are "
            f"at least that; training takes {mean['training']:.2f} s, "
            f"{together['tflops']:.3g} TFLOP/s",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
