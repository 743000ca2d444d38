"""The optimiser, over the parameters in the groups that decay and that do not."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer

from ..errors import UsageError
from .config import TrainConfig
from .machine import multiplies_bf16
from .muon import float32_muon

#: optimizer -> timm's name of it, whose own "sgd" is Nesterov's
_TIMM_NAMES = {"sgd": "momentum"}


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """The trainable parameters in two groups: with ``weight_decay``, and without.

    Without are those of fewer than two dimensions (norms, biases) and those that the model names
    in ``no_weight_decay()`` (positions, class token).
    """
    no_weight_decay: Any = getattr(model, "no_weight_decay", set)
    exempt = no_weight_decay()
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (kept if parameter.ndim < 2 or name in exempt else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]


def build_optimizer(model: nn.Module, config: TrainConfig) -> Optimizer:
    """``config.optimizer`` over the model's parameter groups, by timm's factory.

    AdamW is torch's own (Loshchilov and Hutter, arXiv 1711.05101). There and in ``muon`` weight
    decay is apart from the gradient; in all others it is L2, added to it. ``muon`` moves matrices
    and convolutions by an orthogonalised step, computed in bf16, or in float32 on a CPU that has no
    bf16; the rest moves by AdamW's. Raises ``UsageError`` where the timm that is installed has
    no such optimiser.
    """
    groups = parameter_groups(model, config.weight_decay)
    device = next(model.parameters()).device
    fused = device.type in ("cpu", "cuda")
    if config.optimizer == "adamw":
        return AdamW(groups, lr=config.lr, fused=fused)

    import timm
    from timm.optim import create_optimizer_v2

    if config.optimizer == "muon" and not hasattr(timm.optim, "Muon"):
        raise UsageError(
            f"optimizer 'muon' needs timm 1.0.21 or later, and this is {timm.__version__}: "
            "pip install --upgrade timm, or choose 'adamw'"
        )
    if config.optimizer == "muon" and device.type == "cpu" and not multiplies_bf16(device):
        return float32_muon()(groups, lr=config.lr, momentum=config.momentum)
    moving = config.optimizer in ("momentum", "nesterov", "muon")
    own = {"fused": fused} if config.optimizer == "adam" else {}
    return create_optimizer_v2(
        groups,
        opt=_TIMM_NAMES.get(config.optimizer, config.optimizer),
        lr=config.lr,
        momentum=config.momentum if moving else 0.0,
        **own,
    )
