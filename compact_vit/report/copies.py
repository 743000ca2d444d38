"""Copies of a model to count on, so that the model itself stays as it is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..layers import DropPath

T = TypeVar("T")

#: What a model raises at a picture it does not take.
_REFUSALS = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)


def on_a_copy(
    model: nn.Module, input_size: tuple[int, int, int], use: Callable[[nn.Module, Tensor], T]
) -> T:
    """``use(copy of the model, two pictures)``: without data, or with where that does not run.

    Two, because batch normalisation cannot train on one. The model, its device and the state of
    the random generators stay as they are.
    """
    if len(input_size) != 3 or not all(isinstance(n, int) and n > 0 for n in input_size):
        raise UsageError(
            f"input_size must be (channels, height, width), all positive, got {input_size!r}"
        )
    model = getattr(model, "_orig_mod", model)  # compiled: what was compiled
    own = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    devices = [own] if own.type == "cuda" else []
    # the caller may be in no_grad or inference_mode, but activations are what autograd keeps
    with torch.random.fork_rng(devices), torch.inference_mode(False):
        try:
            return use(_without_data(model), torch.zeros(2, *input_size, device="meta"))
        except _REFUSALS:
            pass  # it looks at values, say, or calls a kernel unknown to the meta device
        try:
            copied = copy.deepcopy(model).float().requires_grad_()
            _keep_every_branch(copied)
            return use(copied, torch.zeros(2, *input_size, device=own))
        except _REFUSALS as error:
            reason = (str(error) or type(error).__name__).strip().split("\n")[0]
            channels, height, width = input_size
            raise UsageError(
                f"{type(model).__name__} does not take pictures of {height}x{width} pixels and "
                f"{channels} channels: {reason}"
            ) from error


def _without_data(model: nn.Module) -> nn.Module:
    """A copy on the meta device in float32, every parameter trained, that costs no memory."""
    twins: dict[int, Any] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
        twin = torch.empty_like(tensor, dtype=dtype, device="meta")
        if isinstance(tensor, nn.Parameter):
            twin = nn.Parameter(twin, requires_grad=twin.is_floating_point())
        twins[id(tensor)] = twin
    return copy.deepcopy(model, twins)


def _keep_every_branch(model: nn.Module) -> None:
    """Have stochastic depth compute all branches, so that no draw decides what is counted."""
    for module in model.modules():
        if isinstance(module, DropPath):
            module.__dict__["kept"] = lambda x: None
