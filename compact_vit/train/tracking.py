"""What a run tells to TensorBoard and to Weights & Biases, where ``track`` asks for it.

Neither is imported before a run begins. What they show is told to them from ``metrics.jsonl``'s
rows, which remain the truth: whoever fails is left out, and the run goes on.
"""

from __future__ import annotations

import contextlib
import importlib.util
import netrc
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from ..errors import UsageError, unknown
from ..files import write_whole
from ..plots.curves import WATCHED

TRACKERS = ("tensorboard", "wandb")

#: What is shown of ``summary.json``, by its path there.
_RESULTS = (
    "final/accuracy", "final/loss", "best/accuracy", "best/epoch",
    "parameters", "parameters_without_positions", "macs", "score/value",
)  # fmt: skip

#: wandb's own variables, where they are not set: no word, no report of its errors to its makers,
#: which is the one thing that reaches for a network offline, and no end that waits for one.
_WANDB = {
    "WANDB_SILENT": "true",
    "WANDB_CONSOLE": "off",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_INIT_TIMEOUT": "20",
    "WANDB_FINISH_TIMEOUT": "30",
    "WANDB_PROJECT": "compact-vit",
}


#: Where wandb looks for a key too, which was made before its server moved.
_MOVED = {"api.forge.coreweave.com": "api.wandb.ai"}


def check_track(names: Sequence[str]) -> None:
    """Refuse a name that is no tracker, or given twice. Imports nothing."""
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        raise UsageError(f"track must be names of {', '.join(TRACKERS)}, got {names!r}")
    for name in names:
        if name not in TRACKERS:
            raise unknown("track", name, TRACKERS)
        if names.count(name) > 1:
            raise UsageError(f"track must hold {name!r} once, got {', '.join(names)}")


def need_packages(names: Sequence[str]) -> None:
    """Refuse what is not installed, before anything is written. Imports nothing."""
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:  # a folder wandb/ of runs is found too
            way_out = 'pip install "compact-vit[track]"'
            raise UsageError(f"--track {name} needs the package {name}: {way_out}")


class Tracker(Protocol):
    """One who is told of a run."""

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Take a line of ``metrics.jsonl``."""

    def end(self, summary: Mapping[str, Any]) -> None:
        """Take what ``summary.json`` holds."""

    def close(self, finished: bool) -> None:
        """Write what is left; a run that has not ``finished`` goes on another time."""


class Tracking:
    """All trackers of a run, as one that never fails.

    Where one fails, ``say`` is given one line, and it is told nothing any more.
    """

    def __init__(
        self,
        names: Sequence[str],
        folder: Path,
        config: Mapping[str, Any],
        history: Sequence[Mapping[str, Any]],
        say: Callable[[str], None],
    ) -> None:
        """Begin in the run's ``folder``, or go on after the epochs of ``history``."""
        self._say = say
        self._trackers: dict[str, Tracker] = {}
        for name in names:
            with self._guarded(name):
                if name == "tensorboard":
                    self._trackers[name] = _TensorBoard(folder, config, history)
                else:
                    self._trackers[name] = _WandB(folder, config, history, say)

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Tell of an epoch, by its line in ``metrics.jsonl``."""
        for name, tracker in list(self._trackers.items()):
            with self._guarded(name):
                tracker.epoch(row)

    def end(self, summary: Mapping[str, Any]) -> None:
        """Tell of the whole run, by its ``summary.json``, and close."""
        for name, tracker in list(self._trackers.items()):
            with self._guarded(name):
                tracker.end(summary)
        self.close(finished=True)

    def close(self, finished: bool = False) -> None:
        """Leave a run that stops before its end; after ``end`` there is nothing left to do."""
        for name, tracker in list(self._trackers.items()):
            with self._guarded(name):
                tracker.close(finished)
        self._trackers.clear()

    @contextlib.contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of disk, network, package: none may end the run
            reason = " ".join(str(error).split()) or type(error).__name__
            self._say(f"warning: {name} fails, and the run goes on without it: {reason:.200}")
            tracker = self._trackers.pop(name, None)
            if tracker is not None:
                with contextlib.suppress(Exception):
                    tracker.close(finished=False)


def _figures(row: Mapping[str, Any]) -> dict[str, float]:
    """A row's figures by what they are called in plots: ``loss/train``, ``top5/val``, ``lr``."""
    figures: dict[str, float] = {}
    for name, value in row.items():
        split, _, figure = name.partition("_")
        if split in ("train", *WATCHED):
            figures[f"{figure}/{split}"] = value
        elif name != "epoch":
            figures[name] = value
    return figures


def _results(summary: Mapping[str, Any]) -> dict[str, float]:
    """The numbers that a run comes to; a run that learns no classes has fewer."""
    results: dict[str, float] = {}
    for path in _RESULTS:
        value: Any = summary
        for name in path.split("/"):
            value = (value or {}).get(name)
        if value is not None:
            results[path] = value
    return results


