"""The folder a run writes, which is its public interface, and how to read one back."""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError, tell
from ..files import append_line, check_is_folder, lock, read_json, write_json, write_whole
from ..models.shipped import weights_at
from .checkpoint import newest, previous
from .config import TrainConfig
from .history import read_history

#: What every line of ``metrics.jsonl`` holds, besides accuracies and what was evaluated.
_FIGURES = {"epoch", "lr", "train_loss", "pictures_per_second", "seconds"}

#: Held by the thread of this process that trains; one may train within ``on_epoch``.
_training = threading.RLock()


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps ``config.json``, ``metrics.jsonl``, ``summary.json`` and checkpoints."""

    path: Path

    @property
    def last(self) -> Path:
        return self.path / "last.pt"

    @property
    def best(self) -> Path:
        return self.path / "best.pt"

    @classmethod
    @contextlib.contextmanager
    def create(
        cls, output: str | os.PathLike[str] | None, config: TrainConfig
    ) -> Iterator[RunFolder]:
        """The empty folder ``output``, or a new one under ``runs/``, with ``config.json`` in it.

        Within, it is held as by ``alone``.
        """
        if output is None:
            path = _new_folder(config)
        else:
            path = Path(output)
            check_is_folder(path)
            path.mkdir(parents=True, exist_ok=True)
        folder = cls(path)
        with folder.alone():
            check_output(path)
            folder.write_json("config.json", config.to_dict())
            yield folder

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Within, nobody else trains in the folder; ``UsageError`` if somebody does already.

        The folder itself is locked: that leaves nothing in it, and it may be read-only. What killed
        processes left of their checkpoints is deleted.
        """
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # Windows opens no folders
                handle = os.open(self.path, os.O_RDONLY)
                stack.callback(os.close, handle)
                if not lock(handle):
                    raise UsageError(
                        f"'{self.path}' is being trained by another process: wait for it, or "
                        "choose another output"
                    )
            for left in self.path.glob("*.pt.*tmp"):
                with contextlib.suppress(OSError):
                    left.unlink()
            yield

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunFolder:
        """The folder of an earlier run; ``UsageError`` if it is none."""
        if not isinstance(path, str | os.PathLike):
            raise UsageError(
                f"the run must be given by its folder, got {type(path).__name__}: a TrainResult "
                "has it as output"
            )
        folder = cls(Path(os.path.expanduser(path)))
        if weights_at(path) is not None:
            raise UsageError(
                f"'{path}' is weights and not a run: it can be given to predict --pretrained, to "
                "train --init-from, and to evaluate with --pictures FOLDER or --dataset"
            )
        if not (folder.path / "config.json").is_file():
            raise UsageError(
                f"'{folder.path}' is not the folder of a run: it has no config.json; "
                "give the folder that training named"
            )
        return folder

    def config(self) -> TrainConfig:
        """The run's configuration; ``UsageError`` if the folder's is of something else."""
        values = self.read_json("config.json")
        if not {"dataset", "model"} <= values.keys():
            raise UsageError(
                f"'{self.path}' is not the folder of a run: its config.json is of something else; "
                "give the folder that training named"
            )
        return TrainConfig.from_dict(values)

    def write_json(self, name: str, value: Any) -> None:
        """Write ``value`` as indented JSON, whole or not at all."""
        write_json(self.path / name, value)

    def read_json(self, name: str) -> dict[str, Any]:
        """The object in the file ``name``; ``UsageError`` if it is missing or damaged."""
        try:
            return read_json(self.path / name, _way_out(name))
        except FileNotFoundError:
            raise UsageError(f"'{self.path}' has no {name}: its run has not finished") from None

    def summary(self) -> dict[str, Any] | None:
        """The content of ``summary.json``, None if the run has not finished."""
        exists = (self.path / "summary.json").exists()
        return self.read_json("summary.json") if exists else None

    def begun(self) -> bool:
        """Whether a checkpoint was ever written; a kill may have met the first, after its line."""
        written = (self.last, previous(self.last), self.path / "summary.json")
        return any(path.exists() for path in written) or (self.epochs_logged() or 0) > 1

    def epochs_logged(self) -> int | None:
        """The epochs in ``metrics.jsonl``, None if there is none."""
        log = self.path / "metrics.jsonl"
        return log.read_bytes().count(b"\n") if log.exists() else None

    def newest(self) -> tuple[Path, dict[str, Any]] | None:
        """The newest whole checkpoint and its content; None if the run was stopped before one."""
        if not self.begun():
            return None
        path, content, warning = newest(self.last)
        if warning:
            tell(warning)
        return path, content

    def history(self) -> list[dict[str, Any]]:
        """The whole lines of ``metrics.jsonl``; ``UsageError`` for none, or a damaged log."""
        path = self.path / "metrics.jsonl"
        figures = ("loss", "accuracy") if self.config().objective == "classify" else ("loss",)
        rows = read_history(path, figures)
        if not rows:
            raise UsageError(f"'{self.path}' has no epoch to draw yet: train it first")
        return rows

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Add one epoch's line to ``metrics.jsonl``; it is there before the checkpoint with it.

        Who reads meanwhile finds whole lines, and at most the beginning of one more.
        """
        append_line(self.path / "metrics.jsonl", json.dumps(row))

    def keep_metrics(self, epochs: int, answers: bool) -> list[dict[str, Any]]:
        """The lines of the first ``epochs``; a resumed run writes those after them anew.

        Each has an accuracy if the run learns to give ``answers``.
        """
        path = self.path / "metrics.jsonl"
        if not epochs:  # stopped within the first
            path.unlink(missing_ok=True)
            return []
        try:
            rows = [json.loads(line) for line in path.read_bytes().splitlines()[:epochs]]
            figures = rows[0].keys() | _FIGURES | ({"train_accuracy"} if answers else set())
            whole = len(rows) == epochs and all(
                row["epoch"] == number and all(math.isfinite(row[name]) for name in figures)
                for number, row in enumerate(rows, 1)
            )
        except (
            FileNotFoundError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            RecursionError,
            OverflowError,
        ):  # the last two: brackets or digits without an end
            whole = False
        if not whole:
            raise UsageError(f"'{path}' does not hold epochs 1 to {epochs}: train again")
        text = "".join(json.dumps(row) + "\n" for row in rows).encode()
        if path.read_bytes() != text:  # a finished run may lie where nothing can be written
            write_whole(path, text)
        return rows


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Within, no other thread of this process trains; ``UsageError`` if one does already.

    What a step draws is drawn by torch's global generator, which two would seed for each other.
    """
    if not _training.acquire(blocking=False):
        raise UsageError(
            "another thread of this process trains: wait for it, or train in a process of its own"
        )
    try:
        yield
    finally:
        _training.release()


