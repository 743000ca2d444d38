"""The learning rate of every step: a linear warm-up, a course, a cool-down at ``min_lr``."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from .config import TrainConfig

#: As good as 0 beside the peak, where torch would divide by an exact zero or refuse it.
_NOTHING = 1e-12


def build_schedule(optimizer: Optimizer, config: TrainConfig, steps_per_epoch: int) -> LRScheduler:
    """The learning rate of every step: linear from ``warmup_lr``, ``config.schedule``, ``min_lr``.

    Warm-up and cool-down are shares of all the steps; the schedule advances once a step. That of
    ``plateau`` is a ``Plateau``, which wants to hear every epoch's validation loss.
    """
    total = config.epochs * steps_per_epoch
    warmup = round(config.warmup_ratio * total)
    cooldown = round(config.cooldown_ratio * total)
    course = max(1, total - warmup - cooldown)
    if config.schedule == "one_cycle":
        return _one_cycle(optimizer, config, total, warmup, cooldown)
    if config.schedule == "plateau":
        return Plateau(optimizer, config, warmup, warmup + course)
    parts: list[LRScheduler] = []
    if warmup:
        start = max(config.warmup_lr / config.lr, _NOTHING)
        parts.append(LinearLR(optimizer, start_factor=start, total_iters=warmup))
    parts.append(_course(optimizer, config, course, warmup, steps_per_epoch))
    if cooldown:
        parts.append(_at_least(optimizer, config, total))
    starts = [warmup] if warmup else []
    starts += [warmup + course] if cooldown else []
    return SequentialLR(optimizer, parts, milestones=starts)


def decay_steps(config: TrainConfig, steps_per_epoch: int) -> list[int]:
    """``config.decay_epochs`` in steps of the run, or what stands for none.

    That is a third of the epochs; for ``multistep`` those after a half and three quarters of the
    run (He et al., arXiv 1512.03385, sec. 4.2), as far as they lie between warm-up and cool-down.
    """
    epochs = config.epochs
    if config.decay_epochs:
        assert isinstance(config.decay_epochs, tuple)
        return [epoch * steps_per_epoch for epoch in config.decay_epochs]
    if config.schedule != "multistep":
        return [-(-epochs * steps_per_epoch // 3)]
    first, last = config.warmup_ratio * epochs, (1 - config.cooldown_ratio) * epochs
    usual = dict.fromkeys((epochs // 2, 3 * epochs // 4))
    return [epoch * steps_per_epoch for epoch in usual if first < epoch < last]


def _course(
    optimizer: Optimizer, config: TrainConfig, steps: int, warmup: int, steps_per_epoch: int
) -> LRScheduler:
    """What the learning rate does in the ``steps`` after the ``warmup``, counted from there."""
    rate = config.decay_rate
    if config.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=steps, eta_min=config.min_lr)
    if config.schedule == "cosine_restarts":  # arXiv 1608.03983
        cycle = -(-steps // (config.restarts + 1))
        return CosineAnnealingWarmRestarts(optimizer, T_0=cycle, eta_min=config.min_lr)
    if config.schedule == "constant":
        return ConstantLR(optimizer, factor=1.0, total_iters=steps)
    at = decay_steps(config, steps_per_epoch)
    if config.schedule == "multistep":  # epochs of the run, warm-up and all
        return MultiStepLR(optimizer, [step - warmup for step in at], gamma=rate)
    if config.schedule == "step":
        return StepLR(optimizer, step_size=at[0], gamma=rate)
    assert config.schedule == "exponential"
    return ExponentialLR(optimizer, gamma=rate ** (1 / at[0]))


def _at_least(optimizer: Optimizer, config: TrainConfig, total: int) -> LRScheduler:
    return ConstantLR(optimizer, factor=config.min_lr / config.lr, total_iters=total)


def _one_cycle(
    optimizer: Optimizer, config: TrainConfig, total: int, warmup: int, cooldown: int
) -> LRScheduler:
    """Up in the ``warmup`` and down after it, both by a cosine (arXiv 1708.07120).

    Momentum does not cycle: not every optimiser has one.
    """
    # before the cycle, which makes its own start the rate that later parts would begin with
    last = [_at_least(optimizer, config, total)] if cooldown else []
    rise = max(1, warmup)
    steps = max(rise + 1, total - cooldown + 1)  # its last is the first that is not taken
    start = max(config.warmup_lr / config.lr, _NOTHING)
    end = max(config.min_lr / config.lr, _NOTHING)
    cycle = OneCycleLR(
        optimizer,
        max_lr=config.lr,
        total_steps=steps,
        pct_start=(rise + 1) / steps,
        div_factor=1 / start,
        final_div_factor=start / end,
        cycle_momentum=False,
    )
    return SequentialLR(optimizer, [cycle, *last], milestones=[steps - 1] if cooldown else [])


class Plateau(LinearLR):
    """Times ``decay_rate`` whenever the validation loss has stopped falling, after the warm-up.

    It advances once a step for warm-up and cool-down, and between them once an epoch by
    ``end_epoch``.
    """

    def __init__(
        self, optimizer: Optimizer, config: TrainConfig, warmup: int, cooldown_from: int
    ) -> None:
        self.cooldown_from, self.min_lr = cooldown_from, config.min_lr
        start = max(config.warmup_lr / config.lr, _NOTHING) if warmup else 1.0
        super().__init__(optimizer, start_factor=start, total_iters=warmup)
        self.reduction = ReduceLROnPlateau(
            optimizer,
            factor=config.decay_rate,
            patience=config.plateau_patience,
            min_lr=config.min_lr,
            eps=0.0,
        )

    def get_lr(self) -> list[Any]:
        if self.last_epoch == self.cooldown_from:
            return [self.min_lr for _ in self.optimizer.param_groups]
        return super().get_lr()

    def end_epoch(self, loss: float) -> None:
        """Hear the validation loss of an epoch; those of the warm-up do not count."""
        if self.total_iters < self.last_epoch < self.cooldown_from:
            self.reduction.step(loss)
            self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"reduction": self.reduction.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.reduction.load_state_dict(state_dict["reduction"])
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "reduction"})
