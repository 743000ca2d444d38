"""Stopping a run so that it can go on: by a signal, or before a time limit."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from ..checks import is_real
from ..errors import Stopped, UsageError

#: Exit status of a run that its time limit stopped, as of the command ``timeout``.
OUT_OF_TIME = 124

#: Seconds left for writing a checkpoint where none has been timed yet.
_FIRST_SAVE = 2.0


def seconds_of(limit: str | float) -> float:
    """A time limit in seconds: ``90s``, ``30m``, ``1.5h``, ``1h30m``, or a number alone.

    Raises ``UsageError`` for ``1h30``, too, which may be meant as minutes.
    """
    units = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "": 1.0}
    total = 0.0
    if is_real(limit):
        total = float(limit)
    elif isinstance(limit, str) and re.fullmatch(r"(\d+(\.\d+)?[dhms])+|\d+(\.\d+)?", limit):
        parts = re.findall(r"(\d+(?:\.\d+)?)([dhms]?)", limit)
        total = sum(float(number) * units[unit] for number, unit in parts)
    if total <= 0:
        raise UsageError(f"time_limit must be a time such as 90s, 30m or 1h30m, got {limit!r}")
    return total


class Stopper:
    """Within ``with``, SIGTERM and SIGINT ask the run to stop; a second SIGINT stops it at once.

    ``check`` raises ``Stopped`` where a run can stop: when it was asked to, or when the time
    ``limit``, as ``seconds_of`` reads it, would pass before the next check and a last save. Signals
    are left alone outside the main thread, where Python cannot take them.
    """

    def __init__(self, limit: str | float | None = None) -> None:
        self.limit = None if limit is None else seconds_of(limit)
        self.signal: int | None = None
        self.started = self.checked = time.perf_counter()
        self.longest_step = 0.0
        self.longest_save = _FIRST_SAVE
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stopper:
        self.checked = time.perf_counter()  # what came before was no step
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number

    def check(self, most: Callable[[int], int] = int) -> None:
        """Raise ``Stopped`` if the run is to stop here.

        Several processes stop together: ``most`` gives the largest number that any of them says.
        """
        asked = most(self._asked())
        if asked == OUT_OF_TIME:
            limit = self.limit or 0.0
            passed = self.checked - self.started > limit  # as where starting took longer
            when = "at" if passed else "before"
            raise Stopped(f"stopped {when} the time limit of {limit:g} s", OUT_OF_TIME)
        if asked:
            raise Stopped(f"stopped by {signal.Signals(asked).name}", 128 + asked)

    def _asked(self) -> int:
        """The number of the signal that was heard, ``OUT_OF_TIME``, or 0 to go on."""
        now = time.perf_counter()
        self.longest_step = max(self.longest_step, now - self.checked)
        self.checked = now
        if self.signal is not None:
            return self.signal
        ahead = 2 * self.longest_step + 2 * self.longest_save
        if self.limit is not None and now - self.started + ahead > self.limit:
            return OUT_OF_TIME
        return 0

    def saved(self, seconds: float) -> None:
        """Hear how long a save took; it is no step, but an evaluation just before it is one."""
        now = time.perf_counter()
        self.longest_save = max(self.longest_save, seconds)
        self.longest_step = max(self.longest_step, now - seconds - self.checked)
        self.checked = now
