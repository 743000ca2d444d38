"""A grid, run: what is finished is left alone, what is not goes on, and all of it is compared."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import Stopped, UsageError, tell
from ..files import read_json, write_json
from ..tables import comma_separated, duration, render, write_text
from .child import REFUSED
from .fields import check_there
from .journal import JOURNAL
from .plan import (
    EXPERIMENT,
    MEANS,
    PAGE,
    PICTURE,
    RESULTS,
    TABLE,
    Experiment,
    Planned,
    as_experiment,
    plan_runs,
)
from .pool import CHILD, Ended, Job, alone_in, prepare_output, run_all, threads_each
from .record import AGAIN, NOTHING, comparable, row_of, state_of
from .table import mean_columns, mean_notes, means, notes, run_columns
from .words import in_words


@dataclass(frozen=True)
class GridResult:
    """What a grid came to."""

    output: Path
    rows: list[dict[str, Any]]
    """One a run: ``name``, the values varied, ``state``, the figures, ``error``."""
    means: list[dict[str, Any]]
    """Over the seeds, if they vary."""

    @property
    def failed(self) -> int:
        """Runs that did not finish."""
        return sum(row["state"] != "finished" for row in self.rows)


def run_grid(
    experiment: Experiment | str | os.PathLike[str],
    *,
    output: str | os.PathLike[str] | None = None,
    cores: int | None = None,
    workers: int = 1,
    retry: bool = False,
    quiet: bool = False,
) -> GridResult:
    """Run all of ``experiment``'s grid that is not finished in ``output``, and compare the whole.

    ``experiment`` is what ``read_experiment`` returns, or the path of such a file. By default
    ``output`` is a folder under ``runs/`` with the file's name. ``workers`` runs are at work at
    once, on ``cores // workers`` threads each. A run that cannot be, as its loss is not finite, is
    recorded with the reason and not tried again without ``retry``; one that was killed goes on in
    the next call. Raises ``UsageError``, before anything is written, for what any run's
    configuration alone shows to be wrong, and ``Stopped``, every run saved, on SIGTERM and SIGINT.
    """
    experiment = as_experiment(experiment)
    runs = plan_runs(experiment)
    for run in runs:
        check_there(experiment.path, run.config)
    threads = threads_each(cores, workers)
    folder = prepare_output(experiment.path, output)
    grid = _Grid.look(experiment, runs, folder, retry)
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder) as lock:
        grid = _Grid.look(experiment, runs, folder, retry)  # as it is now that nobody works there
        grid.begin()
        progress = _Progress(grid, quiet)
        progress.begin(workers, threads)
        jobs = [grid.job(run, threads) for run in runs if grid.states[run.name] in _TO_DO]
        try:
            run_all(jobs, workers, threads, progress.heard, lock)
        except Stopped as stop:
            grid.write()
            done = sum(state == "finished" for state in grid.states.values())
            raise Stopped(
                f"{stop}, {done} of {len(runs)} runs finished and the others saved: go on with the "
                "same command",
                stop.status,
            ) from None
        return grid.finish()


_TO_DO = ("new", "unfinished")


@dataclass
class _Grid:
    """The runs, their folder, and what each has come to so far."""

    experiment: Experiment
    runs: Sequence[Planned]
    folder: Path
    states: dict[str, str]
    """``new``, ``unfinished``, ``finished`` or ``failed`` by name."""
    failures: dict[str, dict[str, Any]]
    """By name, the ``error`` and the ``config`` of runs that cannot be."""
    errors: dict[str, str] = field(default_factory=dict)
    """By name, why a run has not finished."""

    @classmethod
    def look(
        cls, experiment: Experiment, runs: Sequence[Planned], folder: Path, retry: bool
    ) -> _Grid:
        """What is there in ``folder``; ``UsageError`` if it is another experiment's."""
        _check_own(experiment, runs, folder)
        path = folder / RESULTS
        failures: dict[str, dict[str, Any]] = {}
        if path.exists():
            failures = _failures(path)
        states = {run.name: state_of(folder / run.name, run.config) for run in runs}
        grid = cls(experiment, runs, folder, states, failures)
        for run in runs:
            known = failures.get(run.name)
            if states[run.name] == "finished" or known is None:
                continue
            if not retry and known.get("config") == comparable(run.config):
                states[run.name], grid.errors[run.name] = "failed", str(known.get("error"))
        return grid

    def job(self, run: Planned, threads: int) -> Job:
        told = {
            "config": run.config.to_dict(),
            "output": str(self.folder / run.name),
            "threads": threads,
        }
        return Job(run.name, CHILD, told)

    def begin(self) -> None:
        """Write what is going to be done."""
        whole = {
            "file": os.path.abspath(self.experiment.path),
            "runs": [
                {"name": run.name, "varied": run.varied, "config": run.config.to_dict()}
                for run in self.runs
            ],
        }
        write_json(self.folder / EXPERIMENT, whole)
        self.write()

    def heard(self, ended: Ended) -> None:
        """Take down how a run ended."""
        name = ended.name
        self.errors.pop(name, None)
        self.failures.pop(name, None)
        if ended.status == 0:
            self.states[name] = "finished"
        else:
            self.errors[name] = ended.reason
            self.states[name] = "failed" if ended.status == REFUSED else "unfinished"
        if ended.status == REFUSED:
            config = next(run.config for run in self.runs if run.name == name)
            self.failures[name] = {"error": ended.reason, "config": comparable(config)}
        self.write()

    def row(self, run: Planned) -> dict[str, Any]:
        """What the table says of ``run``."""
        state, folder = self.states[run.name], self.folder / run.name
        figures = NOTHING
        if state == "finished":
            figures = row_of(folder, read_json(folder / "summary.json", AGAIN))
        error = None if state == "finished" else self.errors.get(run.name, "not begun")
        return {"name": run.name, **run.varied, "state": state, **figures, "error": error}

    def write(self) -> GridResult:
        """Write the tables of what there is."""
        fields = list(self.runs[0].varied)
        rows = [self.row(run) for run in self.runs]
        averaged = means(rows, fields)
        results = {"rows": rows, "means": averaged, "notes": notes(rows), "failed": self.failures}
        write_json(self.folder / RESULTS, results)
        write_text(self.folder / TABLE, comma_separated(list(map(in_words, rows))))
        write_text(self.folder / PAGE, told("markdown", rows, averaged, fields))
        if averaged:
            write_text(self.folder / MEANS, comma_separated(list(map(in_words, averaged))))
        else:  # of the grid as it was
            (self.folder / MEANS).unlink(missing_ok=True)
        return GridResult(self.folder, rows, averaged)

    def finish(self) -> GridResult:
        """Write the tables and draw the comparison."""
        from ..plots import save_figure
        from .drawn import draw

        result = self.write()
        finished = [run for run in self.runs if self.states[run.name] == "finished"]
        if finished:
            figure = draw(self.experiment, finished, self.folder, result.rows)
            save_figure(figure, self.folder / PICTURE)
        else:
            (self.folder / PICTURE).unlink(missing_ok=True)
        return result


