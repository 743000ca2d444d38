"""Processes at work at once: started as there is room, stopped together, none left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from ..data.decoding import usable_cores
from ..errors import Stopped, UsageError, tell
from ..files import check_is_folder, lock
from ..train.interrupt import Stopper

#: The module that runs one run.
CHILD = "compact_vit.experiment.child"

#: Seconds between two looks at the processes.
_LOOK = 0.05

#: Seconds that runs of an experiment killed before are given to save and leave.
_PATIENCE = 60.0

#: What libraries read, each its own, for the number of their threads.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def prepare_output(file: Path, output: str | os.PathLike[str] | None) -> Path:
    """The folder of the experiment in ``file``, by default under ``runs/``; it is not made yet.

    ``UsageError`` if a file is in its way.
    """
    folder = Path("runs") / file.stem if output is None else Path(output)
    check_is_folder(folder)
    return folder


def threads_each(cores: int | None, workers: int) -> int:
    """The threads of each of ``workers`` runs at once on ``cores``.

    By default ``cores`` are the machine's, and no run has more threads than ``OMP_NUM_THREADS``.
    """
    most = os.environ.get("OMP_NUM_THREADS", "") if cores is None else ""
    cores = cores or usable_cores()
    if workers > cores:
        raise UsageError(f"workers must be at most the {cores} cores, got {workers}")
    each = cores // workers
    return min(each, int(most)) if most.isdecimal() and int(most) else each


class Job(NamedTuple):
    """What a process is to do."""

    name: str
    module: str
    """That runs it, and reads ``told`` in a line of JSON."""
    told: dict[str, Any]


class Ended(NamedTuple):
    """How a process ended."""

    name: str
    status: int
    """Its exit status, negative by a signal."""
    said: str
    """The last line on its standard error."""

    @property
    def reason(self) -> str:
        """Why it ended, for one that did not end well."""
        if self.status < 0:
            try:
                name = signal.Signals(-self.status).name
            except ValueError:  # few of the real-time signals have one
                name = f"signal {-self.status}"
            guess = ", as where memory runs out" if -self.status == signal.SIGKILL else ""
            return f"killed by {name}{guess}"
        return self.said or f"left with status {self.status}"


@dataclass(frozen=True)
class _Child:
    job: Job
    process: subprocess.Popen[bytes]
    errors: IO[bytes]

    @classmethod
    def start(cls, job: Job, threads: int, lock: int | None) -> _Child:
        environment = os.environ | dict.fromkeys(_THREADS, str(threads))
        errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        process = subprocess.Popen(
            [sys.executable, "-m", job.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=environment,
            # so that Ctrl-C reaches the experiment alone, which passes it on once
            start_new_session=True,
            pass_fds=() if lock is None else (lock,),
        )
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has gone: its status says why
            process.stdin.write(f"{json.dumps(job.told)}\n".encode())
            process.stdin.flush()
        return cls(job, process, errors)

    def ended(self) -> Ended | None:
        status = self.process.poll()
        if status is None:
            return None
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        self.close()
        return Ended(self.job.name, status, lines[-1].removeprefix("error: ") if lines else "")

    def close(self) -> None:
        self.errors.close()
        with contextlib.suppress(OSError):
            self.process.stdin.close()  # type: ignore[union-attr]


def run_all(
    jobs: Iterable[Job],
    workers: int,
    threads: int,
    on_end: Callable[[Ended], None],
    lock: int | None = None,
) -> None:
    """Do ``jobs`` in turn, ``workers`` at once with ``threads`` each; ``on_end`` hears of each.

    The next job is asked for when there is room for it, and ``on_end`` has heard of those before.
    On SIGTERM or SIGINT all that are at work are asked to save and waited for, and ``Stopped`` is
    raised; a second SIGINT kills them. They hold ``lock``, a file's number, as long as they live.
    """
    waiting, at_work = iter(jobs), list[_Child]()
    try:
        with Stopper() as stopper:
            while True:
                while len(at_work) < workers and (job := next(waiting, None)) is not None:
                    at_work.append(_Child.start(job, threads, lock))
                if not at_work:
                    return
                time.sleep(_LOOK)
                at_work = _look(at_work, on_end)
                try:
                    stopper.check()
                except Stopped:
                    _stop(at_work, on_end)
                    raise
    finally:
        for child in at_work:  # by a second Ctrl-C, or an error of our own
            if child.process.poll() is None:
                child.process.kill()
                child.process.wait()
            child.close()


def _look(children: list[_Child], on_end: Callable[[Ended], None]) -> list[_Child]:
    """Those still at work."""
    left = []
    for child in children:
        ended = child.ended()
        if ended is None:
            left.append(child)
        else:
            on_end(ended)
    return left


def _stop(children: list[_Child], on_end: Callable[[Ended], None]) -> None:
    """Ask all to save and leave, and wait until they have."""
    for child in children:
        child.process.terminate()
    while children:
        time.sleep(_LOOK)
        children[:] = _look(children, on_end)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[int | None]:
    """Within, no other experiment works in ``folder``, by a lock that runs of this one hold too.

    Gives the lock's number to pass on; None where no process inherits one. Runs of an experiment
    that was killed are waited for, then ``UsageError``.
    """
    with open(folder / ".lock", "ab") as file:
        tried, told = time.monotonic(), False
        while not lock(file.fileno()):
            if time.monotonic() - tried > _PATIENCE:
                raise UsageError(
                    f"another experiment is at work in '{folder}': wait until it has ended, "
                    "or choose another --output"
                )
            if not told:
                tell(f"waiting for the runs at work in '{folder}' to leave")
            told = True
            time.sleep(_LOOK)
        yield file.fileno() if os.name == "posix" else None
