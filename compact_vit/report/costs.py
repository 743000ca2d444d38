"""Sizes and costs of compact transformers by formula, whole and in parts. Imports no torch.

The conventions are those of ``measure``, which counts the same on a built model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..models.arithmetic import KINDS, Part, activations, macs, parameters, parts
from ..models.config import ModelConfig

if TYPE_CHECKING:
    from .measure import ModuleCost


@dataclass(frozen=True)
class Cost:
    """What one part of a model holds and costs."""

    parameters: int
    macs: int
    activation_megabytes: float


@dataclass(frozen=True)
class ModelSummary:
    """What a model holds and costs; ``compact_vit.report.measure`` says how each is counted."""

    parameters: int
    trainable_parameters: int
    parameters_without_positions: int
    macs: int
    macs_without_attention: int
    activation_megabytes: float
    weight_megabytes: float


def summary_of(config: ModelConfig) -> ModelSummary:
    """What ``summarize`` counts on the model that ``config`` describes, without building it."""
    total, without = parameters(config), parameters(config, positions=False)
    return ModelSummary(
        parameters=total,
        trainable_parameters=without if config.positional_embedding == "sine" else total,
        parameters_without_positions=without,
        macs=macs(config),
        macs_without_attention=macs(config, products=False),
        activation_megabytes=activations(config) / 1e6,
        weight_megabytes=4 * total / 1e6,
    )


def costs_by_kind(config: ModelConfig) -> dict[str, Cost]:
    """Every one of ``KINDS`` and what the parts of that kind cost; the sums are the whole."""
    found = parts(config)
    return {kind: cost_of(part for part in found if part.kind == kind) for kind in KINDS}


def costs_by_module(config: ModelConfig) -> dict[str, Cost]:
    """The model's modules in the order of the forward pass, each encoder layer as one.

    Their names are those in the built model: ``tokenizer``, ``blocks.0``, ``head``, ...
    """
    groups: dict[str, list[Part]] = {}
    for part in parts(config):
        words = part.module.split(".")
        groups.setdefault(".".join(words[:2]), []).append(part)
    return {module: cost_of(members) for module, members in groups.items()}


def cost_of(members: Iterable[Part | ModuleCost]) -> Cost:
    """What parts, or modules by themselves, cost together."""
    found = list(members)
    return Cost(
        parameters=sum(part.parameters for part in found),
        macs=sum(part.macs for part in found),
        activation_megabytes=sum(part.activation_bytes for part in found) / 1e6,
    )
