"""How do pictures a second change with the batch, the picture's size and the tokens, and why?

Training steps and inference of this library with its automatic choices, on normal noise, over
batch sizes and picture sizes; and what bounds them: the rate of matrix products in the precision of
the model, and of copies in memory, measured on the same machine in the same run.

    python benchmarks/bench_scaling.py --threads 2 --plot docs/scaling.png

The share of the bound is what a picture's multiply-accumulates (times three in training) would
take at the measured rate of products, against what it takes.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from _common import infer, machine_parser, print_head, start, train_step

from compact_vit.cli import program
from compact_vit.errors import UsageError
from compact_vit.timing import Call, Timing, seconds_in_turns

if TYPE_CHECKING:
    import torch

    from compact_vit.models.config import ModelConfig

MODELS = ("cct_2_3x2", "cct_6_3x2", "cct_6_3x1", "vit_lite_6_4")
BATCHES = (1, 4, 16, 32, 64, 128, 256)
SIZES = (16, 24, 32, 48, 64)
#: pictures of the batches over which the size grows, and side of those over which the batch does
BATCH, SIZE = 32, 32


@dataclasses.dataclass(frozen=True)
class Point:
    """One measurement; rates in pictures a second."""

    model: str
    batch_size: int
    img_size: int
    tokens: int
    macs: int
    inference: Timing
    training: Timing


@program
def main(argv: Sequence[str] | None = None) -> int:
    parser = machine_parser("bench-scaling", __doc__.split("\n\n")[0], rounds=3)
    add = parser.add_argument
    add("--models", nargs="+", default=MODELS, metavar="NAME", help=" ".join(MODELS))
    add("--batch-sizes", nargs="+", type=int, default=BATCHES, metavar="N", help="pictures")
    add("--img-sizes", nargs="+", type=int, default=SIZES, metavar="N", help="pixels")
    add("--plot", type=Path, metavar="FILE", help="draw it: .png, .pdf or .svg")
    args = parser.parse_args(argv)
    if args.plot is not None:
        from compact_vit.plots import check_picture

        check_picture(args.plot)
    for name in ("batch_sizes", "img_sizes"):
        if min(getattr(args, name)) < 1:
            raise UsageError(f"{name} must be at least 1, got {min(getattr(args, name))}")
    device = start(args)
    print_head(device)
    products, copies = machine_rates(device, args.precision, args.rounds)
    print(
        f"{args.precision} products {products / 1e9:,.0f} GFLOP/s, copies {copies / 1e9:,.0f} GB/s"
    )
    print(f"inference and training, {args.precision}, medians of {args.rounds} turns\n")
    print(f"{'model':<14}{'batch':>6}{'pixels':>7}{'tokens':>7}{'M MACs':>9}"
          f"{'inference/s':>13}{'of bound':>9}{'training/s':>12}{'of bound':>9}")  # fmt: skip
    points = []
    for model in args.models:
        grid = [(n, SIZE) for n in args.batch_sizes] + [(BATCH, s) for s in args.img_sizes]
        for batch_size, img_size in dict.fromkeys(grid):
            point = measure(model, batch_size, img_size, args, device)
            points.append(point)
            print(told(point, products), flush=True)
    if args.plot is not None:
        draw(points, args.plot)
    return 0


def machine_rates(device: torch.device, precision: str, rounds: int) -> tuple[float, float]:
    """Operations a second of large products in ``precision``, and bytes a second that are copied.

    What is copied is read and written.
    """
    import torch

    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    side = 8192 if device.type == "cuda" else 2048  # far longer than a kernel takes to start
    a, b = (torch.randn(side, side, device=device).to(kinds[precision]) for _ in range(2))
    source = torch.randn(2**26, device=device)  # 256 MiB: no cache holds it
    target = torch.empty_like(source)
    calls: list[Call] = [lambda: a @ b, lambda: target.copy_(source)]
    product, copy = (
        Timing.of(taken).median for taken in seconds_in_turns(calls, rounds=rounds, device=device)
    )
    return 2 * side**3 / product, 2 * source.nbytes / copy


def measure(
    name: str, batch_size: int, img_size: int, args: argparse.Namespace, device: torch.device
) -> Point:
    """Inference and training of a model on batches of one size."""
    import torch

    from compact_vit.models.arithmetic import macs, tokens
    from compact_vit.models.compact import CompactTransformer
    from compact_vit.models.config import config_from_name
    from compact_vit.train.config import TrainConfig
    from compact_vit.train.optim import build_optimizer

    config: ModelConfig = config_from_name(name, img_size=img_size, attention_dropout=0.0)
    model = CompactTransformer(config).to(device)
    x = torch.randn(batch_size, config.in_chans, img_size, img_size, device=device)
    labels = torch.randint(10, (batch_size,), device=device)
    optimizer = build_optimizer(model, TrainConfig(dataset="cifar10"))
    step = train_step(model, optimizer, args.precision, args.compile)
    rates = []
    for call in (infer(model, x, args.precision, args.compile), lambda: step(x, labels)):
        model.train(bool(rates))
        (taken,) = seconds_in_turns([call], rounds=args.rounds, device=device)
        rates.append(Timing.of(batch_size / seconds for seconds in taken))
    return Point(name, batch_size, img_size, tokens(config), macs(config), *rates)


def told(point: Point, products: float) -> str:
    """A line of the table."""
    shares = [
        100 * rate.median * passes * 2 * point.macs / products
        for rate, passes in ((point.inference, 1), (point.training, 3))
    ]
    return (
        f"{point.model:<14}{point.batch_size:>6}{point.img_size:>7}{point.tokens:>7}"
        f"{point.macs / 1e6:>9,.1f}{point.inference.median:>13,.0f}{shares[0]:>8.0f}%"
        f"{point.training.median:>12,.0f}{shares[1]:>8.0f}%"
    )


def draw(points: Sequence[Point], path: Path) -> None:
    """Pictures a second over the batch, the side and the tokens, training and inference."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

    from compact_vit.plots.style import PALETTE, save_figure

    figure = Figure(figsize=(12, 7), layout="constrained")
    axes = figure.subplots(2, 3, sharey="row", sharex="col")
    colours = dict(zip(dict.fromkeys(p.model for p in points), PALETTE, strict=False))
    columns = (
        ("batch_size", ("img_size", SIZE), f"pictures a batch, {SIZE} px"),
        ("img_size", ("batch_size", BATCH), f"side in pixels, {BATCH} pictures a batch"),
        ("tokens", ("batch_size", BATCH), f"tokens, {BATCH} pictures a batch"),
    )
    for row, what in zip(axes, ("inference", "training"), strict=True):
        for axis, (over, (held, value), label) in zip(row, columns, strict=True):
            for model, colour in colours.items():
                line = [p for p in points if p.model == model and getattr(p, held) == value]
                line.sort(key=lambda p: getattr(p, over))
                rates = [getattr(p, what) for p in line]
                axis.errorbar(
                    [getattr(p, over) for p in line],
                    [r.median for r in rates],
                    [[r.median - r.low for r in rates], [r.high - r.median for r in rates]],
                    marker="o", markersize=4, capsize=2, color=colour, label=model,
                )  # fmt: skip
            axis.set(xscale="log", yscale="log", title=what)
            axis.set_xticks(sorted({getattr(p, over) for p in points}))
            axis.xaxis.set_major_formatter(ScalarFormatter())
            axis.tick_params(axis="x", labelrotation=60 if over == "tokens" else 0)
            axis.minorticks_off()
            axis.grid(alpha=0.3)
            if what == "training":
                axis.set_xlabel(label)
        row[0].set_ylabel("pictures a second")
    axes[0][0].legend()
    save_figure(figure, path)


if __name__ == "__main__":
    sys.exit(main())
