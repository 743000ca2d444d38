"""Whether a run's numbers stay finite."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import UsageError


class Health:
    """Counts the steps left out because a loss or a gradient was not finite, on the device.

    ``check`` asks for the counts, which makes the host wait for an accelerator: it does so once in
    ``EVERY`` steps. After ``LIMIT`` such steps in a row the run cannot be helped: ``UsageError``.
    """

    EVERY = 10
    LIMIT = 20

    def __init__(self, device: torch.device) -> None:
        #: steps left out, how many of them at the end in a row, all steps, the last norm
        self.figures = torch.zeros(4, dtype=torch.float32, device=device)
        self.steps = 0

    def watch(self, broken: Tensor, norm: Tensor) -> None:
        """Count a step: whether it was left out, and its gradient's norm."""
        skipped = broken.float()
        self.figures[0] += skipped
        self.figures[1] = (self.figures[1] + 1) * skipped
        self.figures[2] += 1
        self.figures[3] = norm
        self.steps += 1

    @property
    def skipped(self) -> int:
        """Steps left out so far."""
        return int(self.figures[0])

    def check(self, lr: float, epoch: int, batch: int) -> None:
        """``UsageError`` with what was last seen, if too many steps in a row were left out."""
        if self.steps % self.EVERY:
            return
        _, in_a_row, steps, norm = self.figures.tolist()
        if in_a_row >= self.LIMIT:
            raise UsageError(
                f"the loss or its gradient was not finite in {in_a_row:.0f} steps in a row, up to "
                f"step {steps:.0f} (epoch {epoch}, batch {batch}, learning rate {lr:.3g}, gradient "
                f"norm {norm:g}): train again with a smaller lr, clip_grad 1, or precision fp32"
            )

    def state_dict(self) -> dict[str, Any]:
        return {"figures": self.figures.cpu(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.figures.copy_(state["figures"])
        self.steps = int(state["steps"])
