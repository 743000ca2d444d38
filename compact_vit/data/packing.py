"""Picture files of any size and kind, decoded in parallel into one uint8 array that is kept.

Letters: N pictures, C channels, H and W the height and width.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import re
import sys
import warnings
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .decoding import BadPicturesError, Decoder, decode_into, usable_cores, without_remarks
from .pictures import channel_sums, statistics

if TYPE_CHECKING:
    from .decoding import Array

_log = logging.getLogger(__name__)

#: part of every key: raise it when the same files would pack into other bytes
_FORMAT = 2
#: pictures decoded at a time by one worker
_CHUNK = 32
#: pictures from which on it pays to start processes
_MANY = 1000
#: bytes of a kept pack that its checksum covers, so that opening a huge one stays quick
_CHECKED = 1 << 30
#: what reading damaged notes raises
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
#: the names of packs, of their notes, and of what was left of either by a process that was killed
_OURS = re.compile(r"[0-9a-f]{32}\.(npy|json|\d+\.tmp|\d+\.json\.tmp)")


class PictureFile(NamedTuple):
    """A picture on disk: its path, and a mark that changes whenever the file is written."""

    path: str
    mark: str

    @classmethod
    def of(cls, path: str, name: str, stat: os.stat_result) -> PictureFile:
        """``name`` is the path inside the data set: a data set that was moved keeps its marks."""
        # the change time too: unpacked archives often repeat sizes and modification times
        return cls(path, f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}")


@dataclass(frozen=True)
class Packed:
    """Pictures ``uint8 [N,3,H,W]``, read-only when they are kept, and their statistics in 0..1."""

    images: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]
    #: which of the files, by their place among them, were no readable pictures, and why
    bad: Mapping[int, str]


def cache_dir() -> Path:
    """Where packs are kept: ``$COMPACT_VIT_CACHE``, else ``compact_vit`` in the user's cache."""
    if own := os.environ.get("COMPACT_VIT_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "compact_vit"


def clear_cache() -> int:
    """Delete every pack in ``cache_dir()``, and what broken-off packing left; the bytes freed.

    Nothing else that lies there is touched. A process that reads a pack keeps it until it ends.
    """
    freed = 0
    for path in list(cache_dir().glob("*")):
        if _OURS.fullmatch(path.name):
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
    are all of, as a folder's path) and ``size``; of others, ``clear_cache()`` rids. A kept pack
    that is damaged is made anew, and knows what it leaves out. Where none can be kept, a line of
    warning says so, and the pictures take their N x 3 x H x W bytes of memory. After an error, as
    after an interruption, nothing is kept.
    """
    marks = "\n".join([f"{_FORMAT} {size}", *(file.mark for file in files)])
    key = hashlib.sha256(os.fsencode(marks)).hexdigest()[:32]
    store = cache_dir() / f"{key}.npy"
    if kept := _kept(store):
        return _accepted(kept, files, skip)
    shape = (len(files), 3, *size)
    scratch = store.with_suffix(f".{os.getpid()}.tmp")
    try:
        array = _reserve(scratch, shape)
    except OSError as error:
        _warn(store.parent, error.strerror)
        return _accepted(_decode(files, np.zeros(shape, np.uint8), title, None), files, skip)
    try:
        packed = _accepted(_decode(files, array, title, scratch), files, skip)
        array.flush()
        facts = {"source": source, "size": size, "mean": packed.mean, "std": packed.std}
        if _keep(scratch, store, facts | {"bad": list(packed.bad.items())}) and source is not None:
            _delete_replaced(store, source, size)
    finally:
        scratch.unlink(missing_ok=True)
    return _kept(store) or packed


def _accepted(packed: Packed, files: Sequence[PictureFile], skip: bool) -> Packed:
    """``packed``, if what is bad of ``files`` may be skipped and leaves something."""
    if packed.bad and not (skip and len(packed.bad) < len(files)):
        found = [(files[row].path, reason) for row, reason in packed.bad.items()]
        raise BadPicturesError(found, len(files))
    return packed


@functools.cache  # the parts of a data set share one warning
def _warn(folder: Path, reason: str) -> None:
    _log.warning("warning: decoded pictures cannot be kept in %s: %s", folder, reason)


# --- the file a pack is kept in: NAME.npy, and NAME.json with its statistics and checksum


def _kept(store: Path) -> Packed | None:
    """The pack in ``store`` if it is there and whole."""
    try:
        facts = json.loads(store.with_suffix(".json").read_text())
        if facts.pop("crc32") != _checksum(store, facts):
            return None
        mean, std = tuple(map(float, facts["mean"])), tuple(map(float, facts["std"]))
        bad = {int(row): str(reason) for row, reason in facts["bad"]}
        array = np.load(store, mmap_mode="r", allow_pickle=False)
    except _DAMAGE:
        return None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return Packed(torch.from_numpy(array)[: len(array) - len(bad)], mean, std, bad)


def _reserve(scratch: Path, shape: tuple[int, ...]) -> Any:
    """A new array in the file ``scratch``, its room on the disk taken for certain."""
    scratch.parent.mkdir(parents=True, exist_ok=True)
    try:
        array = np.lib.format.open_memmap(scratch, mode="w+", dtype=np.uint8, shape=shape)
        if hasattr(os, "posix_fallocate"):  # a full disk would otherwise kill the process later
            with scratch.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, scratch.stat().st_size)
        return array
    except OSError:
        with contextlib.suppress(OSError):
            scratch.unlink()
        raise


def _keep(scratch: Path, store: Path, facts: dict[str, Any]) -> bool:
    """Give ``scratch`` and its ``facts`` their final names, each at one stroke, if it can be."""
    notes = scratch.with_suffix(".json.tmp")
    try:
        notes.write_text(json.dumps(facts | {"crc32": _checksum(scratch, facts)}))
        os.replace(notes, store.with_suffix(".json"))
        os.replace(scratch, store)
    except OSError as error:  # the disk filled up after all, or the cache was cleared meanwhile
        _warn(store.parent, error.strerror)
        return False
    finally:
        notes.unlink(missing_ok=True)
    return True


def _delete_replaced(store: Path, source: str, size: tuple[int, int]) -> None:
    """Delete the packs beside ``store`` that were made of an earlier state of ``source``."""
    for notes in store.parent.glob("*.json"):
        if notes.stem == store.stem or not _OURS.fullmatch(notes.name):
            continue
        with contextlib.suppress(*_DAMAGE):  # or gone already
            facts = json.loads(notes.read_text())
            if (facts.get("source"), facts.get("size")) == (source, list(size)):
                notes.with_suffix(".npy").unlink(missing_ok=True)
                notes.unlink()


def _checksum(path: Path, facts: dict[str, Any]) -> int:
    """Of what is in ``path``, and of what its notes say."""
    crc = zlib.crc32(json.dumps(facts, sort_keys=True).encode())
    with path.open("rb") as file:
        for _ in range(_CHECKED >> 20):
            block = file.read(1 << 20)
            if not block:
                break
            crc = zlib.crc32(block, crc)
    return crc


# --- decoding


def _decode(files: Sequence[PictureFile], array: Array, title: str, store: Path | None) -> Packed:
    """Fill ``array`` [N,3,H,W], all zeros, with the pictures of ``files``, the bad ones left out.

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
    good = _close_gaps(array, bad)
    mean, std = statistics(total, (len(good) or 1) * array[0, 0].size)
    return Packed(good, mean, std, bad)


def _close_gaps(array: Array, bad: Mapping[int, str]) -> Tensor:
    """Move the rows of ``array`` [N,...] up over the ``bad`` ones; those that then count."""
    if bad:
        good = (row for row in range(min(bad), len(array)) if row not in bad)
        for target, row in enumerate(good, min(bad)):
            array[target] = array[row]
    return torch.from_numpy(array[: len(array) - len(bad)])
