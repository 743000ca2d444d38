"""Picture files of any size and kind, decoded here or in processes of their own.

Without torch: a process that decodes must be ready before its share could be done without it.
Letters: N pictures, H and W the height and width.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError, listed, printable
from ..photographs import fitted

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[np.uint8]]

#: what is read, told by a file's content; others of PIL's run programs (EPS) or know no mark (TGA)
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
#: a picture that declares more pixels, half a GiB of them, is taken for a decompression bomb
MOST_PIXELS = 1 << 27


class BadPicturesError(UsageError):
    """Files that are no readable pictures: a path and a reason each, ``found`` among ``total``."""

    def __init__(self, found: Sequence[tuple[str, str]], total: int, then: str = "") -> None:
        if len(found) == 1:
            told = f"cannot read the picture {printable(found[0][0])}: {found[0][1]}"
        else:
            named = listed((f"{path} ({why})" for path, why in found), most=3)
            told = f"cannot read {len(found):,} of {total:,} pictures: {named}"
        super().__init__(f"{told}: {then}" if then else told)
        self.found, self.total = found, total


def usable_cores() -> int:
    """The cores this process may run on, which a container or a scheduler may have limited."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# --- one picture


def read_picture(path: str, height: int, width: int) -> Array:
    """The picture in ``path`` as ``uint8 [H,W,3]``, upright, scaled to cover and cropped.

    The file's content tells its kind, not its name. Pixels become 8-bit RGB: what is transparent
    lies on white, as on a page; CMYK by complements, without colour profiles; of 12 and 16 bits
    the upper 8; of an animation the first picture. ``BadPicturesError`` for anything else,
    ``UsageError`` where there is no file or the system is the trouble.
    """
    try:
        with without_remarks():
            return _decoded(path, height, width)
    except FileNotFoundError:
        raise UsageError(
            f"no picture at {printable(path)}: give the path of a picture file"
        ) from None
    except Exception as error:  # what a damaged picture raises differs by format
        if of_the_system(error):
            raise _unreadable(path, error) from None
        raise BadPicturesError([(path, _reason(path, error))], 1) from None


def decode_into(array: Array, start: int, paths: Sequence[str]) -> list[tuple[int, str]]:
    """Decode ``paths`` into the rows of ``array`` [N,3,H,W] from ``start`` on, as ``read_picture``.

    The answer is the rows whose files are no readable pictures, left as they were, and why.
    ``UsageError`` at once where the system is the trouble: the picture itself may be whole.
    """
    height, width = array.shape[2:]
    bad = []
    for row, path in enumerate(paths, start):
        try:
            array[row] = _decoded(path, height, width).transpose(2, 0, 1)  # [H,W,3] -> [3,H,W]
        except Exception as error:
            if of_the_system(error):
                raise _unreadable(path, error) from None
            bad.append((row, _reason(path, error)))
    return bad


@contextlib.contextmanager
def without_remarks() -> Iterator[None]:
    """Keep to itself what PIL remarks on pictures that it reads; entered by one thread at a time"""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _decoded(path: str, height: int, width: int) -> Array:
    from PIL import Image

    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for
        raise ValueError(_kind(path, found.st_mode))
    if not found.st_size:
        raise ValueError("it is empty")
    with Image.open(path, formats=FORMATS) as opened:
        pixels = opened.width * opened.height
        if not pixels:
            raise ValueError("it has no pixels")
        if pixels > MOST_PIXELS:
            raise Image.DecompressionBombError
        side = 2 * max(height, width)
        opened.draft(None, (side, side))  # large JPEGs decode at a half, quarter or eighth
        return np.asarray(fitted(opened, height, width).convert("RGB"))


def _kind(path: str, mode: int) -> str:
    """What is at ``path`` where a file should be."""
    if not stat.S_ISDIR(mode):
        return "a pipe or a device"
    if not os.path.islink(path):
        return "a folder"
    around = os.path.realpath(os.path.dirname(path)) + os.sep
    circle = around.startswith(os.path.join(os.path.realpath(path), ""))
    return "a link to a folder around it" if circle else "a link to a folder"


def _reason(path: str, error: Exception) -> str:
    """Why the file at ``path`` is no picture, in a few words on one line."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, FileNotFoundError):
        return "a link to nowhere" if os.path.islink(path) else "it is gone"
    if isinstance(error, MemoryError):
        return "it takes more memory than there is"
    if isinstance(error, UnidentifiedImageError):
        return f"no whole {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
    if isinstance(error, Image.DecompressionBombError):
        return f"it declares more than {MOST_PIXELS:,} pixels"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(" ".join(reason.split()))[:200] or type(error).__name__


def of_the_system(error: Exception) -> bool:
    """Whether the trouble may be the system's, and the file whole."""
    # an invalid argument is a place that a damaged file points to
    harmless = (None, errno.ENOENT, errno.ELOOP, errno.EINVAL)
    if isinstance(error, OSError):
        return error.errno not in harmless
    return isinstance(error, MemoryError)


def _unreadable(path: str, error: Exception) -> UsageError:
    return UsageError(f"cannot read the picture {printable(path)}: {_reason(path, error)}")


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

    def decode(self, start: int, paths: Sequence[str]) -> list[tuple[int, str]]:
        """What ``decode_into`` does; ``UsageError`` too when the process is killed over it."""
        asked, answers = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answers is not None
        try:
            asked.write(json.dumps([start, *paths]).encode() + b"\n")
            asked.flush()
            line = answers.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            raise UsageError(
                f"cannot read the pictures {printable(paths[0])} to {printable(paths[-1])}: the"
                f" process that decoded them ended with status {self._process.wait()}"
            )
        answer = json.loads(line)
        if isinstance(answer, str):
            raise UsageError(answer)
        return [(row, reason) for row, reason in answer]


def serve() -> None:
    """A decoder's life: requests from standard input, until it is closed."""
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints is not an answer
    array: Array = np.load(sys.argv[1], mmap_mode="r+")
    with without_remarks():
        for line in sys.stdin.buffer:
            start, *paths = json.loads(line)
            answer: list[tuple[int, str]] | str
            try:
                answer = decode_into(array, start, paths)
            except UsageError as error:
                answer = str(error)
            try:
                os.write(answers, json.dumps(answer).encode() + b"\n")
            except BrokenPipeError:  # the parent was killed
                return
