"""Whether a model is what arithmetic says, seen on the model itself, built without data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..models.compact import CompactTransformer
from ..models.config import ModelConfig


class _NothingDrawn(TorchFunctionMode):
    """Leaves normal draws out: there is no data to draw, and torch would load its compiler."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return args[0] if func is Tensor.normal_ else func(*args, **(kwargs or {}))


def check(config: ModelConfig, parameters: int, tokens: int) -> None:
    """Build the model of ``config`` on the meta device and count its parameters and tokens."""
    with _NothingDrawn(), torch.device("meta"):
        model = CompactTransformer(config)
    rows, columns = model.tokenizer.grid_size(*config.height_width)
    assert sum(p.numel() for p in model.parameters()) == parameters, config
    assert model.num_prefix_tokens + rows * columns == tokens, config
