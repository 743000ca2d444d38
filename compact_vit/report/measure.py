"""What any ``nn.Module`` holds and costs, counted on a copy without data.

Conventions, the same everywhere: MB is 10^6 bytes, a multiply-accumulate (MAC) is one product and
one sum, costs are those of one picture in float32.

- Parameters are counted once, tied or not; "without positions" leaves the position table out, as
  published counts of compact transformers do.
- MACs are of one forward pass in evaluation, from ``torch.utils.flop_counter``: convolutions,
  linear maps and products of activations. "Without attention" leaves out the last: queries by
  keys, weights by values, tokens by pooling weights. Some published figures do.
- Activations are the bytes that autograd keeps of one picture from a forward pass in training
  until its backward pass, all parameters being trained: each storage once, parameters not.
  Attention is taken to be written out, N x N weights and all, as it runs where no fused kernel
  does (on CPUs with attention dropout, or in bf16); a fused kernel keeps little of it. Stochastic
  depth is taken to drop nothing.
- Weights are all parameters in float32.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker

from ..errors import UsageError
from .copies import on_a_copy
from .costs import ModelSummary

#: A parameter is a position table if a part of its dotted name is one of these.
POSITION_NAMES = (
    "positions",
    "pos_embed",
    "pos_embedding",
    "positional_embedding",
    "position_embeddings",
)

#: Products of two activations; a linear map of tokens is ``mm`` or ``addmm``.
_PRODUCTS = (torch.ops.aten.bmm, torch.ops.aten.baddbmm)

#: Where torch's quantised modules are from.
_QUANTISED = re.compile(r"torch\.ao\.nn\.(.+\.)?quantized\.")


@dataclass(frozen=True)
class _Costs:
    """What each module costs by itself, without the modules inside it; "" is the whole model."""

    macs: Counter[str]
    products: int
    """Those of all ``macs`` that are products of activations."""
    kept: Counter[str]
    """Bytes kept for the backward pass."""


def summarize(model: nn.Module, input_size: tuple[int, int, int]) -> ModelSummary:
    """Parameters, MACs and memory of ``model`` for one picture of ``input_size``, (C, H, W).

    The model is left as it is; a copy is measured, on the meta device where the model allows it,
    so it takes neither the model's time nor its memory. Raises ``UsageError`` for a picture that
    the model does not take, and for a quantised, traced or scripted model.
    """
    costs = _measure(model, input_size)
    parameters = dict(model.named_parameters())
    total = sum(p.numel() for p in parameters.values())
    positions = sum(p.numel() for name, p in parameters.items() if _is_position(name))
    return ModelSummary(
        parameters=total,
        trainable_parameters=sum(p.numel() for p in parameters.values() if p.requires_grad),
        parameters_without_positions=total - positions,
        macs=costs.macs.total(),
        macs_without_attention=costs.macs.total() - costs.products,
        activation_megabytes=costs.kept.total() / 1e6,
        weight_megabytes=4 * total / 1e6,
    )


class ModuleCost(NamedTuple):
    """What a module holds and costs by itself, without the modules inside it."""

    parameters: int
    macs: int
    activation_bytes: int


def costs_of(model: nn.Module, input_size: tuple[int, int, int]) -> dict[str, ModuleCost]:
    """Every module of any model by its name, in its order; "" is the whole, without its parts."""
    costs = _measure(model, input_size)
    own = {name: module.parameters(recurse=False) for name, module in model.named_modules()}
    return {
        name: ModuleCost(sum(p.numel() for p in of), costs.macs[name], costs.kept[name])
        for name, of in own.items()
    }


def _measure(model: nn.Module, input_size: tuple[int, int, int]) -> _Costs:
    if isinstance(model, torch.jit.ScriptModule):
        raise UsageError("TorchScript's operations cannot be counted: give the model it is made of")
    if any(_QUANTISED.match(type(module).__module__) for module in model.modules()):
        raise UsageError(  # what torch.ao packs is no parameter, and no operation that is counted
            "a quantised model's parameters cannot be counted: save its state_dict, and have its "
            "bytes counted by compact-vit score --accuracy PERCENT --effective FILE"
        )

    def costs(copied: nn.Module, pictures: Tensor) -> _Costs:
        macs, products = _operations(copied.eval(), pictures[:1])
        return _Costs(macs, products, _kept(copied.train(), pictures))

    return on_a_copy(model, input_size, costs)


def _operations(model: nn.Module, picture: Tensor) -> tuple[Counter[str], int]:
    """MACs of one picture ``[1, C, H, W]`` by module, and how many are products of activations."""
    # the plain kernel, because fused ones do not say what of them is a product
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(picture)
    counts = counter.get_flop_counts()
    everything = counts.pop("Global", {})
    products = sum(everything.get(operation, 0) for operation in _PRODUCTS)
    # the counter puts the model's class before each name
    inside = {name.partition(".")[2]: sum(flops.values()) for name, flops in counts.items()}
    macs = Counter({"": sum(everything.values()) // 2})
    for name in sorted(filter(None, inside)):
        parent = name.rpartition(".")[0]
        while parent not in macs:
            parent = parent.rpartition(".")[0]
        macs[name] = inside[name] // 2
        macs[parent] -= macs[name]
    return macs, products // 2


def _kept(model: nn.Module, pictures: Tensor) -> Counter[str]:
    """Bytes that autograd keeps a picture, by the module that first keeps them."""
    tracker = ModuleTracker()
    seen = {_storage(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    kept: Counter[str] = Counter()

    def keep(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in seen:
            seen[_storage(tensor)] = tensor  # held, or another tensor might take its place
            innermost = max(tracker.parents, key=lambda name: name.count("."))
            kept[innermost.partition(".")[2]] += tensor.untyped_storage().nbytes()
        return tensor

    hooks = saved_tensors_hooks(keep, lambda tensor: tensor)
    with sdpa_kernel(SDPBackend.MATH), tracker, hooks:
        model(pictures)
    return Counter({name: size // len(pictures) for name, size in kept.items()})


def _storage(tensor: Tensor) -> int:
    """Which memory a tensor is a view of; addresses do not tell on the meta device."""
    return tensor.untyped_storage()._cdata


def _is_position(name: str) -> bool:
    return any(part in POSITION_NAMES for part in name.split("."))
