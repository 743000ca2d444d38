"""Timing calls: several take turns, each is told as a median with the least and the most.

Imports no torch.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: seconds that a turn of calls takes at least, so that the clock's grain does not show
TURN = 0.2

Call = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """The median of ``n`` measurements, the least and the most of them."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Timing:
        """That of one value or more."""
        ordered = sorted(values)
        return cls(statistics.median(ordered), ordered[0], ordered[-1], len(ordered))


def finish(device: torch.device) -> None:
    """Wait until ``device`` has done all it was given."""
    import torch

    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def elapsed(call: Call, times: int, device: torch.device) -> float:
    """Seconds that ``call`` takes ``times`` times in a row, until ``device`` has done the work."""
    import torch

    finish(device)
    if device.type == "cuda":
        with torch.cuda.device(device):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(times):
                call()
            end.record()
            end.synchronize()
        return start.elapsed_time(end) / 1000
    begin = time.perf_counter()
    for _ in range(times):
        call()
    finish(device)
    return time.perf_counter() - begin


def seconds_in_turns(
    calls: Sequence[Call], *, rounds: int, device: torch.device, turn: float = TURN
) -> list[list[float]]:
    """Seconds a call of each of ``calls``, one figure for each of ``rounds`` turns.

    They take turns, so that whatever else the machine does meets all of them alike. Each is
    called before until that takes no less than the last time: what compiles, allocates or records
    a graph is slow at first. A turn repeats it for at least ``turn`` seconds; with 0 it is called
    once before and once a turn, always, as processes that wait for each other have to.
    """
    times = []
    for call in calls:
        least, now = math.inf, elapsed(call, 1, device)
        while turn and now < least:
            least, now = now, elapsed(call, 1, device)
        times.append(max(1, math.ceil(turn / max(least, 1e-6))))
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, count, taken in zip(calls, times, seconds, strict=True):
            taken.append(elapsed(call, count, device) / count)
    return seconds
