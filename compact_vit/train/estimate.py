"""How long a run will take on this machine, and what would take less."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

import torch

from ..errors import UsageError
from ..models.compact import CompactTransformer
from ..report.measure import summarize
from ..tables import duration
from .config import TrainConfig
from .model import build_model
from .progress import Progress
from .state import TrainState

if TYPE_CHECKING:
    from ..models.zoo import AnyModel

#: Runs longer than this are met with shorter ones, seconds.
LONG = 4 * 3600.0

#: A forward pass is about a third of a training step.
_FORWARD_SHARE = 1 / 3


def whole_run(
    step_seconds: float, steps_per_epoch: int, evaluated: int, batch_size: int, epochs: int
) -> float:
    """Seconds of ``epochs`` epochs, each with its evaluation of ``evaluated`` pictures."""
    evaluation = evaluated / batch_size * _FORWARD_SHARE
    return step_seconds * (steps_per_epoch + evaluation) * epochs


def shorter_runs(config: TrainConfig, model: AnyModel, seconds: float) -> list[str]:
    """What would take less than ``seconds``, and about how long, by multiply-accumulates."""
    in_chans = model.config.in_chans
    shape = (in_chans, *model.config.height_width)
    macs = summarize(model, shape).macs
    options = []
    smaller_ones = ("cct_4_3x2", "cct_2_3x2") if isinstance(model, CompactTransformer) else ()
    for name in smaller_ones:
        try:
            other = dataclasses.replace(config, model=name)
            with torch.device("meta"):  # shapes only: no draw from the run's generator
                smaller = build_model(other, model.num_classes, in_chans)
        except UsageError:  # the run's options are not for it
            continue
        less = summarize(smaller, shape).macs / macs
        if less < 0.8:
            options.append(f"--model {name} about {duration(seconds * less)}")
    epochs = int(config.epochs * LONG / seconds)
    if epochs >= 1:
        options.append(f"--epochs {epochs} about {duration(seconds * epochs / config.epochs)}")
    return options


class Forecast:
    """Says after the first steps how long the run will take, and what would take less."""

    MEASURED = 20

    def __init__(
        self, config: TrainConfig, state: TrainState, evaluated: int, progress: Progress
    ) -> None:
        self.config, self.state, self.progress = config, state, progress
        self.evaluated = evaluated
        self.steps, self.start = 0, 0.0

    def tick(self) -> None:
        """Count a step done."""
        self.steps += 1
        if self.steps == 2:  # the first steps allocate and tune
            self.start = time.perf_counter()
        if self.steps == min(self.MEASURED, len(self.state.loader)) and self.steps > 2:
            self._announce((time.perf_counter() - self.start) / (self.steps - 2))

    def _announce(self, step_seconds: float) -> None:
        state, loader = self.state, self.state.loader
        if state.epoch != self.progress.first or self.progress.quiet:
            return
        epochs = self.config.epochs - state.epoch
        seconds = whole_run(step_seconds, len(loader), self.evaluated, loader.batch_size, epochs)
        count = f"{epochs} epoch{'s' * (epochs > 1)}"
        text = f"{count} will take about {duration(seconds)} on this machine"
        if seconds > LONG and not state.epoch:  # a resumed run stays what it is
            options = shorter_runs(self.config, state.model, seconds)
            text += f"; less: {', '.join(options)}" if options else ""
        self.progress.say(text)
