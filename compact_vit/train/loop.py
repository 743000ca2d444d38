"""A training run, top to bottom: what it is given, its epochs, and what it leaves."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ..data.pictures import DataSplits, Pictures
from ..errors import Stopped, UsageError
from .checkpoint import load_checkpoint
from .config import TrainConfig, data_name, with_whole_paths
from .distributed import Processes, processes
from .ending import ended
from .epoch import train_epoch
from .estimate import Forecast
from .inputs import TrainBatch, build_train_batch, load_alike
from .interrupt import Stopper
from .machine import hardware, learning, pick_device
from .metrics import Evaluating
from .objective import Evaluated, Rebuilt
from .page import write_page
from .progress import Progress
from .result import TrainResult
from .run import RunFolder, check_output, one_at_a_time
from .save import save_best, save_run, take_up
from .start import start_from
from .state import TrainState, build_state, compiled_forward
from .summary import summarize_run, write_curves, write_rebuilt
from .tracking import Tracking, need_packages

#: Hears the line of ``metrics.jsonl`` of every epoch.
OnEpoch = Callable[[Mapping[str, Any]], None]


def train(
    config: TrainConfig,
    *,
    output: str | os.PathLike[str] | None = None,
    quiet: bool = False,
    time_limit: str | float | None = None,
    on_epoch: OnEpoch | None = None,
) -> TrainResult:
    """Train as ``config`` says and write everything into the folder ``output``.

    Without ``output`` it is a new folder under ``runs/``. Progress goes to standard error unless
    ``quiet``. Raises ``UsageError``, before anything is written, for what cannot run, and where
    another thread trains, and ``Stopped``, with all that was done saved for ``resume``, on SIGTERM,
    SIGINT, and before ``time_limit`` (seconds, or ``"1h30m"``) is over. ``on_epoch`` hears the line
    of ``metrics.jsonl`` of every epoch once that is saved; what it raises ends the run. Under
    ``torchrun`` its processes train together, and only the first of them writes and speaks.
    """
    if not isinstance(config, TrainConfig):
        raise UsageError(f"config must be a TrainConfig, got {config!r:.60}")
    output = None if output is None else Path(os.path.expanduser(output))
    with one_at_a_time(), processes() as together, ExitStack() as held:
        held.enter_context(learning(config.deterministic))
        together.share(lambda: None if output is None else check_output(output))
        run = _Run.build(config, together, quiet, time_limit)
        together.agree(lambda: start_from(run.state, config))
        created = RunFolder.create(output, with_whole_paths(config))
        folder = together.share(lambda: held.enter_context(created))
        return run.go(folder, [], on_epoch)


def resume(
    run: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    teacher: str | os.PathLike[str] | None = None,
    quiet: bool = False,
    time_limit: str | float | None = None,
    on_epoch: OnEpoch | None = None,
) -> TrainResult:
    """Go on with the run in the folder ``run`` from its last checkpoint, to the same end.

    If that is damaged, from the one before it; if there never was one, from the beginning. A run
    that has finished is returned as it is. ``data_dir`` and ``teacher`` say where its pictures and
    the run it learns from have moved, which its configuration then says too. Raises ``UsageError``
    if there is nothing to go on from, another process trains in the folder, or another thread of
    this one trains at all, and ``Stopped`` as ``train`` does.
    """
    with one_at_a_time(), processes() as together, ExitStack() as held:
        folder = together.share(lambda: RunFolder.open(run))
        config = together.share(folder.config)
        given = {"data_dir": data_dir, "teacher": teacher}
        moved: dict[str, Any] = {k: os.fspath(v) for k, v in given.items() if v is not None}
        if moved:
            config = with_whole_paths(dataclasses.replace(config, **moved))
        together.share(lambda: held.enter_context(folder.alone()))
        with learning(config.deterministic):
            saved = together.share(folder.newest)
            begun = None if saved is None else folder.path
            current = _Run.build(config, together, quiet, time_limit, begun)
            state = current.state
            if saved is None:
                together.agree(lambda: start_from(state, config))
            else:
                together.agree(lambda: take_up(state, config, current.splits, folder, *saved))
            if moved and together.first:
                folder.write_json("config.json", config.to_dict())
            history = together.share(lambda: folder.keep_metrics(state.epoch, state.answers))
            return current.go(folder, history, on_epoch)


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
    def build(
        cls,
        config: TrainConfig,
        together: Processes,
        quiet: bool,
        time_limit: str | float | None,
        begun: Path | None = None,
    ) -> _Run:
        together.agree(lambda: need_packages(config.track))
        stopper = Stopper(time_limit)
        device = together.agree(lambda: together.own(pick_device(config.device)))
        splits = load_alike(config, together, begun)
        new = begun is None
        state = together.agree(lambda: build_state(config, splits, device, together, fetch=new))
        batch, forward = build_train_batch(config, splits), compiled_forward(state)
        return cls(config, splits, state, batch, forward, stopper, quiet or not together.first)

    @property
    def together(self) -> Processes:
        """The processes that train."""
        return self.state.processes

    @property
    def watched(self) -> tuple[str, Pictures]:
        """The split evaluated every epoch: validation, else test, ``learnt`` with ``overfit``."""
        val, name = self.splits.val, "learnt" if self.config.overfit else "test"
        return (name, self.splits.test) if val is None else ("val", val)

    def go(
        self, folder: RunFolder, history: list[dict[str, Any]], on_epoch: OnEpoch | None
    ) -> TrainResult:
        """Run the epochs that are left, then look at the test set and write the summary."""
        config, state = self.config, self.state
        pictures = len(state.loader) * state.loader.batch_size
        progress = Progress(config.epochs, pictures, state.epoch, self.quiet)
        progress.say(
            f"{config.model} on {data_name(config)}, recipe {config.recipe}, "
            f"{hardware(state.device)}; writing to {folder.path}"
        )
        for note in state.choices.notes:
            progress.say(note)
        row = history[-1] if history else None
        if reason := ended(config, state, row):
            progress.say(f"{reason}: nothing is left to train")
            summary = self.together.share(folder.summary)
            if summary is not None:  # what was measured then stays as it is
                return TrainResult(state.result.eval(), folder.path, config, history, summary)
        names = config.track if self.together.first else ()
        tracking = Tracking(names, folder.path, config.to_dict(), history, progress.warn)
        watched: Evaluated | None = None
        try:
            with self.stopper, self._saved(folder):
                while not (reason := ended(config, state, row)):
                    row, watched = self._epoch(folder, progress)
                    history.append(row)
                    if self.together.first:
                        folder.append_metrics(row)
                    tracking.epoch(row)  # before it is saved: one that is saved was told
                    self._save(folder, row)
                    progress.end_epoch(row)
                    if on_epoch is not None and self.together.first:
                        on_epoch(row)
                    self.stopper.check(self.together.most)
                if state.epoch < config.epochs and watched is not None:
                    progress.say(f"{reason}: the run ends")
                return self._finish(folder, history, watched, tracking)
        except KeyboardInterrupt:
            if folder.last.exists():
                progress.say(f"the last checkpoint is whole: go on with --resume {folder.path}")
            raise
        finally:
            tracking.close()
            progress.close()

    def _epoch(self, folder: RunFolder, progress: Progress) -> tuple[dict[str, Any], Evaluated]:
        """Train an epoch and evaluate it: its line for the log, and the evaluation."""
        state = self.state
        split, pictures = self.watched
        progress.start_epoch(state.epoch + 1)
        if state.unfinished is None:
            lr = state.schedule.get_last_lr()[0]
            state.unfinished = {"lr": lr, "sums": [[0.0] * 3], "seconds": 0.0, "trained": False}
        if not state.unfinished["trained"]:
            train_epoch(
                self.config,
                state,
                self.batch,
                self.forward,
                self.stopper,
                progress,
                Forecast(self.config, state, len(pictures), progress),
                save=lambda: self._save(folder, None),
            )
        before = state.unfinished
        loss, right, seen = map(sum, zip(*before["sums"], strict=True))
        start = time.perf_counter()
        evaluation = self._evaluate(pictures)
        if not seen or not math.isfinite(evaluation.loss):
            raise UsageError(
                f"the loss of epoch {state.epoch + 1} is not finite: train again with "
                f"a smaller lr than {self.config.lr:g}, or clip_grad 1"
            )
        state.end_epoch(evaluation.loss)
        row = {
            "epoch": state.epoch,
            "lr": before["lr"],
            "train_loss": loss / seen,
            **({"train_accuracy": 100 * right / seen} if state.answers else {}),
            **{f"{split}_{name}": value for name, value in evaluation.figures().items()},
            "pictures_per_second": progress.pictures / before["seconds"],
            "seconds": before["seconds"] + time.perf_counter() - start,
        }
        return row, evaluation

    def _evaluate(self, pictures: Pictures) -> Evaluated:
        state, alone = self.state, self.together.count == 1  # several could not stop together
        how = Evaluating(
            self.batch.normalize,
            state.device,
            state.choices.precision,
            on_batch=(lambda done: self.stopper.check()) if alone else None,
            processes=self.together,
        )
        return state.objective.evaluate(state.evaluated, pictures, how)

    @contextmanager
    def _saved(self, folder: RunFolder) -> Iterator[None]:
        """Within, a run that stops is saved first; no process of it leaves before that."""
        try:
            yield
        except Stopped as stop:
            if self.state.unfinished is not None:
                self._save(folder, None)
            self.together.share(lambda: None)
            text = f"{stop}, and saved: go on with --resume {folder.path}"
            raise Stopped(text, stop.status) from None

    def _save(self, folder: RunFolder, row: dict[str, Any] | None) -> None:
        start = time.perf_counter()
        save_run(folder, self.config, self.state, self.splits, row)
        self.stopper.saved(time.perf_counter() - start)

    def _finish(
        self,
        folder: RunFolder,
        history: list[dict[str, Any]],
        last: Evaluated | None,
        tracking: Tracking,
    ) -> TrainResult:
        """Test the last epoch's weights, and the best's if they were picked; write the summary."""
        state, splits = self.state, self.splits
        if state.best is None:  # without a validation split or answers the last is the best
            save_best(folder, state, splits)
        pictures = splits.test if self.config.report_on == "test" else self.watched[1]
        if last is None or pictures is not self.watched[1]:
            last = self._evaluate(pictures)
        best = None if state.best is None else last
        if state.best is not None and state.best["epoch"] != state.epoch:
            weights = self.together.share(lambda: load_checkpoint(folder.best)["weights"])
            kept = {k: v.clone() for k, v in state.result.state_dict().items()}
            state.result.load_state_dict(weights)
            best = self._evaluate(pictures)
            state.result.load_state_dict(kept)
        summary = summarize_run(self.config, state, splits, history, last, best)
        if self.together.first:
            write_curves(folder.path / "curves.png", history, self.config)
            if isinstance(shown := best or last, Rebuilt):
                write_rebuilt(folder.path / "rebuilt.png", splits, pictures, shown)
            else:
                write_page(folder, self.config, state, splits, pictures, history, shown, summary)
            tracking.end(summary)
            folder.write_json("summary.json", summary)  # which says that all is there
        return TrainResult(state.result.eval(), folder.path, self.config, history, summary)
