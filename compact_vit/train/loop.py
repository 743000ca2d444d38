"""A training run, top to bottom: one batch's way, one epoch, the whole.

Letters: B batch, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

import dataclasses
import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..data.pictures import DataSplits, Pictures
from ..errors import Stopped, UsageError
from ..models.compact import CompactTransformer
from .checkpoint import load_checkpoint, newest, unfit
from .config import TrainConfig
from .estimate import Forecast
from .inputs import TrainBatch, build_train_batch, load_splits
from .interrupt import Stopper
from .machine import hardware, pick_device
from .metrics import Evaluation, evaluate_model
from .progress import Progress
from .run import RunFolder, check_output
from .save import save_run
from .state import TrainState, build_state, compiled_forward
from .step import train_step
from .summary import summarize_run, write_curves

#: An epoch that takes longer is saved within, this often.
SAVE_SECONDS = 600.0


@dataclass(frozen=True)
class TrainResult:
    """What a finished run gives: the model to use, and everything its folder says."""

    model: CompactTransformer
    output: Path
    config: TrainConfig
    history: list[dict[str, Any]]
    """One row an epoch, the lines of ``metrics.jsonl``."""
    summary: dict[str, Any]
    """The content of ``summary.json``."""


def train(
    config: TrainConfig,
    *,
    output: str | os.PathLike[str] | None = None,
    quiet: bool = False,
    time_limit: float | None = None,
) -> TrainResult:
    """Train as ``config`` says and write everything into the folder ``output``.

    Without ``output`` it is a new folder under ``runs/``. Progress goes to standard error unless
    ``quiet``. Raises ``UsageError``, before anything is written, for what cannot run, and
    ``Stopped``, with all that was done saved for ``resume``, on SIGTERM, SIGINT, and before
    ``time_limit`` seconds are over.
    """
    if output is not None:
        check_output(Path(output))
    run = _Run.build(config, quiet, time_limit)
    if config.data_dir is not None:  # the folder must find its pictures from anywhere
        config = dataclasses.replace(config, data_dir=os.path.abspath(config.data_dir))
    return run.go(RunFolder.create(output, config), [])


def resume(
    run: str | os.PathLike[str], *, quiet: bool = False, time_limit: float | None = None
) -> TrainResult:
    """Go on with the run in the folder ``run`` from its last checkpoint, to the same end.

    If that is damaged, from the one before it; if there never was one, from the beginning. A run
    that has finished is returned as it is. Raises ``UsageError`` if there is nothing to go on
    from, and ``Stopped`` as ``train`` does.
    """
    folder = RunFolder.open(run)
    current = _Run.build(folder.config(), quiet, time_limit)
    if not folder.begun():
        return current.go(folder, folder.keep_metrics(0))
    path, saved, warning = newest(folder.last, current.state.device)
    if warning:
        print(warning, file=sys.stderr)
    try:
        data = (tuple(saved["classes"]), saved["pictures"])
        if data == current.data:
            current.state.load_state_dict(saved["training"], saved["epoch"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise unfit(path, "this run", error) from None
    if data != current.data:
        (before, pictures), (classes, now) = data, current.data
        raise UsageError(
            f"the data set has changed since '{folder.path}' was trained: it had {len(before)} "
            f"classes and {pictures:,} training pictures, and now has {len(classes)} and {now:,}"
        )
    return current.go(folder, folder.keep_metrics(saved["epoch"]))


@dataclass(frozen=True)
class _Run:
    """A run ready to go: all that stays the same over its epochs, and the state that does not."""

    config: TrainConfig
    splits: DataSplits
    state: TrainState
    batch: TrainBatch
    forward: nn.Module
    """The model as it is called in training: compiled, if that was chosen."""
    stopper: Stopper
    quiet: bool

    @classmethod
    def build(cls, config: TrainConfig, quiet: bool, time_limit: float | None) -> _Run:
        stopper = Stopper(time_limit)
        device = pick_device(config.device)
        splits = load_splits(config)
        state = build_state(config, splits, device)
        batch = build_train_batch(config, splits)
        return cls(config, splits, state, batch, compiled_forward(state), stopper, quiet)

    @property
    def data(self) -> tuple[tuple[str, ...], int]:
        """What a checkpoint must agree with: the classes, and the number of training pictures."""
        return self.splits.classes, len(self.splits.train)

    @property
    def watched(self) -> tuple[str, Pictures]:
        """The split evaluated every epoch: validation if there is one, else test."""
        val = self.splits.val
        return ("test", self.splits.test) if val is None else ("val", val)

    def go(self, folder: RunFolder, history: list[dict[str, Any]]) -> TrainResult:
        """Run the epochs that are left, then look at the test set and write the summary."""
        config, state = self.config, self.state
        pictures = len(state.loader) * state.loader.batch_size
        progress = Progress(config.epochs, pictures, state.epoch, self.quiet)
        progress.say(
            f"{config.model} on {config.dataset}, recipe {config.recipe}, "
            f"{hardware(state.device)}; writing to {folder.path}"
        )
        for note in state.choices.notes:
            progress.say(note)
        if state.epoch >= config.epochs:
            progress.say(f"all {config.epochs} epochs are done: nothing is left to train")
            if (folder.path / "summary.json").exists():  # what was measured then stays as it is
                summary = folder.read_json("summary.json")
                return TrainResult(state.evaluated.eval(), folder.path, config, history, summary)
        watched: Evaluation | None = None
        try:
            with self.stopper:
                while state.epoch < config.epochs:
                    row, watched = self._epoch(folder, progress)
                    history.append(row)
                    folder.append_metrics(row)
                    self._save(folder, row)
                    progress.end_epoch(row)
                    self.stopper.check()
                return self._finish(folder, history, watched)
        except Stopped as stop:
            if state.unfinished is not None:
                self._save(folder, None)
            text = f"{stop}, and saved: go on with --resume {folder.path}"
            raise Stopped(text, stop.status) from None
        except KeyboardInterrupt:
            if folder.last.exists():
                progress.say(f"the last checkpoint is whole: go on with --resume {folder.path}")
            raise
        finally:
            progress.close()

    def _epoch(self, folder: RunFolder, progress: Progress) -> tuple[dict[str, Any], Evaluation]:
        """Train an epoch and evaluate it: its line for the log, and the evaluation."""
        state = self.state
        split, pictures = self.watched
        progress.start_epoch(state.epoch + 1)
        if state.unfinished is None:
            lr = state.schedule.get_last_lr()[0]
            state.unfinished = {"lr": lr, "sums": [0.0, 0.0, 0.0], "seconds": 0.0, "trained": False}
        if not state.unfinished["trained"]:
            self._train_epoch(folder, progress)
        before = state.unfinished
        (loss, right, seen), seconds = before["sums"], before["seconds"]
        start = time.perf_counter()
        evaluation = self._evaluate(pictures)
        if not seen or not math.isfinite(evaluation.loss):
            raise UsageError(
                f"the loss of epoch {state.epoch + 1} is not finite: train again with "
                f"a smaller lr than {self.config.lr:g}, or clip_grad 1"
            )
        state.epoch += 1
        state.unfinished = None
        row = {
            "epoch": state.epoch,
            "lr": before["lr"],
            "train_loss": loss / seen,
            "train_accuracy": 100 * right / seen,
            **{f"{split}_{name}": value for name, value in evaluation.figures().items()},
            "pictures_per_second": progress.pictures / seconds,
            "seconds": seconds + time.perf_counter() - start,
        }
        return row, evaluation

    def _train_epoch(self, folder: RunFolder, progress: Progress) -> None:
        """Pass over what the epoch has left of the training set; the sums go to the state."""
        state, so_far = self.state, self.state.unfinished
        assert so_far is not None
        state.model.train()
        # loss, right, seen; not all devices have float64
        totals = torch.tensor(so_far["sums"], device=state.device)
        if so_far["sums"][2]:
            progress.advance(int(so_far["sums"][2]))
        forecast = Forecast(self.config, state, len(self.watched[1]), progress)
        start = saved = time.perf_counter()

        def note(trained: bool) -> None:
            seconds = so_far["seconds"] + time.perf_counter() - start
            now = {"sums": totals.tolist(), "seconds": seconds, "trained": trained}
            state.unfinished = so_far | now

        try:
            for number, (images, labels) in enumerate(state.loader):
                x, targets = self.batch(images, labels, state.epoch, state.augmentation)
                lr = float(state.schedule.get_last_lr()[0])
                totals += train_step(state, self.config, self.forward, x, targets)
                state.health.check(lr, state.epoch + 1, number + 1)
                progress.advance(len(labels))
                forecast.tick()
                if progress.due():
                    loss, right, seen = totals.tolist()
                    progress.show(loss / max(seen, 1), 100 * right / max(seen, 1), int(seen))
                self.stopper.check()
                if time.perf_counter() - saved > SAVE_SECONDS:
                    note(trained=False)
                    self._save(folder, None)
                    saved = time.perf_counter()
        except Stopped:
            note(trained=False)
            raise
        note(trained=True)

    def _evaluate(self, pictures: Pictures) -> Evaluation:
        return evaluate_model(
            self.state.evaluated,
            pictures,
            self.batch.normalize,
            device=self.state.device,
            precision=self.state.choices.precision,
            on_batch=lambda done: self.stopper.check(),
        )

    def _save(self, folder: RunFolder, row: dict[str, Any] | None) -> None:
        start = time.perf_counter()
        save_run(folder, self.config, self.state, self.splits, row)
        self.stopper.saved(time.perf_counter() - start)

    def _finish(
        self, folder: RunFolder, history: list[dict[str, Any]], last: Evaluation | None
    ) -> TrainResult:
        """Test the last epoch's weights, and the best's if they were picked; write the summary."""
        state, splits = self.state, self.splits
        if last is None or splits.val is not None:
            last = self._evaluate(splits.test)
        best = None
        if state.best is not None:
            weights = load_checkpoint(folder.best, map_location=state.device)["weights"]
            kept = {k: v.clone() for k, v in state.evaluated.state_dict().items()}
            state.evaluated.load_state_dict(weights)
            best = self._evaluate(splits.test)
            state.evaluated.load_state_dict(kept)
        summary = summarize_run(self.config, state, splits, history, last, best)
        folder.write_json("summary.json", summary)
        write_curves(folder.path / "curves.png", history, self.config)
        return TrainResult(state.evaluated.eval(), folder.path, self.config, history, summary)
