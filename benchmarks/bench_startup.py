"""What importing costs: a builder against torch alone, and every ``--help``; whole processes.

python benchmarks/bench_startup.py --rounds 5
"""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata

from compact_vit.bench import at_least_one
from compact_vit.cli import COMMANDS, Parser, program

CODES = {
    "import torch": "import torch",
    "from compact_vit import cct_6_3x1": "from compact_vit import cct_6_3x1",
    **{
        f"compact-vit {name} --help": f"import compact_vit.cli as c; c.main([{name!r}, '--help'])"
        for name in COMMANDS
    },
}


def seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


@program
def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser("bench-startup", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=at_least_one, default=5, help="timed rounds (default: 5)")
    rounds = parser.parse_args(argv).rounds
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, "
          f"torch {metadata.version('torch')}, n = {rounds}, in turns")  # fmt: skip
    times: dict[str, list[float]] = {name: [] for name in CODES}
    for turn in range(rounds + 1):  # the first turn warms the file cache
        for name, code in CODES.items():
            taken = seconds(code)
            if turn:
                times[name].append(taken)
    base = statistics.median(times["import torch"])
    for name, taken in times.items():
        middle = statistics.median(taken)
        print(f"{name:<36} {middle:6.2f} s  ({min(taken):.2f} to {max(taken):.2f})  "
              f"{middle / base:5.2f} x torch")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
