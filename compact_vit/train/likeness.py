"""Whether a value read from a file is built like the one it is to replace."""

from __future__ import annotations

from typing import Any

import torch


def difference(saved: Any, own: Any, place: str = "") -> str | None:
    """Where ``saved`` is built otherwise than ``own``, and how; None where it is not.

    Alike are the keys of dictionaries, the lengths of sequences, the shapes of tensors and the
    kinds of all else; an ``own`` that is empty or None says nothing of what may come.
    """
    if own is None or (isinstance(own, dict) and not own and isinstance(saved, dict)):
        return None
    if isinstance(own, torch.Tensor):
        if isinstance(saved, torch.Tensor) and saved.shape == own.shape:
            return None
        return f"{place} must be a tensor of shape {list(own.shape)}"
    if isinstance(own, dict):
        if not isinstance(saved, dict) or saved.keys() != own.keys():
            return f"{place or 'it'} must hold {', '.join(map(str, own))}"
        pairs = [(str(key), saved[key], own[key]) for key in own]
    elif isinstance(own, (list, tuple)):
        if not isinstance(saved, (list, tuple)) or len(saved) != len(own):
            return f"{place} must hold {len(own)} values"
        pairs = [(str(i), *pair) for i, pair in enumerate(zip(saved, own, strict=True))]
    else:
        kinds = (int, float) if type(own) in (int, float) else (type(own),)
        return None if type(saved) in kinds else f"{place} must be of the kind of {own!r:.20}"
    for name, one, other in pairs:
        found = difference(one, other, f"{place}.{name}".lstrip("."))
        if found is not None:
            return found
    return None
