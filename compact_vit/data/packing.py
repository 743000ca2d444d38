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
import warnings
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import UsageError
from .pictures import channel_sums, statistics

if TYPE_CHECKING:
    from PIL.Image import Image

    Array = np.ndarray[Any, np.dtype[np.uint8]]

_log = logging.getLogger(__name__)

#: part of every key: raise it when the same files would pack into other bytes
_FORMAT = 1
#: pictures a thread decodes at a time
_CHUNK = 64
#: bytes of a kept pack that its checksum covers, so that opening a huge one stays quick
_CHECKED = 1 << 30


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


def cache_dir() -> Path:
    """Where packs are kept: ``$COMPACT_VIT_CACHE``, else ``compact_vit`` in the user's cache."""
    if own := os.environ.get("COMPACT_VIT_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "compact_vit"


def pack(files: Sequence[PictureFile], size: tuple[int, int], title: str) -> Packed:
    """Decode ``files`` to RGB, shorter side to ``size`` (H, W), centre crop: ``uint8 [N,3,H,W]``.

    The pack is kept in ``cache_dir()`` and read from there, on demand, while no file changes. A
    kept pack that is damaged is made anew; where none can be kept, a line of warning says so.
    ``UsageError`` for a picture that cannot be read.
    """
    marks = "\n".join([f"{_FORMAT} {size}", *(file.mark for file in files)])
    key = hashlib.sha256(os.fsencode(marks)).hexdigest()[:32]
    store = cache_dir() / f"{key}.npy"
    if kept := _kept(store):
        return kept
    shape = (len(files), 3, *size)
    scratch = store.with_suffix(f".{os.getpid()}.tmp")
    try:
        array = _reserve(scratch, shape)
    except OSError as error:
        _warn(store.parent, error.strerror)
        array = np.empty(shape, np.uint8)
        return Packed(torch.from_numpy(array), *_decode(files, array, title))
    try:
        mean, std = _decode(files, array, title)
        array.flush()
        _keep(scratch, store, {"mean": mean, "std": std, "crc32": _checksum(scratch)})
    finally:
        scratch.unlink(missing_ok=True)
    return _kept(store) or Packed(torch.from_numpy(array), mean, std)


@functools.cache  # the parts of a data set share one warning
def _warn(folder: Path, reason: str) -> None:
    _log.warning("warning: decoded pictures cannot be kept in %s: %s", folder, reason)


# --- the file a pack is kept in: NAME.npy, and NAME.json with its statistics and checksum


def _kept(store: Path) -> Packed | None:
    """The pack in ``store`` if it is there and whole."""
    try:
        facts = json.loads(store.with_suffix(".json").read_text())
        mean, std = tuple(map(float, facts["mean"])), tuple(map(float, facts["std"]))
        array = np.load(store, mmap_mode="r", allow_pickle=False)
        if facts["crc32"] != _checksum(store):
            return None
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return Packed(torch.from_numpy(array), mean, std)


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


def _keep(scratch: Path, store: Path, facts: dict[str, Any]) -> None:
    """Give ``scratch`` and its ``facts`` their final names, each at one stroke."""
    notes = scratch.with_suffix(".json.tmp")
    notes.write_text(json.dumps(facts))
    os.replace(notes, store.with_suffix(".json"))
    os.replace(scratch, store)


def _checksum(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        for _ in range(_CHECKED >> 20):
            block = file.read(1 << 20)
            if not block:
                break
            crc = zlib.crc32(block, crc)
    return crc


# --- decoding


def _decode(
    files: Sequence[PictureFile], array: Array, title: str
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Fill ``array`` [N,3,H,W] with the pictures of ``files``; their mean and deviation."""
    from tqdm import tqdm

    count, _, height, width = array.shape

    def decode(start: int) -> tuple[int, Tensor]:
        stop = min(start + _CHUNK, count)
        for index in range(start, stop):
            picture = read_picture(files[index].path, height, width)  # [H,W,3]
            array[index] = picture.transpose(2, 0, 1)
        return stop - start, channel_sums(torch.from_numpy(array[start:stop]))

    total = torch.zeros(2, 3, dtype=torch.int64)
    pool = ThreadPoolExecutor(os.cpu_count())  # decoding and scaling leave the interpreter free
    try:
        with tqdm(total=count, desc=title, unit="pic", disable=None, leave=False) as bar:
            for done, sums in pool.map(decode, range(0, count, _CHUNK)):
                total += sums
                bar.update(done)
    finally:
        pool.shutdown(cancel_futures=True)
    return statistics(total, count * height * width)


def read_picture(path: str, height: int, width: int) -> Array:
    """The picture in ``path`` as ``uint8 [H,W,3]``, upright, scaled to cover and cropped."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            side = 2 * max(height, width)
            opened.draft(None, (side, side))  # large JPEGs decode at a half, quarter or eighth
            ImageOps.exif_transpose(opened, in_place=True)
            image = _rgb(opened)
            if image.size != (width, height):
                image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
            return np.asarray(image)
    except FileNotFoundError:
        raise UsageError(f"no picture at {path}: give the path of a picture file") from None
    except Exception as error:  # what a damaged picture raises differs by format
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"cannot read the picture {path}: {reason}") from None


def _rgb(image: Image) -> Image:
    from PIL import Image as Images

    if image.mode.startswith("I"):  # 16 bits: a plain conversion would cut at 255
        values = np.asarray(image).astype(np.int64) >> 8
        return Images.fromarray(values.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("its values are floating-point numbers, wanted 8 or 16 bits")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