class _TensorBoard:
    """Event files in ``RUN/tensorboard``, one each time that the run is begun or resumed.

    The second begins with a session's start at the first epoch to come, from which on TensorBoard
    forgets what the first says. Written as they come: the writer of ``torch.utils.tensorboard`` has
    a thread for it, which tells of a full disk in a traceback.
    """

    def __init__(
        self, folder: Path, config: Mapping[str, Any], history: Sequence[Mapping[str, Any]]
    ) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter
        from torch.utils.tensorboard.summary import hparams

        self._new_event, self._new_summary = Event, Summary
        home = folder / "tensorboard"
        home.mkdir(exist_ok=True)
        number = sum(1 for _ in home.iterdir())  # for two within a second
        path = home / f"events.out.tfevents.{time.time():010.0f}.{number:04d}"
        self._file = RecordWriter(open(path, "xb", buffering=0))  # noqa: SIM115
        now, start = time.time(), SessionLog(status=SessionLog.START)
        self._add(Event(wall_time=now, file_version="brain.Event:2"))
        self._add(Event(wall_time=now, step=len(history) + 1, session_log=start))
        chosen = {k: v if type(v) in (int, float) else str(v) for k, v in config.items()}
        *begin, self._session_end = hparams(chosen, dict.fromkeys(_RESULTS))
        for summary in begin:
            self._write(0, summary)

    def epoch(self, row: Mapping[str, Any]) -> None:
        self._write_numbers(row["epoch"], _figures(row))

    def end(self, summary: Mapping[str, Any]) -> None:
        self._write_numbers(summary["final"]["epoch"], _results(summary))
        self._write(0, self._session_end)

    def close(self, finished: bool) -> None:
        self._file.close()

    def _write_numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        value = self._new_summary.Value
        values = [value(tag=tag, simple_value=number) for tag, number in numbers.items()]
        self._write(step, self._new_summary(value=values))

    def _write(self, step: int, summary: Any) -> None:
        self._add(self._new_event(step=step, wall_time=time.time(), summary=summary))

    def _add(self, event: Any) -> None:
        self._file.write(event.SerializeToString())


class _WandB:
    """A run of Weights & Biases in ``RUN/wandb``, with the epoch as the step of its history.

    It keeps its id in ``RUN/wandb/id``. Online a resumed run is the same run there
    (``resume="allow"``), and is told the epochs that it does not have. Offline wandb cannot resume:
    it begins another folder with the same id, and ``wandb sync`` of one replaces the other. So the
    new one is told all epochs from the first, and at its end the older ones are removed: the folder
    that is left holds the run, each epoch once.

    Without a login it is offline, whatever ``WANDB_MODE`` says, and so it is where the server does
    not answer; wandb's other variables hold.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        history: Sequence[Mapping[str, Any]],
        say: Callable[[str], None],
    ) -> None:
        for name, value in _WANDB.items():
            os.environ.setdefault(name, value)
        import wandb

        home = folder.resolve() / "wandb"
        home.mkdir(exist_ok=True)
        if not (home / "id").exists():
            write_whole(home / "id", secrets.token_hex(4).encode())
        name = (home / "id").read_text(encoding="utf-8").strip()
        self._older = list(home.glob(f"offline-run-*-{name}"))

        def begin(mode: Literal["offline"] | None) -> Any:
            return wandb.init(
                dir=home.parent,
                id=name,
                resume="allow",
                name=os.environ.get("WANDB_NAME", home.parent.name),
                config=dict(config),
                mode=mode,
            )

        reason = _offline_because(wandb.setup().settings)
        if reason is None:
            try:
                self._run = begin(None)
            except wandb.errors.CommError as error:
                reason = " ".join(str(error).split())[:100]
                wandb.teardown(exit_code=1)  # which lets go of the id
        if reason is not None:
            self._run = begin("offline")
            say(f"wandb is offline ({reason}): wandb sync {home}/offline-run-* sends it later")
        self._run.define_metric("epoch")
        self._run.define_metric("*", step_metric="epoch")
        for row in history[max(self._run.starting_step - 1, 0) :]:
            self.epoch(row)

    def epoch(self, row: Mapping[str, Any]) -> None:
        self._run.log({"epoch": row["epoch"], **_figures(row)}, step=row["epoch"], commit=True)

    def end(self, summary: Mapping[str, Any]) -> None:
        self._run.summary.update(_results(summary))

    def close(self, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)
        if not self._run.disabled:
            for folder in self._older:
                shutil.rmtree(folder, ignore_errors=True)


def _offline_because(settings: Any) -> str | None:
    """Why wandb must not go online as its ``settings`` say, if it would; it is not to ask."""
    if settings.mode not in ("online", "run", "shared"):
        return None
    known = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")
    if settings.api_key or any(os.environ.get(name) for name in known):
        return None
    host = urlsplit(settings.base_url).netloc
    path = os.environ.get("NETRC") or Path.home() / ("_netrc" if os.name == "nt" else ".netrc")
    with contextlib.suppress(OSError, netrc.NetrcParseError):
        keys = netrc.netrc(str(path))
        if keys.authenticators(host) or (host in _MOVED and keys.authenticators(_MOVED[host])):
            return None
    return "not logged in"
