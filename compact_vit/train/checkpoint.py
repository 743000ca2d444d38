"""Checkpoints: written whole or not at all, read without running code."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from ..errors import UsageError

#: raised when the layout changes
FORMAT = 1


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` (tensors and plain values) to ``path``, replacing it in one step.

    The bytes go to a temporary file beside it, are synced, and take the name only then: a reader
    finds the old file or the new one, never a part.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            torch.save({"format": FORMAT, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: Path, map_location: str | torch.device = "cpu") -> dict[str, Any]:
    """The content of a checkpoint that ``save_checkpoint`` wrote.

    Read with ``weights_only``; raises ``UsageError`` if the file is missing, damaged, or not ours.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load itself lets a flipped bit pass
            if archive.testzip() is not None:
                raise zipfile.BadZipFile
        content = torch.load(path, map_location=map_location, weights_only=True)
    except FileNotFoundError:
        raise UsageError(
            f"no checkpoint at '{path}': give the folder of a run that has saved one"
        ) from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile, ValueError):
        raise UsageError(f"'{path}' is damaged or not a checkpoint: train again") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UsageError(f"'{path}' is not a checkpoint of this version of compact_vit")
    return content


def unfit(path: Path, owner: str, error: Exception) -> UsageError:
    """The error for a checkpoint whose content ``owner`` cannot take, which raised ``error``."""
    reason = str(error).splitlines()[-1].strip()  # torch's last line names a tensor
    return UsageError(f"'{path}' is not a checkpoint of {owner}: {reason:.150}")
