"""A search's journal, and what a trial hears of the others while it trains."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .record import read_history

if TYPE_CHECKING:
    import optuna

#: The journal's file, and the only study in it.
JOURNAL, STUDY = "journal.log", "search"


class NotWorthIt(Exception):  # noqa: N818  # it is no error
    """A trial that the pruner ends."""


def import_optuna() -> Any:
    """The library, silent; ``UsageError`` where it is missing."""
    try:
        import optuna
    except ImportError:
        raise UsageError('a search needs Optuna: pip install "compact-vit[search]"') from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", module=r"optuna\b")
    return optuna


def open_study(folder: Path, pruner: str) -> optuna.Study:
    """The study in ``folder``'s journal, a new one if there is none.

    ``UsageError`` for a journal that is none.
    """
    optuna = import_optuna()
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path = folder / JOURNAL
    ways = {"median": optuna.pruners.MedianPruner, "none": optuna.pruners.NopPruner}
    try:
        return optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(path))),
            study_name=STUDY,
            direction="maximize",
            sampler=optuna.samplers.RandomSampler(),
            pruner=ways[pruner](),
            load_if_exists=True,
        )
    except (OSError, MemoryError):
        raise
    except Exception as error:  # what Optuna makes of a damaged journal has no end
        raise UsageError(
            f"'{path}' is damaged ({error!s:.60}): put a copy in its place, or choose another "
            "--output"
        ) from None


def mend(folder: Path) -> None:
    """Take out of the journal what a kill in the midst of writing has left: nobody may be at work.

    That is the lock of who was writing, and a last line without its end.
    """
    path = folder / JOURNAL
    with contextlib.suppress(FileNotFoundError):
        path.with_name(path.name + ".lock").unlink()
    if path.exists():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with open(path, "r+b") as file:
                file.truncate(whole)


def follow(told: Mapping[str, Any], run: Path) -> Callable[[Mapping[str, Any]], None]:
    """What hears of every epoch of the trial in the folder ``run``, for the journal.

    ``told`` is the journal's ``folder``, its ``pruner``, the trial's ``id`` and its ``epochs``.
    Epochs that the journal has missed are told first. Raises ``NotWorthIt``, now or then, where
    the pruner ends the trial; after the last epoch there is nothing to be saved by it.
    """
    optuna = import_optuna()
    study = open_study(Path(told["folder"]), told["pruner"])
    trial = optuna.trial.Trial(study, told["id"])

    def hear(row: Mapping[str, Any]) -> None:
        if row["epoch"] not in trial.storage.get_trial(told["id"]).intermediate_values:
            trial.report(row["val_accuracy"], row["epoch"])
        if row["epoch"] < told["epochs"] and trial.should_prune():
            raise NotWorthIt

    if not (run / "summary.json").exists():
        for row in read_history(run):
            hear(row)
    return hear
