"""What does a step of each optimiser take, apart from the forward and the backward pass?

Gradients are normal noise. The first row is AdamW; "muon in bf16" is timm's own, which a processor
without bf16 only emulates.

    python benchmarks/bench_optimizer.py --threads 1 --models cct2_2_3x2 cct2_6_3x1
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from _common import machine_parser, print_head, print_table, start

from compact_vit.cli import program
from compact_vit.timing import seconds_in_turns

if TYPE_CHECKING:
    import torch
    from torch.optim import Optimizer

MODELS = ("cct2_2_3x2", "cct2_6_3x1")


@program
def main(argv: Sequence[str] | None = None) -> int:
    parser = machine_parser("bench-optimizer", __doc__.split("\n\n")[0], rounds=5)
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="NAME", help="whose weights")
    args = parser.parse_args(argv)
    device = start(args)
    print_head(device)
    for name in args.models:
        optimizers = build_all(name, device)
        calls = [optimizer.step for optimizer in optimizers.values()]
        seconds = seconds_in_turns(calls, rounds=args.rounds, device=device)
        rows = {
            which: [1000 * value for value in taken]
            for which, taken in zip(optimizers, seconds, strict=True)
        }
        print_table(f"{name}, ms a step", rows)
    return 0


def build_all(name: str, device: torch.device) -> dict[str, Optimizer]:
    """Every optimiser over weights of its own, with their gradients; AdamW first."""
    import torch
    from timm.optim import create_optimizer_v2

    from compact_vit import create_model
    from compact_vit.train.config import TrainConfig
    from compact_vit.train.optim import build_optimizer, parameter_groups
    from compact_vit.train.rules import OPTIMIZERS

    built = {}
    for which in ("adamw", *(other for other in OPTIMIZERS if other != "adamw"), "muon in bf16"):
        model = create_model(name).to(device)
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        if which in OPTIMIZERS:
            built[which] = build_optimizer(model, TrainConfig(dataset="cifar10", optimizer=which))
        else:
            built[which] = create_optimizer_v2(parameter_groups(model, 0.03), opt="muon", lr=1e-3)
    return built


if __name__ == "__main__":
    sys.exit(main())
