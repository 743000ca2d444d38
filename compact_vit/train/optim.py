"""The optimiser and its learning rate: AdamW, linear warm-up, cosine, cool-down."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    SequentialLR,
)

from .config import TrainConfig


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
    """AdamW over the model's parameter groups (Loshchilov and Hutter, arXiv 1711.05101)."""
    groups = parameter_groups(model, config.weight_decay)
    device = next(model.parameters()).device.type
    return AdamW(groups, lr=config.lr, fused=device in ("cpu", "cuda"))


def build_schedule(optimizer: Optimizer, config: TrainConfig, steps_per_epoch: int) -> LRScheduler:
    """The learning rate of every step: linear from ``warmup_lr``, cosine to ``min_lr``, constant.

    Warm-up and cool-down are shares of all the steps; the schedule advances once a step.
    """
    total = config.epochs * steps_per_epoch
    warmup = round(config.warmup_ratio * total)
    cooldown = round(config.cooldown_ratio * total)
    parts: list[LRScheduler] = []
    if warmup:
        start = max(config.warmup_lr / config.lr, 1e-12)  # LinearLR refuses an exact zero
        parts.append(LinearLR(optimizer, start_factor=start, total_iters=warmup))
    decline = max(1, total - warmup - cooldown)
    parts.append(CosineAnnealingLR(optimizer, T_max=decline, eta_min=config.min_lr))
    if cooldown:
        floor = config.min_lr / config.lr
        parts.append(ConstantLR(optimizer, factor=floor, total_iters=total))
    starts = [warmup] if warmup else []
    starts += [warmup + decline] if cooldown else []
    return SequentialLR(optimizer, parts, milestones=starts)
