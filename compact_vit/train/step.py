"""One optimiser step: parts, loss, backward, the check of the numbers, clip, update, average.

Letters: B batch, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ..errors import UsageError
from .choices import before_replay
from .config import TrainConfig
from .metrics import autocast
from .state import TrainState


def train_step(
    state: TrainState, config: TrainConfig, forward: nn.Module, x: Tensor, targets: Tensor
) -> Tensor:
    """Step on ``[B,C,H,W]`` and its targets ``[B, ...]``: the loss and right answers summed, B.

    A gradient that is not finite never reaches the weights, nor do such pictures reach the running
    statistics of batch norms: the step is left out, and ``state.health`` counts it. Its loss is
    left out of the sums too. Optimisers with a fused kernel, and fp16's scaler, decide that on the
    device; for others the host waits for the answer.
    """
    choices, objective = state.choices, state.objective
    statistics = running_statistics(state.module)
    before = [kept.clone() for kept in statistics]
    figures = torch.zeros(3, device=x.device)
    split = (whole.tensor_split(choices.parts) for whole in (x, targets))
    parts = list(zip(*split, strict=True))
    for number, (part, wanted) in enumerate(parts, 1):
        if choices.graphs:
            before_replay(state.module, len(parts))
        with averaged(forward, number == len(parts)):
            with autocast(state.device, choices.precision), _enough_for_norms(part):
                said = objective.outputs(forward, part, wanted)  # a row a picture
            # half precision is no place for a loss
            said = said.to(torch.promote_types(said.dtype, torch.float32))
            loss = objective.loss(said, part, wanted)
            state.scaler.scale(loss * (len(part) / len(x))).backward()
        right = objective.right(said, wanted)
        seen = torch.full((), float(len(part)), device=x.device)
        figures += torch.stack((loss.detach() * len(part), right.float(), seen))
    norm, broken = _update(state, config, figures[0])
    for now, kept in zip(statistics, before, strict=True):
        now.copy_(now.where(~broken, kept))
    if state.ema is not None:
        _follow(state.ema, state.module, config.ema)
    state.health.watch(broken, norm)
    return figures.where(~broken, 0.0)


def running_statistics(model: nn.Module) -> list[Tensor]:
    """What the batch norms of ``model`` keep of the batches they see, besides their number."""
    norms = (m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
    return [kept for m in norms for kept in (m.running_mean, m.running_var) if kept is not None]


@contextmanager
def _enough_for_norms(part: Tensor) -> Iterator[None]:
    """Say which batches are too small where a batch norm finds one value a channel."""
    try:
        yield
    except ValueError as error:
        if len(part) > 1 or "more than 1 value per channel" not in str(error):
            raise
        raise UsageError(
            "batch_size must be at least 2, and accumulation at most half of it, with this model: "
            "it normalises over a batch, and got one picture at a time"
        ) from error


def averaged(forward: nn.Module, last: bool) -> AbstractContextManager[None]:
    """Several processes average their gradients once, with the ``last`` part of a batch."""
    no_sync = getattr(forward, "no_sync", None)
    return nullcontext() if last or no_sync is None else no_sync()


def _update(state: TrainState, config: TrainConfig, loss: Tensor) -> tuple[Tensor, Tensor]:
    """Clip the gradients and take the step, unless they or the loss are not finite.

    Returns the gradients' norm before that, and whether the step was left out.
    """
    optimizer, scaler = state.optimizer, state.scaler
    scaler.unscale_(optimizer)
    gradients = [p.grad for p in state.module.parameters() if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    broken = ~(state.processes.total(loss) + norm).isfinite()  # in all, or their weights would part
    if config.clip_grad:
        nn.utils.clip_grads_with_norm_(state.module.parameters(), config.clip_grad, norm)
    if scaler.is_enabled():  # it leaves the step out by itself
        scaler.step(optimizer)
        scaler.update()
    elif optimizer.defaults.get("fused"):  # its kernel is told, so nobody waits for the answer
        optimizer.found_inf = broken.float()  # type: ignore[attr-defined]
        optimizer.step()
    elif not broken:
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    optimizer._opt_called = True  # type: ignore[attr-defined]  # or torch warns of a step left out
    state.schedule.step()
    return norm, broken


@torch.no_grad()
def _follow(ema: AveragedModel, module: nn.Module, decay: float) -> None:
    """Average the weights, and what batch norms remember with them; counts are copied.

    What ``ema.update_parameters`` does where it has buffers to average, but for a copy to the
    device that the host waits for, and for the ``decay`` of the first steps, which is less: after
    n of them (1 + n) / (10 + n), as in TensorFlow's ``ExponentialMovingAverage``. Otherwise the
    first weights, which know nothing, would weigh most in a short run.
    """
    taken = int(ema.n_averaged)  # on the CPU
    decay = min(decay, (1 + taken) / (10 + taken))
    every = ([*model.parameters(), *model.buffers()] for model in (ema.module, module))
    pairs: list[tuple[Tensor, Tensor]] = list(zip(*every, strict=True))
    own, new = zip(*[pair for pair in pairs if pair[0].is_floating_point()], strict=True)
    if not taken:
        torch._foreach_copy_(own, new)
    else:
        torch._foreach_lerp_(own, new, 1 - decay)
    for kept, now in pairs:
        if not kept.is_floating_point():
            kept.copy_(now)
    ema.n_averaged += 1
