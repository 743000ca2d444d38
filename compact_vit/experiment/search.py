"""A search by Optuna: trials picked by the validation split, the test set looked at once."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checks import is_real
from ..errors import Stopped, UsageError, tell
from ..files import read_json, write_json
from ..tables import Column, comma_separated, render, write_text
from .fields import check_split, check_there, configured
from .journal import JOURNAL, import_optuna, mend
from .plan import EXPERIMENT, PAGE, RESULTS, TABLE, Experiment, as_experiment
from .pool import alone_in, prepare_output, run_all, threads_each
from .record import AGAIN
from .space import Choice, Search
from .table import field_columns
from .trials import Trials, run_name
from .words import in_words, shown

BEST, SEARCH_PICTURE = "best.json", "search.png"
_FIGURES = ("trial", "epoch", "val_accuracy", "test_accuracy", "n")  # of best.json


@dataclass(frozen=True)
class SearchResult:
    """What a search came to."""

    output: Path
    rows: list[dict[str, Any]]
    """One a trial: its number, its state, its values, ``val_accuracy``, ``seconds``, ``error``."""
    best: dict[str, Any] | None
    """The content of ``best.json``; None as long as trials are unfinished."""
    looks: int
    """How often the test set has been looked at, with fewer trials too."""

    @property
    def failed(self) -> int:
        """Trials that neither finished nor were pruned."""
        return sum(row["state"] in ("failed", "unfinished") for row in self.rows)


def run_search(
    experiment: Experiment | str | os.PathLike[str],
    *,
    output: str | os.PathLike[str] | None = None,
    cores: int | None = None,
    workers: int = 1,
    retry: bool = False,
    quiet: bool = False,
) -> SearchResult:
    """Go on with ``experiment``'s search in ``output`` until all its trials have ended.

    A trial's value is the highest validation accuracy of its epochs, percent; ``pruner`` ends one
    that is below the others' median. The best one is tested at the end. ``experiment``, ``output``,
    ``cores``, ``workers`` and ``retry`` are as in ``run_grid``. The same file on one worker gives
    the same trials, also where a search was stopped or killed and called again: a trial under way
    goes on in its folder. Raises ``UsageError``, before anything is written, for what cannot be
    searched, and ``Stopped``, every trial saved, on SIGTERM and SIGINT.
    """
    experiment = as_experiment(experiment)
    search = experiment.search
    if search is None:
        raise UsageError(f"'{experiment.path}' has no search: give what it is to look through")
    shared = _check(experiment, search)
    import_optuna()
    threads = threads_each(cores, workers)
    folder, described = prepare_output(experiment.path, output), _described(experiment, search)
    _check_same(folder, described)
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder) as lock:
        _check_same(folder, described)  # as it is now that nobody works there
        mend(folder)
        _best_before(folder)  # damage is said before any trial
        write_json(folder / EXPERIMENT, described)

        def heard(number: int, row: Mapping[str, Any]) -> None:
            _write(folder, trials.rows(), search, None)
            if not quiet:
                tell(_line(number, row, search))

        trials = Trials(search, shared, folder, threads, workers, retry, heard)
        if not quiet:
            begun = f"{len(trials.rows())} of {search.trials} trials begun"
            tell(f"{begun}; writing to {folder}")
        try:
            run_all(trials.jobs(), workers, threads, trials.heard, lock)
        except Stopped as stop:
            done = sum(row["state"] != "unfinished" for row in trials.rows())
            raise Stopped(
                f"{stop}, {done} of {search.trials} trials ended and the others saved: go on with "
                "the same command",
                stop.status,
            ) from None
        return _finish(folder, trials.rows(), search)


def _line(number: int, row: Mapping[str, Any], search: Search) -> str:
    """What is said of a trial that ended."""
    figure = "" if row["val_accuracy"] is None else f", {row['val_accuracy']:.2f}% val accuracy"
    error = f": {row['error']}" if row["error"] else ""
    return f"[{number + 1}/{search.trials}] {row['state']}{figure}{error}"


def _check(experiment: Experiment, search: Search) -> dict[str, Any]:
    """What all trials share; ``UsageError`` for what cannot be searched.

    Every end and every value of the space is tried out, the other fields at their first.
    """
    path = experiment.path
    for field in ("report_on", *search.space):
        if field in experiment.train:
            why = "a search reports on val" if field == "report_on" else "it is searched"
            raise UsageError(f"'{path}': {field} must not be in train or set: {why}")
    if "report_on" in search.space:
        raise UsageError(f"'{path}': report_on must not be searched: a search reports on val")
    shared = experiment.train | {"report_on": "val"}
    ends = {
        field: span.values if isinstance(span, Choice) else (span.low, span.high)
        for field, span in search.space.items()
    }
    first = {field: values[0] for field, values in ends.items()}
    for field, values in ends.items():
        for value in values:
            try:
                config = configured(shared | first | {field: value})
            except UsageError as error:
                where = f"with {field} {shown(value):.40}"
                raise UsageError(f"'{path}', {where}: {error}") from None
            check_split(path, config)
            check_there(path, config)
    return shared


def _described(experiment: Experiment, search: Search) -> dict[str, Any]:
    """What is written of the search, as JSON brings it back."""
    whole = {
        "file": str(experiment.path),
        "train": experiment.train,
        "search": dataclasses.asdict(search),
    }
    return json.loads(json.dumps(whole))


def _check_same(folder: Path, described: Mapping[str, Any]) -> None:
    """Refuse to go on with a grid, or another search than this; it may have more trials."""
    if (folder / RESULTS).exists():
        raise UsageError(f"'{folder}' holds a grid, and this is a search: choose another --output")
    if not (folder / JOURNAL).exists():
        return
    path, way_out = folder / EXPERIMENT, "put a copy in its place, or choose another --output"
    try:
        was = _by_key(read_json(path, way_out))
    except FileNotFoundError:
        raise UsageError(f"'{path}' is missing: {way_out}") from None
    except (KeyError, TypeError, AttributeError):  # no objects where there must be some
        raise UsageError(f"'{path}' is damaged: {way_out}") from None
    now = _by_key(described)
    for key in sorted(was.keys() | now.keys()):
        if was.get(key) != now.get(key):
            raise UsageError(
                f"'{folder}' holds a search with another {key}: choose another --output, or "
                "delete it"
            )


def _by_key(described: Mapping[str, Any]) -> dict[str, Any]:
    """What trials depend on, by the keys of the file: ``train.lr``, ``search.lr``, ``seed``."""
    search = described["search"]
    parts = {"train": described["train"], "search": search["space"]}
    found = {f"{part}.{key}": v for part, values in parts.items() for key, v in values.items()}
    return found | {key: search.get(key) for key in ("sampler", "pruner", "seed")}


def _finish(folder: Path, rows: list[dict[str, Any]], search: Search) -> SearchResult:
    """Test the best trial if all have ended, write the tables, and draw the search."""
    from ..plots import save_figure
    from .search_drawn import draw_search

    finished = [row for row in rows if row["state"] == "finished"]
    best = None
    if finished and all(row["state"] != "unfinished" for row in rows):
        best = _tested(folder, max(finished, key=lambda row: row["val_accuracy"]), search)
    looks = len(_best_before(folder)["tested"])
    if any(row["val_accuracy"] is not None for row in rows):
        title = f"{folder.name}: {len(rows)} trials"
        save_figure(draw_search(rows, search.space, title), folder / SEARCH_PICTURE)
    _write(folder, rows, search, best)
    return SearchResult(folder, rows, best, looks)


def _best_before(folder: Path) -> dict[str, Any]:
    """What ``best.json`` has said so far; ``UsageError`` if it is damaged."""
    path, way_out = folder / BEST, "delete it, and the best trial is tested again"
    if not path.exists():
        return {"tested": []}
    best = read_json(path, way_out)
    figures = all(is_real(best.get(key)) for key in _FIGURES)
    if not (figures and isinstance(best.get("tested"), list)):
        raise UsageError(f"'{path}' is damaged: {way_out}")
    return best


def _tested(folder: Path, row: Mapping[str, Any], search: Search) -> dict[str, Any]:
    """What ``best.json`` says of the trial of ``row``, which is tested unless it has been.

    It lists all trials that were ever tested: with each the test set was looked at once more.
    """
    path, name = folder / BEST, run_name(row["trial"])
    before = _best_before(folder)
    if before.get("trial") == row["trial"]:
        return before
    from ..evaluate import evaluate_run

    trained, evaluation = evaluate_run(folder / name)
    best = {
        "trial": row["trial"],
        "run": name,
        "values": {field: row[field] for field in search.space},
        "epoch": trained.epoch,
        "val_accuracy": row["val_accuracy"],
        "val_n": read_json(folder / name / "summary.json", AGAIN)["best"]["n"],
        "test_accuracy": evaluation.accuracy,
        "test_loss": evaluation.loss,
        "n": evaluation.n,
        "tested": [*before["tested"], row["trial"]],
        "config": trained.config.to_dict(),
    }
    write_json(path, best)
    return _best_before(folder)


def _write(
    folder: Path, rows: Sequence[Mapping[str, Any]], search: Search, best: Mapping[str, Any] | None
) -> None:
    write_text(folder / TABLE, comma_separated(list(map(in_words, rows))))
    looks = len(_best_before(folder)["tested"])
    write_text(folder / PAGE, told("markdown", rows, list(search.space), best, looks))


def told(
    format: str,
    rows: Sequence[Mapping[str, Any]],
    fields: Sequence[str],
    best: Mapping[str, Any] | None,
    looks: int,
) -> str:
    """The table of the trials and the best one, in one of ``tables.FORMATS``.

    ``looks`` says how often the test set has been looked at.
    """
    columns = [
        Column("trial", "trial"),
        Column("state", "state", text=True),
        *field_columns(fields),
        Column("val_accuracy", "highest\nval accuracy %", "{:.2f}".format),
        Column("epoch", "epochs\ntrained"),
        Column("seconds", "seconds", "{:,.1f}".format),
        Column("error", "why", text=True),
    ]
    notes = ["highest val accuracy: over the epochs; it is what trials are compared by"]
    if best is None and looks:
        left = sum(row["state"] == "unfinished" for row in rows)
        notes.append(
            f"the test set has been looked at {'once' if looks == 1 else f'{looks} times'} before; "
            f"trials unfinished now: {left}"
        )
    elif best is None:
        notes.append("the test set has not been looked at: trials are unfinished, or none finished")
    else:
        often = "once, at the end" if looks == 1 else f"{looks} times, each after more trials"
        notes.append(
            f"best: trial {best['trial']}, epoch {best['epoch']}: {best['val_accuracy']:.2f}% val "
            f"accuracy, {best['test_accuracy']:.2f}% test accuracy on {best['n']:,} pictures; the "
            f"test set was looked at {often}"
        )
    return render(format, columns, rows, {}, notes)
