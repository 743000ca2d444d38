"""Picture files of any size and kind, decoded here or in processes of their own.

Without torch: a process that decodes must be ready before its share could be done without it.
Letters: N pictures, H and W the height and width.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

    Array = np.ndarray[Any, np.dtype[np.uint8]]


def usable_cores() -> int:
    """The cores this process may run on, which a container or a scheduler may have limited."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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


def decode_into(array: Array, start: int, paths: Sequence[str]) -> None:
    """Decode ``paths`` into the rows of ``array`` [N,3,H,W] from ``start`` on."""
    height, width = array.shape[2:]
    for row, path in enumerate(paths, start):
        array[row] = read_picture(path, height, width).transpose(2, 0, 1)


# --- decoding in another process: a line of JSON asks, a line of JSON answers


class Decoder:
    """A process that decodes into the array [N,3,H,W] kept in the file ``store``.

    It is a plain interpreter, not a child of ``multiprocessing``: that would run the caller's
    script again, and one without ``if __name__ == "__main__"`` would not get past its first start.
    It ends when it is closed, and by itself when its parent is gone.
    """

    def __init__(self, store: Path) -> None:
        code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, str(store)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # numpy would start one for every core
            start_new_session=True,  # Ctrl-C is for the parent, which then closes the decoders
        )

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(BrokenPipeError):  # a request that it did not live to read
            self._process.__exit__(None, None, None)  # closes its input, at which it ends; waits

    def decode(self, start: int, paths: Sequence[str]) -> None:
        """What ``decode_into`` does; ``UsageError`` too when the process is killed over it."""
        asked, answers = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answers is not None
        try:
            asked.write(json.dumps([start, *paths]).encode() + b"\n")
            asked.flush()
            answer = answers.readline()
        except BrokenPipeError:
            answer = b""
        if not answer:
            raise UsageError(
                f"cannot read the pictures {paths[0]} to {paths[-1]}: the process that decoded"
                f" them ended with status {self._process.wait()}"
            )
        if problem := json.loads(answer):
            raise UsageError(problem)


def serve() -> None:
    """A decoder's life: requests from standard input, until it is closed."""
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints is not an answer
    array: Array = np.load(sys.argv[1], mmap_mode="r+")
    for line in sys.stdin.buffer:
        start, *paths = json.loads(line)
        problem = None
        try:
            decode_into(array, start, paths)
        except UsageError as error:
            problem = str(error)
        try:
            os.write(answers, json.dumps(problem).encode() + b"\n")
        except BrokenPipeError:  # the parent was killed
            return
