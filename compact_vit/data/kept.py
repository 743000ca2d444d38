"""The files a pack is kept in: NAME.npy, and NAME.json with its facts and a checksum of both."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    MappedArray = np.memmap[Any, np.dtype[np.uint8]]

#: the names of packs, of their notes, and of what was left of either by a process that was killed
OURS = re.compile(r"[0-9a-f]{32}\.(npy|json|\d+\.tmp|\d+\.json\.tmp)")
#: bytes of a kept pack that its checksum covers, so that opening a huge one stays quick
_CHECKED = 1 << 30
#: seconds; whoever still writes into a file has done so within the last
_DAY = 86_400.0
#: what reading damaged notes raises
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


def reserve(scratch: Path, shape: tuple[int, ...]) -> None:
    """Make the file ``scratch`` of an array of zeros, its room on the disk taken for certain.

    What killed processes left beside it a day ago and more is deleted first.
    """
    scratch.parent.mkdir(parents=True, exist_ok=True)
    for left in scratch.parent.glob("*.tmp"):
        with contextlib.suppress(OSError):  # somebody else was faster
            if OURS.fullmatch(left.name) and time.time() - left.stat().st_mtime > _DAY:
                left.unlink()
    try:
        np.lib.format.open_memmap(scratch, mode="w+", dtype=np.uint8, shape=shape)
        if hasattr(os, "posix_fallocate"):  # a full disk would otherwise kill the process later
            with scratch.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, scratch.stat().st_size)
    except OSError:
        with contextlib.suppress(OSError):
            scratch.unlink()
        raise


def keep(scratch: Path, store: Path, facts: dict[str, Any]) -> None:
    """Give ``scratch`` and its ``facts`` their final names, each at one stroke.

    The packs of an earlier state of the same source and size are deleted. ``OSError`` if the disk
    filled up after all, or the cache was cleared meanwhile.
    """
    notes = scratch.with_suffix(".json.tmp")
    try:
        notes.write_bytes(json.dumps(facts | {"crc32": _checksum(scratch, facts)}).encode())
        os.replace(notes, store.with_suffix(".json"))
        os.replace(scratch, store)
    finally:
        notes.unlink(missing_ok=True)
    if facts["source"] is not None:
        _delete_replaced(store, facts)


def kept(store: Path) -> tuple[MappedArray, dict[str, Any]] | None:
    """The pack in ``store`` and its facts, if it is there and whole."""
    try:
        facts = json.loads(store.with_suffix(".json").read_bytes())
        if facts.pop("crc32") != _checksum(store, facts):
            return None
        return mapped(store), facts
    except _DAMAGE:
        return None


def mapped(path: Path, mode: Literal["c", "r", "r+"] = "c") -> MappedArray:
    """The array in the file ``path``, read on demand, and written in ``mode`` r+.

    By default what is written into the array stays in memory, and the file as it is; but where the
    system has no room for all of it to be written, it is read-only. Windows neither moves nor
    deletes the file as long as that is used.
    """
    try:
        array: MappedArray = np.load(path, mmap_mode=mode, allow_pickle=False)
    except OSError:
        if mode != "c":
            raise
        return mapped(path, "r")
    return array


def _delete_replaced(store: Path, facts: dict[str, Any]) -> None:
    """Delete the packs beside ``store`` that were made of an earlier state of the same source.

    In a cache that machines share, a path is another place on each.
    """
    own = [facts["source"], facts["host"], list(facts["size"])]
    for notes in store.parent.glob("*.json"):
        if notes.stem == store.stem or not OURS.fullmatch(notes.name):
            continue
        with contextlib.suppress(*_DAMAGE):  # or gone already
            other = json.loads(notes.read_bytes())
            if [other.get(name) for name in ("source", "host", "size")] == own:
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
