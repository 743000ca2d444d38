"""Does a run of thousands of epochs take more and more: memory, open files, threads, seconds?

The smallest run there is, a step an epoch, watched as its log grows.

    python benchmarks/long_run.py --epochs 2000 --threads 1

Exits with 1 if memory grew by more than 10 kB an epoch after the first tenth, which is several
times what the history of an epoch takes, or if files were left open.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _tiny import draw_pictures, words_of

from compact_vit.bench import at_least_one
from compact_vit.cli import Parser, program
from compact_vit.errors import UsageError

SIDE = 8
#: Bytes that an epoch may add: its row in memory, and what fragments.
GROWTH = 10_000


@dataclass(frozen=True)
class Sample:
    """What a run takes after an epoch."""

    epoch: int
    seconds: float
    """Since the last sample, an epoch."""
    memory: int
    """Resident bytes."""
    files: int
    threads: int


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm", encoding="utf-8") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def watched(output: Path, pictures: Path, epochs: int, every: int) -> list[Sample]:
    """Train for so many ``epochs``, and look at the process ``every`` so many."""
    from compact_vit.train import loop, train
    from compact_vit.train.cli import build_parser
    from compact_vit.train.config import TrainConfig
    from compact_vit.train.run import RunFolder

    samples: list[Sample] = []
    since = [time.perf_counter()]
    append, draw, tell = RunFolder.append_metrics, loop.write_curves, loop.write_page

    def looked(folder: RunFolder, row: dict[str, Any]) -> None:
        append(folder, row)
        if row["epoch"] % every == 0:
            now = time.perf_counter()
            files = len(os.listdir("/proc/self/fd"))
            seconds = (now - since[0]) / every
            samples.append(
                Sample(row["epoch"], seconds, resident(), files, threading.active_count())
            )
            since[0] = now

    given = vars(build_parser().parse_args(words_of(pictures, SIDE, epochs, 12)))
    fields = TrainConfig.__dataclass_fields__
    known = {name: value for name, value in given.items() if name in fields}
    # where a processor has bf16, its kernels take 4 MB more every few hundred epochs
    config = TrainConfig(**known | {"precision": "fp32"})
    RunFolder.append_metrics = looked  # type: ignore[method-assign]
    loop.write_curves = lambda path, history, config: path.touch()
    loop.write_page = lambda *args: None
    try:
        train(config, output=output, quiet=True)
    finally:
        RunFolder.append_metrics = append  # type: ignore[method-assign]
        loop.write_curves, loop.write_page = draw, tell
    return samples


def grown(samples: Sequence[Sample]) -> tuple[float, int]:
    """Bytes an epoch, and files, from the first sample to the last."""
    first, last = samples[0], samples[-1]
    epochs = last.epoch - first.epoch
    return (last.memory - first.memory) / epochs, last.files - first.files


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Train, and say at every tenth of the epochs what it takes."""
    parser = Parser("long-run", description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--epochs", type=at_least_one, default=2000, metavar="N", help="default: 2000")
    add("--threads", type=at_least_one, default=1, metavar="N", help="default: 1")
    args = parser.parse_args(argv)
    if args.epochs < 20:
        raise UsageError(f"epochs must be at least 20 to show anything, got {args.epochs}")
    if not Path("/proc/self/statm").exists():
        raise UsageError("this needs /proc, where Linux says what a process takes")
    import torch

    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory(prefix="compact-vit-long-run-") as folder:
        os.environ["COMPACT_VIT_CACHE"] = f"{folder}/cache"
        pictures = draw_pictures(Path(folder, "pictures"), SIDE, 4, 2)
        samples = watched(Path(folder, "run"), pictures, args.epochs, args.epochs // 10)
    print(f"{'epoch':>8}{'ms an epoch':>14}{'resident MB':>14}{'open files':>12}{'threads':>9}")
    for sample in samples:
        print(
            f"{sample.epoch:>8,}{1000 * sample.seconds:>14.1f}{sample.memory / 1e6:>14.1f}"
            f"{sample.files:>12}{sample.threads:>9}"
        )
    memory, files = grown(samples)
    print(f"from epoch {samples[0].epoch:,} on: {memory:,.0f} bytes an epoch, {files} files more")
    return 1 if memory > GROWTH or files > 0 else 0


if __name__ == "__main__":
    sys.exit(main())
