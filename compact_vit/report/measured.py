"""Sizes and costs of a baseline by layer, counted on the built model; there are no formulas."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import nn

from ..baselines.config import BaselineConfig
from ..models.zoo import model_of
from .costs import Cost, ModelSummary, cost_of
from .measure import ModuleCost, costs_of, summarize

_KINDS: tuple[tuple[str, tuple[type[nn.Module], ...]], ...] = (
    ("convolutions", (nn.Conv2d,)),
    ("linear maps", (nn.Linear,)),
    ("norms", (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)),
)


class Measured:
    """The model that ``config`` describes, on the meta device, and what it holds and costs."""

    def __init__(self, config: BaselineConfig) -> None:
        with torch.device("meta"):
            self.model = model_of(config)
        self.input_size = (config.in_chans, *config.height_width)

    @cached_property
    def summary(self) -> ModelSummary:
        return summarize(self.model, self.input_size)

    def by_kind(self) -> dict[str, Cost]:
        """Its convolutions, its linear maps, its norms, the rest; the sums are the whole."""
        modules = dict(self.model.named_modules())

        def kind(name: str) -> str:
            fits = (kind for kind, types in _KINDS if isinstance(modules[name], types))
            return next(fits, "other layers")

        return self._grouped(kind)

    def by_module(self) -> dict[str, Cost]:
        """The layers of its body and its head, in the order of the forward pass."""
        return self._grouped(lambda name: ".".join(name.split(".")[:2]) or "(model)")

    def _grouped(self, group: Callable[[str], str]) -> dict[str, Cost]:
        groups: dict[str, list[ModuleCost]] = {}
        for name, cost in costs_of(self.model, self.input_size).items():
            groups.setdefault(group(name), []).append(cost)
        return {name: cost_of(members) for name, members in groups.items()}
