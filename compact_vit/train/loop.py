"""A training run, top to bottom: one batch's way, one epoch, the whole.

Letters: B batch, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..data.pictures import DataSplits, Pictures
from ..errors import UsageError
from ..layers import LabelSmoothingCrossEntropy
from ..models.compact import CompactTransformer
from .checkpoint import load_checkpoint, save_checkpoint, unfit
from .config import TrainConfig
from .estimate import Forecast
from .inputs import TrainBatch, build_train_batch, load_splits
from .machine import hardware, pick_device
from .metrics import Evaluation, autocast, evaluate_model
from .progress import Progress
from .run import RunFolder, check_output
from .state import TrainState, build_state, compiled_forward
from .summary import summarize_run, write_curves


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
    config: TrainConfig, *, output: str | os.PathLike[str] | None = None, quiet: bool = False
) -> TrainResult:
    """Train as ``config`` says and write everything into the folder ``output``.

    Without ``output`` it is a new folder under ``runs/``. Progress goes to standard error unless
    ``quiet``. Raises ``UsageError``, before anything is written, for what cannot run.
    """
    if output is not None:
        check_output(Path(output))
    run = _Run.build(config, quiet)
    if config.data_dir is not None:  # the folder must find its pictures from anywhere
        config = dataclasses.replace(config, data_dir=os.path.abspath(config.data_dir))
    return run.go(RunFolder.create(output, config), [])


def resume(run: str | os.PathLike[str], *, quiet: bool = False) -> TrainResult:
    """Go on with the run in the folder ``run`` from its last checkpoint, to the same end.

    A run that has finished is returned as it is. Raises ``UsageError`` if there is nothing to
    go on from.
    """
    folder = RunFolder.open(run)
    current = _Run.build(folder.config(), quiet)
    saved = load_checkpoint(folder.last, map_location=current.state.device)
    try:
        classes = tuple(saved["classes"])
        if classes == current.splits.classes:
            current.state.load_state_dict(saved["training"], saved["epoch"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise unfit(folder.last, "this run", error) from None
    if classes != current.splits.classes:
        raise UsageError(
            f"the data set has changed since '{folder.path}' was trained: it had "
            f"{len(classes)} classes and now has {len(current.splits.classes)}"
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
    quiet: bool

    @classmethod
    def build(cls, config: TrainConfig, quiet: bool) -> _Run:
        device = pick_device(config.device)
        splits = load_splits(config)
        state = build_state(config, splits, device)
        batch = build_train_batch(config, splits)
        return cls(config, splits, state, batch, compiled_forward(state), quiet)

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
            while state.epoch < config.epochs:
                row, watched = self._epoch(progress)
                history.append(row)
                folder.append_metrics(row)
                self._save(folder, row)
                progress.end_epoch(row)
        except KeyboardInterrupt:
            if state.epoch:
                progress.say(f"{state.epoch} epochs are saved: go on with --resume {folder.path}")
            raise
        finally:
            progress.close()
        return self._finish(folder, history, watched)

    def _epoch(self, progress: Progress) -> tuple[dict[str, Any], Evaluation]:
        """Train an epoch and evaluate it: its line for the log, and the evaluation."""
        state, config = self.state, self.config
        split, pictures = self.watched
        lr = state.schedule.get_last_lr()[0]
        start = time.perf_counter()
        progress.start_epoch(state.epoch + 1)
        loss, accuracy = self._train_epoch(progress)
        trained = time.perf_counter()
        evaluation = self._evaluate(pictures)
        if not math.isfinite(loss + evaluation.loss):
            raise UsageError(
                f"the loss of epoch {state.epoch + 1} is not finite: train again with "
                f"a smaller lr than {config.lr:g}, or clip_grad 1"
            )
        state.epoch += 1
        row = {
            "epoch": state.epoch,
            "lr": lr,
            "train_loss": loss,
            "train_accuracy": accuracy,
            **{f"{split}_{name}": value for name, value in evaluation.figures().items()},
            "pictures_per_second": progress.pictures / (trained - start),
            "seconds": time.perf_counter() - start,
        }
        return row, evaluation

    def _train_epoch(self, progress: Progress) -> tuple[float, float]:
        """One pass over the training set: the mean loss and the accuracy in percent."""
        state = self.state
        state.model.train()
        totals = torch.zeros(3, device=state.device)  # loss, right, seen; not all have float64
        forecast = Forecast(self.config, state, len(self.watched[1]), progress)
        for images, labels in state.loader:
            x, targets = self.batch(images, labels, state.epoch, state.augmentation)
            totals += self._step(x, targets)
            progress.advance(len(labels))
            forecast.tick()
            if progress.due():
                loss, right, seen = totals.tolist()
                progress.show(loss / seen, 100 * right / seen, int(seen))
        loss, right, seen = totals.tolist()
        return loss / seen, 100 * right / seen

    def _step(self, x: Tensor, targets: Tensor) -> Tensor:
        """One optimiser step on ``[B,C,H,W]``: the loss and the right answers summed, and B."""
        state, config, choices = self.state, self.config, self.state.choices
        criterion = LabelSmoothingCrossEntropy(config.label_smoothing)
        figures = torch.zeros(3, device=x.device)
        for part, wanted in zip(x.chunk(choices.parts), targets.chunk(choices.parts), strict=True):
            with autocast(state.device, choices.precision):
                logits = self.forward(part)  # [B, K]
            loss = criterion(logits.float(), wanted)
            state.scaler.scale(loss * (len(part) / len(x))).backward()
            labels = wanted if wanted.ndim == 1 else wanted.argmax(dim=1)
            right = (logits.argmax(dim=1) == labels).sum()
            seen = torch.tensor(float(len(part)), device=x.device)
            figures += torch.stack((loss.detach() * len(part), right.float(), seen))
        if config.clip_grad:
            state.scaler.unscale_(state.optimizer)
            nn.utils.clip_grad_norm_(state.model.parameters(), config.clip_grad)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.optimizer.zero_grad(set_to_none=True)
        state.schedule.step()
        if state.ema is not None:
            state.ema.update_parameters(state.model)
        return figures

    def _evaluate(self, pictures: Pictures) -> Evaluation:
        return evaluate_model(
            self.state.evaluated,
            pictures,
            self.batch.normalize,
            device=self.state.device,
            precision=self.state.choices.precision,
        )

    def _save(self, folder: RunFolder, row: dict[str, Any]) -> None:
        """Write ``last.pt``, and ``best.pt`` if this epoch did best on the validation split."""
        state, splits = self.state, self.splits
        content = {
            "weights": state.evaluated.state_dict(),
            "epoch": state.epoch,
            "classes": list(splits.classes),
            "mean": list(splits.mean),
            "std": list(splits.std),
        }
        if splits.val is None:
            if state.epoch == self.config.epochs:
                save_checkpoint(folder.best, content)  # nothing to pick on but the test set
        elif state.best is None or row["val_accuracy"] > state.best["val_accuracy"]:
            state.best = {"epoch": state.epoch, "val_accuracy": row["val_accuracy"]}
            save_checkpoint(folder.best, content)
        save_checkpoint(folder.last, {**content, "training": state.state_dict()})

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
