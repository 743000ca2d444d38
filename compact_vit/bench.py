"""``python -m compact_vit.bench NAME ...``: latency and throughput of models on this machine.

Letters: B batch, C channels, H x W pixels.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .cli import Parser, pixels, program
from .errors import UsageError, unknown
from .timing import TURN, Call, Timing, finish, seconds_in_turns
from .train.rules import PRECISIONS

if TYPE_CHECKING:
    from torch import Tensor, nn

    Size = tuple[int, int, int]
    Sized = tuple[nn.Module, Size]


#: Threads beyond which a process may die of starting them.
MAX_THREADS = 1024


@dataclass(frozen=True)
class Throughput:
    """How fast a model answers."""

    latency_ms: Timing
    """Milliseconds from one picture to its logits."""
    pictures_per_second: Timing
    """Pictures a second in batches of ``batch_size``."""
    batch_size: int


def compiled(module: nn.Module, *, graphs: bool = False) -> Callable[[Tensor], Tensor]:
    """``module`` by ``compile_model``; ``UsageError`` if it cannot be."""
    from torch._dynamo.exc import TorchDynamoException

    from .train.choices import compile_model

    inner = compile_model(module, graphs=graphs)

    def call(x: Tensor) -> Tensor:
        try:
            return inner(x)
        except TorchDynamoException as error:
            reason = str(error).strip().split("\n")[0]
            raise UsageError(f"torch.compile fails here, do without it: {reason}") from None

    return call


def inference(
    model: nn.Module, x: Tensor, precision: str, compile: bool, *, wait: bool = False
) -> Call:
    """A call of ``model`` on ``x [B,C,H,W]`` as evaluation calls it: no autograd, autocast.

    A model of this library takes the batch in the parts that suit a CPU, any other takes it whole.
    With ``wait`` the call returns when the device has the answer: calls that overlap hide latency.
    """
    import torch

    from .models.compact import CompactTransformer
    from .train.choices import choose_parts
    from .train.metrics import autocast

    forward = compiled(model) if compile else model
    parts = 1
    if isinstance(model, CompactTransformer):
        parts = choose_parts(model.config, len(x), x.device)

    @torch.inference_mode()
    def call() -> None:
        with autocast(x.device, precision):
            for part in x.chunk(parts):
                forward(part)
        if wait:
            finish(x.device)

    return call


def measure(
    model: nn.Module,
    input_size: Size,
    *,
    batch_size: int = 32,
    precision: str = "auto",
    compile: bool = False,
    rounds: int = 10,
) -> Throughput:
    """Latency and throughput of ``model`` where it is, on normal noise of ``input_size`` (C,H,W).

    The model is measured in evaluation mode and left in the mode it had; one whose weights are not
    float32 in their own precision. ``UsageError`` for a precision that is none of auto, fp32, bf16,
    fp16.
    """
    return measure_in_turns([(model, input_size)], batch_size, precision, compile, rounds)[0]


def measure_in_turns(
    models: Sequence[Sized], batch_size: int, precision: str, compile: bool, rounds: int
) -> list[Throughput]:
    """``measure`` for several models with their input sizes, all on one device, in turns."""
    import torch

    check_machine(precision, "on" if compile else "off")
    for name, value in (("batch_size", batch_size), ("rounds", rounds)):
        if value < 1:
            raise UsageError(f"{name} must be at least 1, got {value}")
    device = next((p.device for model, _ in models for p in model.parameters()), None)
    device = device or torch.device("cpu")
    noise = torch.Generator().manual_seed(0)
    calls: list[Call] = []
    were_training = [model.training for model, _ in models]
    for model, size in models:
        model.eval()
        dtype = next((p.dtype for p in model.parameters()), torch.float32)
        x = torch.randn(batch_size, *size, generator=noise).to(device, dtype)
        within = precision if dtype == torch.float32 else "fp32"  # no autocast
        calls.append(inference(model, x[:1].clone(), within, compile, wait=True))
        calls.append(inference(model, x, within, compile))
    try:
        seconds = seconds_in_turns(calls, rounds=rounds, device=device)
    finally:
        for (model, _), was_training in zip(models, were_training, strict=True):
            model.train(was_training)
    return [
        Throughput(
            Timing.of(1000 * s for s in one), Timing.of(batch_size / s for s in many), batch_size
        )
        for one, many in zip(seconds[::2], seconds[1::2], strict=True)
    ]


def check_machine(
    precision: str, compile: str, switches: Sequence[str] = ("auto", "on", "off")
) -> None:
    """``UsageError`` for a precision or a switch that there is not."""
    for name, value, choices in (
        ("precision", precision, ("auto", *PRECISIONS)),
        ("compile", compile, switches),
    ):
        if value not in choices:
            raise unknown(name, value, choices)


def set_threads(count: int) -> None:
    """Compute with ``count`` threads; ``UsageError`` for so many that none would start."""
    import torch

    if count > MAX_THREADS:
        raise UsageError(f"threads must be at most {MAX_THREADS:,}, got {count}")
    torch.set_num_threads(count)


def at_least_one(text: str) -> int:
    """The value of an option that counts something."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"wanted a whole number of at least 1, got {text!r}")
    return int(text)


