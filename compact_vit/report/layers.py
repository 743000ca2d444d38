"""torchinfo's table of a model's layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..models.arithmetic import macs, parameters
from ..models.config import ModelConfig
from ..models.zoo import model_of
from .copies import on_a_copy

if TYPE_CHECKING:
    from ..models.names import AnyConfig

#: The largest models that are run for their table rather than traced.
_MACS, _PARAMETERS = 10**10, 5 * 10**7


def layer_table(model: nn.Module, input_size: tuple[int, int, int]) -> str:
    """Each layer, its output for one picture of ``input_size`` (C, H, W), its parameters.

    torchinfo's totals and its MACs are left out: it multiplies a linear map by no tokens and sees
    no attention, which is far too little for a transformer.
    """
    return on_a_copy(model, input_size, lambda copied, pictures: _table(copied, pictures[:1]))


def layers_of(config: AnyConfig) -> str:
    """The ``layer_table`` of the model that ``config`` describes."""
    # a small model runs in less time than torch takes to load what its meta device needs
    small = (
        isinstance(config, ModelConfig)
        and macs(config) < _MACS
        and parameters(config) < _PARAMETERS
    )
    with torch.random.fork_rng(devices=[]), torch.device("cpu" if small else "meta"):
        picture = torch.zeros(1, config.in_chans, *config.height_width)
        return _table(model_of(config), picture)


def _table(model: nn.Module, picture: Tensor) -> str:
    import torchinfo

    statistics = torchinfo.summary(
        model,
        input_data=picture,
        device=picture.device,
        col_names=("output_size", "num_params"),
        row_settings=("var_names",),
        depth=99,
        verbose=0,
    )
    return str(statistics).split("\nTotal params")[0]
