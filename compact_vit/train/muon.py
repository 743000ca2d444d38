"""timm's Muon where bf16 is only emulated: the same steps, orthogonalised in float32.

timm computes the Newton-Schulz iteration in bf16 everywhere. A processor without it takes 16 to 40
times as long over that as in float32 (benchmarks/LOG.md), which is nearer to the exact answer too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch


@cache
def float32_muon() -> type[Any]:
    """Muon (Jordan 2024; timm's) whose matrices are made orthogonal in float32."""
    from timm.optim import Muon, muon

    class Float32Muon(Muon):
        def step(self, closure: Callable[[], float] | None = None) -> float | None:
            theirs = muon.zeropower_via_newtonschulz
            muon.zeropower_via_newtonschulz = partial(theirs, dtype=torch.float32)
            try:
                return super().step(closure)
            finally:
                muon.zeropower_via_newtonschulz = theirs

    return Float32Muon
