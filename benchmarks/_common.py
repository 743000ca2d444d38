"""What the benchmarks share: their options, a training step, and what they print.

Letters: B batch, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

import argparse
import math
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from types import FrameType
from typing import TYPE_CHECKING, Any

from compact_vit.bench import at_least_one, check_machine, compiled, inference
from compact_vit.cli import Parser
from compact_vit.errors import Stopped, UsageError
from compact_vit.timing import Call, Timing

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.optim import Optimizer


def above_zero(text: str) -> float:
    """The value of an option that is a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"wanted a number above 0, got {text!r}")
    return value


def machine_parser(command: str, description: str, rounds: int) -> Parser:
    """The options that every benchmark of a model has."""
    parser = Parser(command, description=description)
    add = parser.add_argument
    add("--rounds", type=at_least_one, default=rounds, metavar="N", help=f"turns ({rounds})")
    add("--threads", type=at_least_one, metavar="N", help="CPU threads (torch's default)")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, ... (auto)")
    add("--precision", default="auto", metavar="NAME", help="this library's (auto)")
    add("--compile", nargs="?", const="on", default="auto", metavar="WHEN", help="the same (auto)")
    return parser


def start(args: argparse.Namespace) -> torch.device:
    """Set the threads and the global generator, decide what is automatic, pick the device."""
    import torch

    from compact_vit.train.choices import choose_compile, choose_graphs
    from compact_vit.train.machine import choose_precision, pick_device
    from compact_vit.train.rules import SWITCHES

    check_machine(args.precision, args.compile, SWITCHES)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    device = pick_device(args.device)
    args.precision, _ = choose_precision(args.precision, device)
    compile, note = choose_compile(args.compile, device, steps=0)
    graphs, without = choose_graphs(args.compile, device, compile)
    if note or without:
        raise UsageError(note or without)
    args.compile = "graphs" if graphs else "on" if compile else "off"
    return device


def called(model: nn.Module, compile: str) -> Callable[[Tensor], Tensor]:
    """``model`` as it is (off), compiled (on), or compiled and replayed as CUDA graphs (graphs).

    A call raises ``UsageError`` where torch cannot compile, or leaves the graphs out.
    """
    if compile == "off":
        return model
    if compile == "on":
        return compiled(model)
    from compact_vit.train.choices import before_replay, skipped_graphs

    inner, skipped = compiled(model, graphs=True), skipped_graphs()

    def replayed(x: Tensor) -> Tensor:
        before_replay(model, parts=1)  # an accelerator takes a batch whole
        said = inner(x)
        if skipped_graphs() > skipped:
            raise UsageError("--compile graphs: torch leaves them out here: give --compile on")
        return said

    return replayed


def how_called(compile: str) -> str:
    """How ``called`` calls a model, for a heading."""
    return {"off": "eager", "on": "compiled", "graphs": "compiled, CUDA graphs"}[compile]


def ran_as(summary: Mapping[str, Any]) -> str:
    """How the run of a ``summary.json`` called its model, whatever it was asked for."""
    if not summary["compiled"]:
        return how_called("off")
    return how_called("graphs" if summary["cuda_graphs"] else "on")


@contextmanager
def stoppable() -> Iterator[None]:
    """Within, SIGTERM ends in ``Stopped`` between runs, too; an epoch stops as training does.

    So what is done can be told. What compiles takes an exception for its own failure, and none
    that leaves the process.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    except SystemExit as left:
        raise Stopped("stopped by SIGTERM", int(left.code or 0)) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def infer(model: nn.Module, x: Tensor, precision: str, compile: str) -> Call:
    """A call of ``model`` on ``x [B,C,H,W]`` as evaluation calls it."""
    model.eval()
    if compile == "graphs":
        return inference(called(model, compile), x, precision, False)
    return inference(model, x, precision, compile == "on")


def train_step(
    model: nn.Module, optimizer: Optimizer, precision: str, compile: str
) -> Callable[[Tensor, Tensor], None]:
    """A training step on ``x [B,C,H,W]`` and ``targets [B]``, or ``[B,K]`` probabilities.

    A model of this library takes the batch in the parts that training chooses, others whole.
    """
    import torch
    import torch.nn.functional as F

    from compact_vit.models.compact import CompactTransformer
    from compact_vit.train.choices import choose_parts
    from compact_vit.train.metrics import autocast
    from compact_vit.train.step import averaged

    device = next(model.parameters()).device
    forward = called(model.train(), compile)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")

    def step(x: Tensor, targets: Tensor) -> None:
        inner = getattr(model, "module", model)  # of several processes
        ours = isinstance(inner, CompactTransformer)
        count = choose_parts(inner.config, len(x), device, training=True) if ours else 1
        parts = list(zip(x.chunk(count), targets.chunk(count), strict=True))
        for number, (part, wanted) in enumerate(parts, 1):
            with averaged(forward, number == len(parts)):
                with autocast(device, precision):
                    logits = forward(part)  # [B,K]
                loss = F.cross_entropy(logits.float(), wanted)
                scaler.scale(loss * (len(part) / len(x))).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)

    return step


def installed(package: str) -> str:
    """The version of a package, or that it is not there."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def print_head(device: torch.device, packages: Sequence[str] = ()) -> None:
    """What computes, and the versions of what it computes with."""
    from compact_vit.train.machine import hardware, versions

    used = {**versions(), **{name: installed(name) for name in packages}}
    print(hardware(device))
    print(", ".join(f"{name} {version}" for name, version in used.items()))


def print_table(unit: str, rows: Mapping[str, Sequence[float] | str], *, digits: int = 2) -> None:
    """A row for each of ``rows``: its median, its spread and its ratio to the first row's median.

    A row that is a text says it instead.
    """
    width = 2 + max(map(len, rows))
    print(f"\n{unit:<{width}}{'median':>11}{'min':>11}{'max':>11}{'n':>4}{'ratio':>9}")
    base = None
    for name, values in rows.items():
        if isinstance(values, str):
            print(f"{name:<{width}}{values:>11}")
            continue
        timing = Timing.of(values)
        base = base or timing.median
        figures = (timing.median, timing.low, timing.high)
        numbers = "".join(f"{figure:>11,.{digits}f}" for figure in figures)
        print(f"{name:<{width}}{numbers}{timing.n:>4}{timing.median / base:>8.2f}x")
