"""Checkpoints: written whole or not at all, read without running code."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from ..errors import UsageError
from ..files import write_whole

#: raised when the layout changes
FORMAT = 2

#: What stands between the content and its checksum.
_SEAL = b"\ncompact_vit sha256 "


def save_checkpoint(path: Path, content: dict[str, Any], *, keep: bool = False) -> None:
    """Write ``content`` (tensors and plain values) to ``path``, replacing it in one step.

    A reader finds the old file or the new one, never a part. With ``keep`` the old one stays under
    the name ``previous(path)``. The file ends in the SHA-256 of all before.
    """
    memory = io.BytesIO()
    torch.save({"format": FORMAT, **content}, memory)
    payload = memory.getbuffer()
    seal = _SEAL + hashlib.sha256(payload).hexdigest().encode()
    write_whole(path, payload, seal, keep=previous(path) if keep else None)


def previous(path: Path) -> Path:
    """Where the checkpoint before the one at ``path`` is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint that ``save_checkpoint`` wrote, its tensors on the CPU.

    Read with ``weights_only``; raises ``UsageError`` if the file is missing, damaged, or not ours.
    """
    try:
        whole = path.read_bytes()
        end = len(whole) - len(_SEAL) - 64
        seal = _SEAL + hashlib.sha256(memoryview(whole)[: max(end, 0)]).hexdigest().encode()
        if end < 0 or whole[end:] != seal:  # torch.load itself lets a flipped bit pass
            raise ValueError("its checksum is not its content's")
        content = torch.load(io.BytesIO(whole[:end]), map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UsageError(
            f"no checkpoint at '{path}': give the folder of a run that has saved one"
        ) from None
    except (OSError, MemoryError):
        raise
    except Exception:  # what a damaged pickle raises has no end
        raise UsageError(f"'{path}' is damaged or not a checkpoint: train again") from None
    layout = content.get("format") if isinstance(content, dict) else None
    if not isinstance(layout, int) or layout != FORMAT:
        raise UsageError(
            f"'{path}' is not a checkpoint of this version of compact_vit: train again"
        )
    epoch = content.get("epoch", 0)
    if not isinstance(epoch, int) or epoch < 0:
        raise UsageError(
            f"'{path}' is damaged: its epoch must be a whole number, got {epoch!r:.40}"
        )
    return content


def newest(path: Path) -> tuple[Path, dict[str, Any], str]:
    """The checkpoint at ``path``, or the one before it if that is damaged; and a line if it is.

    Raises ``UsageError`` if neither can be read.
    """
    try:
        return path, load_checkpoint(path), ""
    except UsageError as error:
        older = previous(path)
        if not older.exists():
            raise
        content = load_checkpoint(older)
        problem = str(error).rsplit(": ", 1)[0]  # without the way out, which is taken here
        return older, content, f"warning: {problem}; going on from the one before it, '{older}'"


def unfit(path: Path, owner: str, error: Exception) -> UsageError:
    """The error for a checkpoint whose content ``owner`` cannot take, which raised ``error``."""
    reason = str(error).splitlines()[-1].strip()  # torch's last line names a tensor
    return UsageError(f"'{path}' is not a checkpoint of {owner}: {reason:.150}")