def _parser() -> Parser:
    parser = Parser(
        "bench",
        description="Latency (one picture) and throughput (a batch) of models' inference on this "
        "machine, several models in turns.",
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="a model, such as cct_6_3x1")
    parser.add_argument("--img-size", type=pixels, metavar="SIZE", help="default: the name's")
    parser.add_argument("--num-classes", type=int, metavar="N", help="default: the name's, or 10")
    parser.add_argument("--in-chans", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument(
        "--batch-size", type=at_least_one, default=32, metavar="N", help="default: 32"
    )
    parser.add_argument(
        "--threads", type=at_least_one, metavar="N", help="CPU threads (default: torch's)"
    )
    parser.add_argument("--device", metavar="NAME", default="auto", help="auto, cpu, cuda, ...")
    parser.add_argument(
        "--precision", metavar="NAME", default="auto", help="auto, fp32, bf16, fp16 (auto)"
    )
    parser.add_argument(
        "--compile",
        nargs="?",
        const="on",
        default="auto",
        metavar="WHEN",
        help="torch.compile, on or off (default: auto, which is off, as in evaluate and predict)",
    )
    parser.add_argument(
        "--rounds", type=at_least_one, default=10, metavar="N", help="turns (default: 10)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Print the models' latency and throughput, what computed them, and how often."""
    args = _parser().parse_args(argv)
    from .models.names import config_of

    configs = [
        config_of(
            name, num_classes=args.num_classes, img_size=args.img_size, in_chans=args.in_chans
        )
        for name in args.names
    ]

    from .models.zoo import model_of
    from .train.choices import choose_compile
    from .train.machine import choose_precision, hardware, pick_device, versions

    check_machine(args.precision, args.compile)
    if args.threads:
        set_threads(args.threads)
    device = pick_device(args.device)
    precision, _ = choose_precision(args.precision, device)
    compile, note = choose_compile(args.compile, device, steps=0)
    if note:
        raise UsageError(note)
    models: list[Sized] = [
        (model_of(config).to(device), (config.in_chans, *config.height_width)) for config in configs
    ]
    figures = measure_in_turns(models, args.batch_size, precision, compile, args.rounds)
    setting = {"precision": precision, "compile": compile}
    head = {"hardware": hardware(device), "versions": versions(), **setting}
    entries = [
        {"model": name, "config": asdict(config), **asdict(figure)}
        for name, config, figure in zip(args.names, configs, figures, strict=True)
    ]
    print(json.dumps({**head, "models": entries}, indent=2) if args.json else _told(head, entries))
    return 0


def _told(head: dict[str, Any], entries: Sequence[dict[str, Any]]) -> str:
    width = max(len("model"), *(len(entry["model"]) for entry in entries))
    batch, n = entries[0]["batch_size"], entries[0]["latency_ms"]["n"]
    how = "compiled" if head["compile"] else "eager"
    spread = f"{'median':>10}{'min':>10}{'max':>10}"
    lines = [
        head["hardware"],
        ", ".join(f"{name} {version}" for name, version in head["versions"].items()),
        f"inference, {head['precision']}, {how}; n = {n} turns of at least {TURN} s",
        "",
        f"{'':<{width}}{'ms, one picture':>30}{f'pictures/s, batch {batch}':>32}",
        f"{'model':<{width}}{spread}  {spread}",
    ]
    for entry in entries:
        late, fast = entry["latency_ms"], entry["pictures_per_second"]
        figures = "".join(f"{late[key]:>10,.2f}" for key in ("median", "low", "high"))
        figures += "  " + "".join(f"{fast[key]:>10,.0f}" for key in ("median", "low", "high"))
        lines.append(f"{entry['model']:<{width}}{figures}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
