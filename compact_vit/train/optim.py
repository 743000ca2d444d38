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


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
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


def layer_groups(model: nn.Module, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """The same by layers too, as ``group_matcher()`` tells them, each with its ``lr_scale``.

    That is 1 of the head, and ``layer_decay`` times less for every layer down to the tokenizer
    (arXiv 2106.08254); the last norm and the pooling go with the last layer.
    """
    from timm.optim import param_groups_layer_decay

    no_weight_decay: Any = getattr(model, "no_weight_decay", set)
    groups: list[dict[str, Any]] = param_groups_layer_decay(
        model, weight_decay, tuple(no_weight_decay()), layer_decay=layer_decay
    )
    return groups


class _InLayers:
    """Each group's learning rate times its ``lr_scale``, in the steps of ``optimizer`` alone.

    So a schedule sees, and a checkpoint holds, one rate for all: schedules that go down to a least
    rate would lift the lower layers to it.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.whole: list[float] = []
        self.depth = 0  # a step may call that of the class above it, which calls the hooks again
        optimizer.register_step_pre_hook(self._before)
        optimizer.register_step_post_hook(self._after)

    def _before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self.depth += 1
        if self.depth == 1:
            self.whole = [group["lr"] for group in optimizer.param_groups]
            for group in optimizer.param_groups:
                group["lr"] *= group["lr_scale"]

    def _after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self.depth -= 1
        if self.depth == 0:
            for group, lr in zip(optimizer.param_groups, self.whole, strict=True):
                group["lr"] = lr


def build_optimizer(model: nn.Module, config: TrainConfig) -> Optimizer:
    """``config.optimizer`` over the model's parameter groups, by timm's factory.

    AdamW is torch's own (Loshchilov and Hutter, arXiv 1711.05101). There and in ``muon`` weight
    decay is apart from the gradient; in all others it is L2, added to it. ``muon`` moves the
    matrices and convolutions that timm finds suitable (the classifier's too, depthwise convolutions
    not) by an orthogonalised step, without Nesterov's momentum, computed in bf16, or in float32 on
    a CPU that has no bf16; the rest moves by AdamW's. Raises ``UsageError`` where the timm that is
    installed has no such optimiser. With ``layer_decay`` the groups are ``layer_groups``, each at
    its own share of the learning rate; at 0 all but the head is frozen, which then neither decays
    nor takes a gradient, while batch norms go on to follow the pictures in their running
    statistics.
    """
    if config.layer_decay == 0:
        model.requires_grad_(False)
        model.get_submodule("head").requires_grad_(True)
    if config.layer_decay in (0, 1):
        return _optimizer(model, config, parameter_groups(model, config.weight_decay))
    groups = layer_groups(model, config.weight_decay, config.layer_decay)
    optimizer = _optimizer(model, config, groups)
    _InLayers(optimizer)
    return optimizer


def _optimizer(model: nn.Module, config: TrainConfig, groups: list[dict[str, Any]]) -> Optimizer:
    """``config.optimizer`` over ``groups`` of the model's parameters."""
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
