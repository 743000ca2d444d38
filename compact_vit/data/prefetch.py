"""Batches made ahead of the step, and where in memory the pictures lie that they are made of."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import mmap
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")

#: Where Linux tells the bytes that a container may take, by the newer way and the older.
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def prefetch(
    make: Callable[[_Job], _Result], jobs: Iterable[_Job], ahead: int
) -> Iterator[_Result]:
    """``map(make, jobs)``, with the next ``ahead`` results made by as many threads meanwhile.

    Besides these nothing is held but the result handed over. What ``make`` raises is raised where
    its result would come. An iterator that is closed or dropped early waits for its threads to
    finish what they are at, and they end.
    """
    left = iter(jobs)
    with ThreadPoolExecutor(ahead, thread_name_prefix="prefetch") as pool:
        pending = deque(pool.submit(make, job) for job in islice(left, ahead))
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(make, job) for job in islice(left, 1))
            yield result


def is_mapped(tensor: Tensor) -> bool:
    """Whether ``tensor`` [any shape] lies in a mapped file, whose pages the system can take back.

    Told from ``/proc``: False where there is none, and for files that are themselves in memory.
    """
    if tensor.device.type != "cpu":
        return False
    address = tensor.data_ptr()
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            for line in maps:  # 7f00-7f80 r--s 00000000 fd:00 1234   /path
                span, _, _, _, inode, *path = line.split(maxsplit=5)
                first, last = (int(end, 16) for end in span.split("-"))
                if first <= address < last:
                    in_memory = "".join(path).startswith(("/dev/", "/memfd:"))
                    return inode != "0" and not in_memory
    except OSError:
        pass
    return False


def exceeds_memory(images: Tensor) -> bool:
    """Whether ``images`` lie in a mapped file that the system can hardly keep in its cache."""
    room = machine_memory()
    return room is not None and images.nbytes > room // 2 and is_mapped(images)


def announce(images: Tensor, rows: Tensor) -> None:
    """Have the system read the ``rows`` [B] of mapped ``images`` [N,...], all side by side.

    Unannounced, each is read when it is touched: one after the other, and with whatever the system
    reads ahead of a place, which in a shuffled order is many times the picture. Not for what is
    cached already: asking takes longer than reading.
    """
    madvise = _madvise()
    if madvise is None:
        return
    first, length = images.data_ptr(), images[:1].nbytes
    for row in rows.tolist():
        start = first + row * length
        page = start - start % mmap.PAGESIZE
        madvise(page, start + length - page, mmap.MADV_WILLNEED)  # a hint: its failure is none


@functools.cache
def _madvise() -> Any:
    """The system's ``madvise(address, bytes, advice)``, None where there is none."""
    try:
        madvise = ctypes.CDLL(None).madvise
    except (AttributeError, OSError, TypeError):
        return None
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return madvise


def machine_memory() -> int | None:
    """The bytes of memory that there are, or a container may take; None if nobody tells."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
    for limit in _LIMITS:
        with contextlib.suppress(OSError, ValueError):  # not there, or "max"
            memory = min(memory, int(limit.read_bytes()))
    return memory
