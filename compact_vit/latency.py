"""How long one picture takes models on this machine."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .models.names import AnyConfig

ROUNDS = 5


def latencies_ms(configs: Sequence[AnyConfig], rounds: int = ROUNDS) -> list[float]:
    """Median milliseconds from one picture to its logits, of each model, by turns in float32.

    The models are untrained and on this machine's accelerator if it has one, as
    ``compact_vit.bench`` measures them with ``--precision fp32``.
    """
    import torch

    from .bench import inference
    from .models.zoo import model_of
    from .timing import seconds_in_turns
    from .train.machine import pick_device

    device = pick_device("auto")
    noise = torch.Generator().manual_seed(0)
    calls = []
    for config in configs:
        model = model_of(config).to(device).eval()
        picture = torch.randn(1, config.in_chans, *config.height_width, generator=noise)
        calls.append(inference(model, picture.to(device), "fp32", False, wait=True))
    seconds = seconds_in_turns(calls, rounds=rounds, device=device)
    return [1000 * statistics.median(taken) for taken in seconds]


def this_machine() -> str:
    """What ``latencies_ms`` measures on, in a line."""
    from .train.machine import hardware, pick_device

    return hardware(pick_device("auto"))
