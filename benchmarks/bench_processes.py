"""What does a step cost on more processes, here and, by estimate, on more machines?

Measured: the step of one process on its share of the batch, the average of its gradients over two
processes of this machine (gloo), and the whole step of two. Estimated from these for R processes, a
ring that averages ``bytes`` at a rate and with a latency a hop:

    step(R) = compute(batch / R) + 2 (R-1)/R bytes / rate + 2 (R-1) latency

    python benchmarks/bench_processes.py --model cct_6_3x1 --batch-size 128
    python benchmarks/bench_processes.py --rate 0.117  # a network of 1 Gbit/s, GB/s
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from _common import above_zero, print_head, print_table, train_step

from compact_vit.bench import at_least_one
from compact_vit.cli import Parser, program
from compact_vit.errors import UsageError
from compact_vit.timing import TURN, Timing, seconds_in_turns

if TYPE_CHECKING:
    from compact_vit.train.distributed import Processes

#: Elements of an average so short that only its latency counts.
SHORT = 8


def _parser() -> Parser:
    parser = Parser("bench-processes", description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--model", default="cct_6_3x1", metavar="NAME", help="of this library (cct_6_3x1)")
    add("--batch-size", type=at_least_one, default=128, metavar="N", help="over all (128)")
    add("--rounds", type=at_least_one, default=5, metavar="N", help="turns (5)")
    add("--threads", type=at_least_one, default=1, metavar="N", help="of each process (1)")
    add("--most", type=at_least_one, default=64, metavar="R", help="largest estimate (64)")
    add("--rate", type=above_zero, metavar="GB/S", help="of the network (as measured here)")
    add("--latency", type=above_zero, metavar="MS", help="of a hop (as measured here)")
    return parser


def measure(rank: int, count: int, port: int, words: dict[str, Any], answers: Any) -> None:
    """One of ``count`` processes; the first of them answers with what ``_measured`` gives."""
    import torch

    from compact_vit.train.distributed import processes

    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    values = (rank, rank, count, "127.0.0.1", port)
    os.environ |= {name: str(value) for name, value in zip(names, values, strict=True)}
    torch.set_num_threads(words["threads"])
    torch.manual_seed(0)
    with processes() as together:
        answer = _measured(together, words)
    if rank == 0:
        answers.put(answer)


def _measured(together: Processes, words: dict[str, Any]) -> tuple[list[list[float]], int]:
    """Seconds of steps on shares, of a short and of a whole average; the parameters."""
    import torch
    import torch.distributed as dist

    from compact_vit.models.zoo import create_model

    model = create_model(words["model"], attention_dropout=0.0)
    parameters = sum(p.numel() for p in model.parameters())
    alone = together.count == 1
    shares = words["shares"] if alone else [words["shares"][0] // together.count]
    calls = []
    for share in shares:
        step = train_step(
            together.wrap(model),
            torch.optim.AdamW(model.parameters(), fused=True),
            "fp32",
            "off",
        )
        x = torch.randn(share, model.in_chans, *model.config.height_width)
        calls.append(lambda step=step, x=x: step(x, torch.zeros(len(x), dtype=torch.int64)))
    if not alone:
        for size in (SHORT, parameters):
            values = torch.zeros(size)
            calls.append(lambda values=values: dist.all_reduce(values))
    device = torch.device("cpu")
    turn = TURN if alone else 0.0  # several must call equally often: once a turn
    rounds = words["rounds"]
    seconds = [seconds_in_turns([c], rounds=rounds, device=device, turn=turn)[0] for c in calls]
    return seconds, parameters


def run(count: int, words: dict[str, Any]) -> tuple[list[list[float]], int]:
    """``measure`` in ``count`` processes: what the first of them says."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    children = [
        context.Process(target=measure, args=(rank, count, port, words, answers), daemon=True)
        for rank in range(count)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    if any(child.exitcode for child in children):
        raise UsageError(f"{count} processes must all come to their end, and one failed: see above")
    return answers.get(timeout=60)


def estimate(
    compute: dict[int, float], size: int, rate: float, latency: float
) -> list[tuple[int, float, float]]:
    """Processes, seconds of computing and seconds of averaging ``size`` bytes, for each share.

    ``compute`` has the seconds of a step for R processes, ``rate`` is in bytes a second.
    """
    return [
        (r, seconds, 2 * (r - 1) / r * size / rate + 2 * (r - 1) * latency)
        for r, seconds in compute.items()
    ]


@program
def main(argv: Sequence[str] | None = None) -> int:
    args: argparse.Namespace = _parser().parse_args(argv)
    counts = [1]
    while 2 * counts[-1] <= min(args.most, args.batch_size):
        counts.append(2 * counts[-1])
    if args.batch_size % counts[-1]:
        raise UsageError(
            f"--batch-size must be a multiple of {counts[-1]}, got {args.batch_size}: "
            "or ask for a smaller --most"
        )
    words = {
        "model": args.model,
        "threads": args.threads,
        "rounds": args.rounds,
        "shares": [args.batch_size // count for count in counts],
    }
    import torch

    print_head(torch.device("cpu"))
    print(f"{args.model}, batch {args.batch_size}, {args.threads} threads a process")
    alone, parameters = run(1, words)
    (two, short, whole), _ = run(2, words)
    size = 4 * parameters
    latency = args.latency / 1000 if args.latency is not None else Timing.of(short).median / 2
    taken = max(Timing.of(whole).median - Timing.of(short).median, 1e-9)
    rate = args.rate * 1e9 if args.rate is not None else size / taken
    print_table(
        "ms",
        {
            "step of one process": [1000 * s for s in alone[0]],
            "step of two": [1000 * s for s in two],
            f"average of {size / 1e6:,.1f} MB": [1000 * s for s in whole],
            "average of nothing": [1000 * s for s in short],
        },
    )
    print(f"\nestimate at {rate / 1e9:.2f} GB/s and {1000 * latency:.2f} ms a hop")
    print(
        f"{'processes':>9}{'share':>7}{'compute ms':>12}{'average ms':>12}{'speed':>8}{'of R':>7}"
    )
    medians = [Timing.of(seconds).median for seconds in alone]
    for r, compute, averaging in estimate(
        dict(zip(counts, medians, strict=True)), size, rate, latency
    ):
        speed = medians[0] / (compute + averaging)
        print(
            f"{r:>9}{args.batch_size // r:>7}{1000 * compute:>12,.1f}{1000 * averaging:>12,.1f}"
            f"{speed:>7.2f}x{100 * speed / r:>6.0f}%"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
