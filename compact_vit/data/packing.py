"""Picture files of any size and kind, decoded in parallel into one uint8 array that is kept.

Letters: N pictures, C channels, H and W the height and width.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import math
import os
import platform
import secrets
import shutil
import sys
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import UsageError
from .decoding import BadPicturesError, Decoder, decode_into, usable_cores, without_remarks
from .kept import OURS, keep, kept, mapped, reserve
from .pictures import channel_sums, statistics
from .prefetch import machine_memory

if TYPE_CHECKING:
    from .decoding import Array

_log = logging.getLogger(__name__)

#: part of every key: raise it when the same files would pack into other bytes
_FORMAT = 5
#: pictures decoded at a time by one worker
_CHUNK = 32
#: pictures from which on it pays to start processes
_MANY = 1000
#: bytes that no new pack takes without a word
_LARGE = 1 << 30


class PictureFile(NamedTuple):
    """A picture on disk: its path, and a mark that changes whenever the file is written."""

    path: str
    mark: str

    @classmethod
    def of(cls, path: str, name: str, stat: os.stat_result) -> PictureFile:
        """``name`` is the path inside the data set: a data set that was moved keeps its marks."""
        # the change time too: unpacked archives often repeat sizes and modification times
        return cls(path, f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}")

    @property
    def name(self) -> str:
        """Its path inside the data set."""
        return self.mark.partition("\0")[0]


@dataclass(frozen=True)
class Packed:
    """Pictures ``uint8 [N,3,H,W]``, as in ``Pictures``, and their statistics in 0..1."""

    images: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]
    #: which of the files, by their place among them, were no readable pictures, and why
    bad: Mapping[int, str]


def cache_dir() -> Path:
    """Where packs are kept: ``$COMPACT_VIT_CACHE``, else ``compact_vit`` in the user's cache."""
    own = os.environ.get("COMPACT_VIT_CACHE")
    cache = at_home(own or os.environ.get("XDG_CACHE_HOME") or "~/.cache", "COMPACT_VIT_CACHE")
    return cache if own else cache / "compact_vit"


def at_home(path: str | os.PathLike[str], setting: str) -> Path:
    """``path``, to be written in, with its ``~`` expanded; else an error that names ``setting``."""
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise UsageError(
            f"cannot tell which folder {expanded} is: no home folder is known; give {setting} a "
            "path without ~"
        )
    return Path(expanded)


def clear_cache() -> int:
    """Delete every pack in ``cache_dir()``, and what broken-off packing left; the bytes freed.

    Nothing else that lies there is touched. A process that reads a pack keeps it until it ends.
    """
    freed = 0
    for path in list(cache_dir().glob("*")):
        if OURS.fullmatch(path.name):
            with contextlib.suppress(OSError):  # somebody else was faster
                size = path.stat().st_size
                path.unlink()
                freed += size
    return freed


def pack(
    files: Sequence[PictureFile],
    size: tuple[int, int],
    title: str,
    source: str | None = None,
    *,
    skip: bool = False,
) -> Packed:
    """Decode ``files`` to RGB, shorter side to ``size`` (H, W), centre crop: ``uint8 [N,3,H,W]``.

    Every file is looked at. ``BadPicturesError`` names those that are no readable pictures; with
    ``skip`` they are left out, unless there is none else.

    The pack is kept in ``cache_dir()`` and read from there, on demand, while no file changes. When
    one does, the new pack takes the place of the last one of the same ``source`` (what ``files``
    are all of, as a folder's path on this machine) and ``size``; of others, ``clear_cache()`` rids.
    A kept pack that is damaged is made anew, and knows what it leaves out. Where none can be kept,
    a line of warning says so, and the pictures take their N x 3 x H x W bytes of memory;
    ``UsageError`` where that is more than half of it. After an error, as after an interruption,
    nothing is kept.
    """
    from PIL import __version__ as decoder  # which decides what can be read, and to which bytes

    marks = "\n".join([f"{_FORMAT} {size} {decoder}", *(file.mark for file in files)])
    key = hashlib.sha256(os.fsencode(marks)).hexdigest()[:32]
    store = cache_dir() / f"{key}.npy"
    if found := kept(store):
        _check(found[1]["bad"], files, skip)
        return _packed(*found)
    shape = (len(files), 3, *size)
    if math.prod(shape) > _LARGE:
        taken = _gigabytes(math.prod(shape))
        _log.warning("the decoded pictures of %s take %s in %s", title, taken, store.parent)
    scratch = store.with_suffix(f".{secrets.randbits(63)}.tmp")  # in containers all are process 1
    try:
        reserve(scratch, shape)
    except OSError as error:
        return _in_memory(files, shape, title, skip, error)
    try:
        origin = {"source": source, "host": platform.node(), "size": size}
        facts = origin | _decode_to(scratch, files, title)
        _check(facts["bad"], files, skip)
        if found := kept(store):  # somebody else was faster, and may be reading it
            return _packed(*found)
        try:
            keep(scratch, store, facts)
        except OSError as error:
            _warn(store.parent, error.strerror)
        return _packed(*(kept(store) or (mapped(scratch), facts)))
    except FileNotFoundError as error:  # the cache was cleared meanwhile
        return _in_memory(files, shape, title, skip, error)
    finally:
        with contextlib.suppress(OSError):  # mapped still, on Windows: left to clear_cache
            scratch.unlink(missing_ok=True)


