"""How long does a forward pass take, beside the same model, or one of its size, by others?

Inference on normal noise, without autograd; the peers take turns within one run, as their users
get them:

    python benchmarks/bench_forward.py --threads 2 --reference PATH
    python benchmarks/bench_forward.py --threads 2 --reference PATH --precision bf16 --compile
    python benchmarks/bench_forward.py --threads 2 --reference PATH --all
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from _common import infer
from _peers import compare, peers_parser

from compact_vit.cli import program


@program
def main(argv: Sequence[str] | None = None) -> int:
    args = peers_parser("bench-forward", __doc__.split("\n\n")[0]).parse_args(argv)
    compare(args, "inference", infer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
