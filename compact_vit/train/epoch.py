"""One epoch of a run: every batch's way, and where it may stop and be saved.

Letters: R processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import Stopped
from .config import TrainConfig
from .estimate import Forecast
from .inputs import TrainBatch
from .interrupt import Stopper
from .progress import Progress
from .state import TrainState
from .step import running_statistics, train_step

#: An epoch that takes longer is saved within, this often.
SAVE_SECONDS = 600.0

#: Several processes ask each other whether to stop or to save once in so many steps.
ASKING = 10


def train_epoch(
    config: TrainConfig,
    state: TrainState,
    batch: TrainBatch,
    forward: nn.Module,
    stopper: Stopper,
    progress: Progress,
    forecast: Forecast,
    save: Callable[[], None],
) -> None:
    """Pass over what the epoch has left of the training set; what it came to is in the state.

    ``forward`` is the model as training calls it, ``save`` writes a checkpoint. Raises ``Stopped``
    where ``stopper`` asks for it, the state saying how far the epoch is.
    """
    so_far, together = state.unfinished, state.processes
    assert so_far is not None
    state.module.train()
    totals = _begun(state)
    done = int(sum(seen for _, _, seen in so_far["sums"]))
    if done:
        progress.advance(done)
    start = saved = time.perf_counter()

    def note(trained: bool) -> None:
        sums = together.gather(totals[None]).tolist()  # [R, 3]; the device has done all by then
        seconds = so_far["seconds"] + time.perf_counter() - start
        state.unfinished = so_far | {"sums": sums, "seconds": seconds, "trained": trained}

    try:
        for number, (images, labels) in enumerate(state.loader, 1):
            state.reseed()
            x, targets = batch(images, labels, state.epoch, state.augmentation)
            targets = state.objective.targets(x, targets, state.augmentation)
            lr = float(state.schedule.get_last_lr()[0])
            totals += train_step(state, config, forward, x, targets)
            state.health.check(lr, state.epoch + 1, number)
            progress.advance(len(labels) * together.count)
            forecast.tick()
            if progress.due():
                loss, right, seen = totals.tolist()
                accuracy = 100 * right / max(seen, 1) if state.answers else None
                progress.show(loss / max(seen, 1), accuracy, int(seen))
            if together.count > 1 and number % ASKING:
                continue
            stopper.check(together.most)
            if together.most(time.perf_counter() - saved > SAVE_SECONDS):
                note(trained=False)
                save()
                saved = time.perf_counter()
    except Stopped:
        note(trained=False)
        raise
    together.spread(running_statistics(state.evaluated))  # each has seen its own share
    note(trained=True)


def _begun(state: TrainState) -> Tensor:
    """Loss, right answers and pictures that this process's part of the epoch has come to, ``[3]``.

    A run that goes on with another number of processes leaves all to the first of them.
    """
    together, sums = state.processes, torch.tensor(state.unfinished["sums"])  # type: ignore[index]
    if len(sums) == together.count:
        mine = sums[together.rank]
    else:
        mine = sums.sum(dim=0) * together.first
    return mine.to(state.device)  # not all devices have float64