def _new_folder(config: TrainConfig) -> Path:
    """A folder under ``runs/`` that nobody else was given, named after the run and the time."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    wanted = Path("runs") / f"{config.dataset}-{config.model.replace('/', '-')}-{stamp}"
    check_is_folder(wanted.parent)
    path, copies = wanted, 1
    while True:
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            copies += 1
            path = wanted.with_name(f"{wanted.name}-{copies}")
        else:
            return path


def _way_out(name: str) -> str:
    """What to do about a run's file that is damaged."""
    if name == "summary.json":
        return "delete it, and --resume writes it anew"
    return "put a copy in its place, or train again"


def _is_configuration(path: Path) -> bool:
    """Whether ``path`` is the ``config.json`` of a run, and not somebody else's."""
    if path.name != "config.json":
        return False
    try:
        return {"dataset", "model"} <= read_json(path, "").keys()
    except UsageError:
        return False


def check_output(path: Path) -> None:
    """Refuse an output that exists and is not an empty folder, or cannot be one.

    A run that ended before its first checkpoint left only its configuration, or a file half
    written: that is as good as empty.
    """
    check_is_folder(path)
    if path.is_dir() and any(
        entry.suffix != ".tmp" and not _is_configuration(entry) for entry in path.iterdir()
    ):
        raise UsageError(
            f"output '{path}' is not empty: choose another, or --resume it if it is a run"
        )
