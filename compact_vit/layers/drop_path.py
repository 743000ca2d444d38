"""Stochastic depth: residual branches dropped at random (Huang et al. 2016, arXiv 1603.09382)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor


class DropPath(nn.Module):
    """Zero each sample's branch with probability ``rate`` in training, and scale the rest.

    Shapes: ``[B, ...] -> [B, ...]``. The survivors are divided by ``1 - rate``, so the expected
    value is the input's, in half precision to its rounding; in evaluation the input is returned as
    it is.

    ``kept`` and ``add`` are the same in two steps, for a branch to be computed for the survivors
    alone: ``x = drop.add(x, branch(take(x, kept)), kept)`` with ``kept = drop.kept(x)``.
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"drop path rate must be in [0, 1), got {rate}")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if self.rate == 0.0 or not self.training:
            return x
        return x * self._scales(x)

    def _scales(self, x: Tensor) -> Tensor:
        """What each sample's branch is multiplied by, as precise as ``x``: ``[B, 1, ...]``."""
        shape = [x.shape[0]] + [1] * (x.dim() - 1)
        # of x, not of torch.empty, so that torch.func.vmap may draw for each of its samples
        keep = x.new_empty(shape).bernoulli_(1.0 - self.rate)
        return keep / (1.0 - self.rate)

    def kept(self, x: Tensor) -> Tensor | None:
        """Draw which samples of ``x [B, ...]`` survive: their indices ``[B']``; None for all.

        It is also None where ``add`` drops by a mask: on an accelerator, whose host would wait to
        hear how many survive, and in what is traced, scripted, compiled or transformed by
        ``torch.func``, where that is no number. ``torch.jit.trace``, which has plain tensors,
        records the indices.
        """
        if self.rate == 0.0 or not self.training:
            return None
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            masked = True
        else:
            # of most tracers the tensors are of a kind of their own
            traced = torch.compiler.is_compiling() or type(x) is not Tensor
            masked = traced or x.device.type != "cpu" or is_functorch_wrapped_tensor(x)
        if masked:
            return None
        drawn = torch.empty(x.shape[0], device=x.device).bernoulli_(1.0 - self.rate)
        return drawn.nonzero().squeeze(1)

    def add(self, x: Tensor, branch: Tensor, kept: Tensor | None) -> Tensor:
        """``x [B, ...]`` plus the scaled branch ``[B', ...]`` of the samples ``kept``."""
        if kept is None:
            if self.rate == 0.0 or not self.training:
                return x + branch
            # scales as exact as x: of the branch's own, half precision makes 1.109 of 1 / 0.9
            return x + branch * self._scales(x)
        return x.index_add(0, kept, branch.to(x.dtype), alpha=1.0 / (1.0 - self.rate))

    def extra_repr(self) -> str:
        return f"rate={self.rate:.4g}"


def take(x: Tensor, kept: Tensor | None) -> Tensor:
    """The samples ``kept`` of ``x [B, ...]``: ``[B', ...]``; all for None."""
    return x if kept is None else x.index_select(0, kept)