def _failures(path: Path) -> dict[str, dict[str, Any]]:
    """The failures in the results ``path``, by name; ``UsageError`` if they are damaged."""
    way_out = "delete it, and what has failed is tried again"
    failures = read_json(path, way_out).get("failed", {})
    if not isinstance(failures, dict) or not all(isinstance(v, dict) for v in failures.values()):
        raise UsageError(f"'{path}' is damaged: {way_out}")
    return failures


def _check_own(experiment: Experiment, runs: Sequence[Planned], folder: Path) -> None:
    """Refuse a ``folder`` whose tables are of a search, or of runs that another file has."""
    if (folder / JOURNAL).exists():
        raise UsageError(f"'{folder}' holds a search, and this is a grid: choose another --output")
    before: dict[str, Any] = {}
    with contextlib.suppress(FileNotFoundError, UsageError):  # damaged, it is written anew
        before = read_json(folder / EXPERIMENT, AGAIN)
    names = {run.name for run in runs}
    lost: list[str] = []
    with contextlib.suppress(KeyError, TypeError):  # likewise
        old, new = before["file"], os.path.abspath(experiment.path)
        moved = not os.path.exists(old) and os.path.basename(old) == os.path.basename(new)
        if old != new and not moved:
            lost = [run["name"] for run in before["runs"] if run["name"] not in names]
    if lost:
        raise UsageError(
            f"'{folder}' holds the grid of '{before['file']}', whose {lost[0]} "
            f"'{experiment.path}' has not: choose another --output"
        )


def told(
    format: str,
    rows: Sequence[Mapping[str, Any]],
    averaged: Sequence[Mapping[str, Any]],
    fields: Sequence[str],
) -> str:
    """The tables with what they cannot be read without, in one of ``tables.FORMATS``."""
    text = render(format, run_columns(rows, fields), rows, {}, notes(rows))
    if averaged:
        columns = mean_columns(rows, fields)
        text += "\n\n" + render(format, columns, averaged, {}, mean_notes(rows))
    return text


class _Progress:
    """A line on standard error for every run that ended, unless ``quiet``."""

    def __init__(self, grid: _Grid, quiet: bool) -> None:
        self.grid, self.quiet = grid, quiet
        self.started, self.ended, self.stopped = time.perf_counter(), 0, False
        self.to_do = sum(state in _TO_DO for state in grid.states.values())

    def begin(self, workers: int, threads: int) -> None:
        counts = Counter(self.grid.states.values())
        states = ", ".join(f"{counts[state]} {state}" for state in counts)
        self._say(
            f"{len(self.grid.runs)} runs ({states}), {workers} at once with {threads} "
            f"thread{'s' * (threads > 1)} each; writing to {self.grid.folder}"
        )

    def heard(self, ended: Ended) -> None:
        self.grid.heard(ended)
        self.ended += 1
        row = next(self.grid.row(run) for run in self.grid.runs if run.name == ended.name)
        if row["error"] is None:
            text = f"lowest {row['watched']} loss {row['lowest_loss']:.4f}"
            if row["accuracy"] is not None:
                text = f"{row['accuracy']:.2f}% {row['split']} accuracy"
            text += f", {duration(row['seconds'])}"
        else:
            text = f"{row['state']}: {row['error']}"
        line, left = f"[{self.ended}/{self.to_do}] {ended.name}: {text}", self.to_do - self.ended
        self.stopped |= row["state"] == "unfinished"
        if left and not self.stopped:
            spent = time.perf_counter() - self.started
            line += f"; about {duration(spent / self.ended * left)} left"
        self._say(line)

    def _say(self, text: str) -> None:
        if not self.quiet:
            tell(text)
