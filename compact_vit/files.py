"""Files that are whole at every moment, still there after a power cut, and one process's alone."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from .errors import UsageError, tell

#: Seconds between looks whether another process has done.
_LOOK = 0.2


def check_is_folder(path: Path) -> None:
    """``UsageError`` if ``path`` cannot become a folder to write to.

    A file or a dead link is in its way, or the folder that is there may not be written to.
    """
    for part in (path, *path.parents):
        if not os.path.lexists(part):
            continue
        if part.is_dir():
            if os.access(part, os.W_OK):
                return
            raise UsageError(
                f"output '{path}' cannot be written, as '{part}' may not be written to: choose a "
                "folder that can be written to"
            )
        what = "a file" if part.exists() else "a link to nowhere"
        raise UsageError(f"output must be a folder, got '{path}': '{part}' is {what}")


def check_is_file(path: Path) -> None:
    """``UsageError`` if ``path`` cannot become a file.

    A folder is there, or its own folder cannot be written to (``check_is_folder``).
    """
    if path.is_dir():
        raise UsageError(f"output must be a file, got the folder '{path}': give a name in it")
    check_is_folder(path.parent)


def write_whole(path: Path, *parts: Any, keep: Path | None = None) -> None:
    """Write ``parts``, bytes or buffers, to ``path``, replacing it in one step.

    They go to a temporary file of their own beside it, are synced, and take the name only then: a
    reader finds the old file or a new one, never a part. With ``keep`` the old one stays under that
    name. An ``OSError`` names ``path``, and leaves the old file as it was.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    with _named(path):
        try:
            with open(temporary, "xb") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            if keep is not None and path.exists():
                _set_aside(path, keep)
            temporary.replace(path)
            _sync_folder(path.parent)
        finally:
            with contextlib.suppress(OSError):  # the folder may be gone: that error is on its way
                temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` to ``path`` as indented JSON, whole or not at all."""
    write_whole(path, f"{json.dumps(value, indent=2)}\n".encode())


def read_json(path: Path, way_out: str) -> dict[str, Any]:
    """The object in the file ``path``; ``UsageError`` with the ``way_out`` if it is damaged."""
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OverflowError) as error:  # also of brackets without an end
        raise UsageError(f"'{path}' is not JSON ({error!s:.80}): {way_out}") from None
    if not isinstance(value, dict):
        raise UsageError(f"'{path}' must hold an object, got {value!r:.40}: {way_out}")
    return value


def append_line(path: Path, line: str) -> None:
    """Add ``line`` to ``path`` in one write, and sync it; all of it or nothing.

    An ``OSError`` names ``path``.
    """
    with _named(path), open(path, "ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        left = memoryview(f"{line}\n".encode())
        try:
            while left:  # a disk that is nearly full takes a part
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(size)
            raise


def lock(handle: int) -> bool:
    """Lock the file or folder that is open as ``handle``; False if another process has locked it.

    The lock ends with the last process that has it open, however that ends. Where there are no
    locks, as on Windows, nobody is kept out.
    """
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):  # a system, or a file system, without locks
        pass
    return True


@contextlib.contextmanager
def alone_with(path: Path, other: str) -> Iterator[bool]:
    """Within, nobody else is with the file ``path``, which is made for it; whether one had to wait.

    That it is for the ``other`` is told. Where no file can be made nobody is kept out.
    """
    waited = False
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            while (file := _locked(path)) is None:
                if not waited:
                    tell(f"waiting for {other}")
                waited = True
                time.sleep(_LOOK)
            stack.enter_context(file)
            stack.callback(_discard, path)
        yield waited


def _locked(path: Path) -> BinaryIO | None:
    """The file ``path``, made and locked; None if another process has it, or had and deleted it."""
    file = path.open("ab")
    if lock(file.fileno()) and os.fstat(file.fileno()).st_nlink:  # 0 names: who comes makes another
        return file
    file.close()
    return None


def _discard(path: Path) -> None:
    with contextlib.suppress(OSError):  # open files stay, on Windows
        path.unlink()


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """An ``OSError`` within says ``path``: writing and syncing know no names of their own."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _set_aside(path: Path, second: Path) -> None:
    """Give the file at ``path`` a ``second`` name as well, so that there is always a whole one."""
    link = path.with_name(path.name + ".old")
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:  # a file system without links
        link = path
    link.replace(second)


def _sync_folder(folder: Path) -> None:
    """Make renamings last through a power cut, where folders can be synced."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