def _in_memory(
    files: Sequence[PictureFile],
    shape: tuple[int, ...],
    title: str,
    skip: bool,
    error: OSError,
) -> Packed:
    """What ``pack`` gives where ``error`` keeps it from the disk."""
    folder, needed, memory = cache_dir(), math.prod(shape), machine_memory()
    if memory is not None and needed > memory // 2:
        there = next(path for path in (folder, *folder.parents) if path.is_dir())
        raise UsageError(
            f"the decoded pictures of {title} take {_gigabytes(needed)}, which neither {folder} "
            f"can keep ({error.strerror}; {_gigabytes(shutil.disk_usage(there).free)} are free) "
            f"nor half of {_gigabytes(memory)} of memory: free disk, set COMPACT_VIT_CACHE to a "
            "folder with room, or choose a smaller --img-size"
        ) from None
    _warn(folder, error.strerror)
    array = np.zeros(shape, np.uint8)
    facts = _decode(files, array, title, None)
    _check(facts["bad"], files, skip)
    return _packed(array, facts)


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def _check(bad: Sequence[tuple[int, str]], files: Sequence[PictureFile], skip: bool) -> None:
    """Refuse what is ``bad`` of ``files``, unless it may be skipped and that leaves something."""
    if bad and not (skip and len(bad) < len(files)):
        raise BadPicturesError([(files[row].path, reason) for row, reason in bad], len(files))


def _packed(array: Array, facts: Mapping[str, Any]) -> Packed:
    """``array`` [N,3,H,W] without the bad pictures, which lie behind the others."""
    bad = dict(facts["bad"])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        images = torch.from_numpy(array)[: len(array) - len(bad)]
    return Packed(images, tuple(facts["mean"]), tuple(facts["std"]), bad)


@functools.cache  # the parts of a data set share one warning
def _warn(folder: Path, reason: str) -> None:
    _log.warning("warning: decoded pictures cannot be kept in %s: %s", folder, reason)


# --- decoding


def _decode_to(scratch: Path, files: Sequence[PictureFile], title: str) -> dict[str, Any]:
    """``_decode`` into the array in the file ``scratch``, which is then free to be moved."""
    array = mapped(scratch, "r+")
    facts = _decode(files, array, title, scratch)
    array.flush()
    return facts


def _decode(
    files: Sequence[PictureFile], array: Array, title: str, store: Path | None
) -> dict[str, Any]:
    """Fill ``array`` [N,3,H,W], all zeros, with the pictures of ``files``, the bad ones left out.

    The answer is the ``mean`` and ``std`` of those, and which are ``bad``, and why.

    Many pictures are decoded by processes, which write into ``store``, the file that ``array``
    lies in. They only write rows and whole numbers are summed: the pack does not depend on how
    many there are.
    """
    from tqdm import tqdm

    starts = range(0, len(array), _CHUNK)
    workers = min(usable_cores(), len(starts))
    apart = store is not None and len(array) >= _MANY and workers > 1 and bool(sys.executable)
    idle: SimpleQueue[Decoder] = SimpleQueue()

    def decode(start: int) -> tuple[int, list[tuple[int, str]], Tensor]:
        paths = [file.path for file in files[start : start + _CHUNK]]
        if apart:
            decoder = idle.get()
            try:
                bad = decoder.decode(start, paths)
            finally:
                idle.put(decoder)
        else:
            bad = decode_into(array, start, paths)
        sums = channel_sums(torch.from_numpy(array[start : start + len(paths)]))
        return len(paths), bad, sums  # a bad picture's row is zero, and adds nothing

    total = torch.zeros(2, 3, dtype=torch.int64)
    bad: dict[int, str] = {}
    with contextlib.ExitStack() as stack:
        if apart:
            assert store is not None
            for _ in range(workers):
                idle.put(stack.enter_context(Decoder(store)))
        stack.enter_context(without_remarks())
        pool = ThreadPoolExecutor(workers)
        stack.callback(pool.shutdown, cancel_futures=True)
        bar = stack.enter_context(
            tqdm(total=len(array), desc=title, unit="pic", disable=None, leave=False)
        )
        for done, found, sums in pool.map(decode, starts):
            total += sums
            bad.update(found)
            bar.update(done)
    _close_gaps(array, bad)
    mean, std = statistics(total, (len(array) - len(bad) or 1) * array[0, 0].size)
    return {"mean": mean, "std": std, "bad": list(bad.items())}


def _close_gaps(array: Array, bad: Mapping[int, str]) -> None:
    """Move the rows of ``array`` [N,...] up over the ``bad`` ones."""
    if bad:
        good = (row for row in range(min(bad), len(array)) if row not in bad)
        for target, row in enumerate(good, min(bad)):
            array[target] = array[row]
