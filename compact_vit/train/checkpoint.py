"""Checkpoints: written whole or not at all, read without running code."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from ..errors import UsageError

#: raised when the layout changes
FORMAT = 2

#: What stands between the content and its checksum.
_SEAL = b"\ncompact_vit sha256 "


def save_checkpoint(path: Path, content: dict[str, Any], *, keep: bool = False) -> None:
    """Write ``content`` (tensors and plain values) to ``path``, replacing it in one step.

    The bytes go to a temporary file beside it, are synced, and take the name only then: a reader
    finds the old file or the new one, never a part. With ``keep`` the old one stays under the name
    ``previous(path)``. The file ends in the SHA-256 of all before.
    """
    memory = io.BytesIO()
    torch.save({"format": FORMAT, **content}, memory)
    payload = memory.getbuffer()
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(payload)
            file.write(_SEAL + hashlib.sha256(payload).hexdigest().encode())
            file.flush()
            os.fsync(file.fileno())
        if keep and path.exists():
            _set_aside(path)
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):  # the folder may be gone: that error is on its way
            temporary.unlink(missing_ok=True)


def previous(path: Path) -> Path:
    """Where the checkpoint before the one at ``path`` is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def _set_aside(path: Path) -> None:
    """Give the file at ``path`` its previous name as well, so that there is always a whole one."""
    second = path.with_name(path.name + ".old")
    second.unlink(missing_ok=True)
    try:
        os.link(path, second)
    except OSError:  # a file system without links
        second = path
    second.replace(previous(path))


def _sync_folder(folder: Path) -> None:
    """Make renamings last through a power cut, where folders can be synced."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def load_checkpoint(path: Path, map_location: str | torch.device = "cpu") -> dict[str, Any]:
    """The content of a checkpoint that ``save_checkpoint`` wrote.

    Read with ``weights_only``; raises ``UsageError`` if the file is missing, damaged, or not ours.
    """
    try:
        whole = path.read_bytes()
        end = len(whole) - len(_SEAL) - 64
        seal = _SEAL + hashlib.sha256(memoryview(whole)[: max(end, 0)]).hexdigest().encode()
        if end < 0 or whole[end:] != seal:  # torch.load itself lets a flipped bit pass
            raise ValueError("its checksum is not its content's")
        content = torch.load(io.BytesIO(whole[:end]), map_location=map_location, weights_only=True)
    except FileNotFoundError:
        raise UsageError(
            f"no checkpoint at '{path}': give the folder of a run that has saved one"
        ) from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError):
        raise UsageError(f"'{path}' is damaged or not a checkpoint: train again") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UsageError(f"'{path}' is not a checkpoint of this version of compact_vit")
    return content


def newest(
    path: Path, map_location: str | torch.device = "cpu"
) -> tuple[Path, dict[str, Any], str]:
    """The checkpoint at ``path``, or the one before it if that is damaged; and a line if it is.

    Raises ``UsageError`` if neither can be read.
    """
    try:
        return path, load_checkpoint(path, map_location), ""
    except UsageError as error:
        older = previous(path)
        if not older.exists():
            raise
        content = load_checkpoint(older, map_location)
        problem = str(error).split(":")[0]
        return older, content, f"warning: {problem}; going on from the one before it, '{older}'"


def unfit(path: Path, owner: str, error: Exception) -> UsageError:
    """The error for a checkpoint whose content ``owner`` cannot take, which raised ``error``."""
    reason = str(error).splitlines()[-1].strip()  # torch's last line names a tensor
    return UsageError(f"'{path}' is not a checkpoint of {owner}: {reason:.150}")
