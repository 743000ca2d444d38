"""The trials of a search: asked for, heard of, told to the journal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..files import read_json
from .child import PRUNED, REFUSED
from .fields import configured
from .journal import import_optuna, open_study
from .pool import CHILD, Ended, Job
from .record import AGAIN, read_history, state_of
from .space import Choice, Range, Search

if TYPE_CHECKING:
    import optuna

#: Optuna's words for how a trial ended, and ours.
_STATES = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "unfinished"}


def run_name(number: int) -> str:
    """The folder of the run of trial ``number``."""
    return f"trial-{number:04d}"


class Trials:
    """The trials of ``search`` in ``folder``, each ``shared`` and the values drawn for it.

    ``on_end`` is told the number and the row of each trial that ended.
    """

    def __init__(
        self,
        search: Search,
        shared: Mapping[str, Any],
        folder: Path,
        threads: int,
        workers: int,
        retry: bool,
        on_end: Callable[[int, Mapping[str, Any]], None],
    ) -> None:
        self.search, self.shared, self.folder = search, shared, folder
        self.threads, self.workers, self.retry, self.on_end = threads, workers, retry, on_end
        self.study = open_study(folder, search.pruner)
        self.running: dict[str, optuna.Trial] = {}
        self.reasons: dict[int, str] = {}
        """Why trials of this call are unfinished, by number."""

    def jobs(self) -> Iterator[Job]:
        """Those that were under way, and new ones until there are as many as asked for.

        With ``retry`` those that failed are under way again.
        """
        optuna = import_optuna()
        states = ("unfinished", "failed") if self.retry else ("unfinished",)
        for frozen in self.study.get_trials(deepcopy=False):
            if _state(frozen) in states:
                self._draw_as(frozen.number)
                trial = optuna.trial.Trial(self.study, frozen._trial_id)
                trial.set_user_attr("error", None)
                yield from self._jobs_of(trial)
        while (number := len(self.study.get_trials(deepcopy=False))) < self.search.trials:
            self._draw_as(number)
            yield from self._jobs_of(self.study.ask())

    def _draw_as(self, number: int) -> None:
        """Draw what trial ``number`` draws, whatever else was drawn before."""
        optuna = import_optuna()
        import numpy as np

        draw = np.random.SeedSequence(self.search.seed, spawn_key=(number,)).generate_state(1)
        seed = int(draw[0])
        if self.search.sampler == "random":
            self.study.sampler = optuna.samplers.RandomSampler(seed=seed)
        else:
            self.study.sampler = optuna.samplers.TPESampler(
                seed=seed, constant_liar=self.workers > 1
            )

    def _jobs_of(self, trial: optuna.Trial) -> Iterator[Job]:
        """What the process of ``trial`` is told; nothing if its values cannot go together."""
        values = {field: _suggest(trial, field, span) for field, span in self.search.space.items()}
        name = run_name(trial.number)
        self.running[name] = trial
        try:
            config = configured({**self.shared, **values})
        except UsageError as error:
            self.heard(Ended(name, REFUSED, str(error)))
            return
        state_of(self.folder / name, config)  # refuses what is not this trial's
        told = {
            "config": config.to_dict(),
            "output": str(self.folder / name),
            "threads": self.threads,
            "trial": {
                "folder": str(self.folder),
                "pruner": self.search.pruner,
                "id": trial._trial_id,
                "epochs": config.epochs,
            },
        }
        yield Job(name, CHILD, told)

    def heard(self, ended: Ended) -> None:
        """Tell the journal how a trial ended; one that was killed or stopped stays under way.

        So does one that failed, beside its error: what the journal calls failed is over for good.
        """
        states = import_optuna().trial.TrialState
        trial = self.running.pop(ended.name)
        if ended.status == 0:
            summary = read_json(self.folder / ended.name / "summary.json", AGAIN)
            self.study.tell(trial, summary["best"]["val_accuracy"])
        elif ended.status == PRUNED:
            self.study.tell(trial, state=states.PRUNED)
        elif ended.status == REFUSED:
            trial.set_user_attr("error", ended.reason)
        else:
            self.reasons[trial.number] = ended.reason
        self.on_end(trial.number, self.rows()[trial.number])

    def rows(self) -> list[dict[str, Any]]:
        """What the table says of every trial."""
        return [self._row(trial) for trial in self.study.get_trials(deepcopy=False)]

    def _row(self, trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
        state, error = _state(trial), trial.user_attrs.get("error")
        try:
            history = read_history(self.folder / run_name(trial.number))
        except UsageError:
            if state == "unfinished":
                raise
            history = []  # it is over, and the journal has its figure
        if state == "unfinished":
            error = self.reasons.get(trial.number, "under way")
        values = {
            field: _value(span, trial.params[field]) if field in trial.params else None
            for field, span in self.search.space.items()
        }
        return {
            "trial": trial.number,
            "state": state,
            **values,
            "val_accuracy": max((row["val_accuracy"] for row in history), default=trial.value),
            "epoch": len(history) or None,
            "seconds": sum(row["seconds"] for row in history) if history else None,
            "error": error,
        }


def _state(trial: optuna.trial.FrozenTrial) -> str:
    """How ``trial`` ended, in our words."""
    failed = trial.state.name == "RUNNING" and trial.user_attrs.get("error")
    return "failed" if failed else _STATES[trial.state.name]


def _suggest(trial: optuna.Trial, field: str, span: Choice | Range) -> Any:
    if isinstance(span, Choice):
        return _value(span, trial.suggest_categorical(field, [_label(v) for v in span.values]))
    low, high = span.low, span.high
    if span.whole:
        step = 1 if span.step is None else int(span.step)
        return trial.suggest_int(field, int(low), int(high), step=step, log=span.log)
    return trial.suggest_float(field, low, high, step=span.step, log=span.log)


def _label(value: Any) -> Any:
    """``value`` as the journal holds it: what is no plain value as JSON."""
    return json.dumps(value) if isinstance(value, (list, dict)) else value


def _value(span: Choice | Range, label: Any) -> Any:
    """The value that the journal calls ``label``."""
    if isinstance(span, Range):
        return label
    return next(value for value in span.values if _label(value) == label)
