"""Checks of what a caller gives; each failure names the field, the wanted and the got.

B batch, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...checks import is_real, is_whole
from ...errors import UsageError


def require(fulfilled: bool, field: str, wanted: str, got: object) -> None:
    """Raise the ``UsageError`` that says so unless ``fulfilled``."""
    if not fulfilled:
        raise UsageError(f"{field} must be {wanted}, got {got!r}")


def require_number(field: str, value: float, low: float, high: float = math.inf) -> None:
    """Require a finite number in [low, high]."""
    wanted = f"a number from {low:g} to {high:g}" if high < math.inf else f"a number >= {low:g}"
    require(is_real(value) and low <= value <= high, field, wanted, value)


def require_whole(field: str, value: int, low: int) -> None:
    """Require an int of at least ``low``."""
    require(is_whole(value, low), field, f"a whole number >= {low}", value)


def require_interval(
    field: str, value: Sequence[float], low: float, high: float = math.inf
) -> None:
    """Require a pair (a, b) with low < a <= b <= high."""
    pair = isinstance(value, (tuple, list)) and len(value) == 2 and all(map(is_real, value))
    wanted = f"a pair (a, b) with {low:g} < a <= b" + (f" <= {high:g}" if high < math.inf else "")
    require(pair and low < value[0] <= value[1] <= high, field, wanted, value)


def require_pictures(
    images: Tensor, generator: torch.Generator | None, *, draws: bool = True
) -> None:
    """Require a non-empty uint8 ``[B,C,H,W]`` with C 1 or 3, and a generator beside it.

    What ``draws`` nothing needs none. Like all these checks it looks at no value, so a GPU is not
    waited for.
    """
    right = _is_batch(images) and images.dtype == torch.uint8 and images.shape[1] in (1, 3)
    wanted = "a non-empty uint8 batch [B, C, H, W] with 1 or 3 channels"
    _require_batch(right, wanted, images, generator, draws)


def require_floats(images: Tensor, generator: torch.Generator) -> None:
    """Require a non-empty floating point ``[B,C,H,W]`` and a generator on its device."""
    right = _is_batch(images) and images.is_floating_point()
    _require_batch(right, "a non-empty float batch [B, C, H, W]", images, generator, draws=True)


def _is_batch(images: Tensor) -> bool:
    return isinstance(images, Tensor) and images.dim() == 4


def _require_batch(
    right: bool, wanted: str, images: Tensor, generator: torch.Generator | None, draws: bool
) -> None:
    if not (right and len(images)):
        raise UsageError(f"images must be {wanted}, got {described(images)}")
    if generator is None and not draws:
        return
    if generator is None or not hasattr(generator, "device"):
        kind = type(generator).__name__
        raise UsageError(f"generator must be a torch.Generator, by which is drawn, got {kind}")
    if generator.device.type != images.device.type:
        raise UsageError(
            f"generator must live on the images' device {images.device}, got {generator.device}; "
            f"make it with torch.Generator({images.device.type!r})"
        )


def described(tensor: Tensor) -> str:
    """The type and shape of a tensor, as in ``uint8 [128, 3, 32, 32]``."""
    if not isinstance(tensor, Tensor):
        return f"{type(tensor).__name__}: torch.as_tensor makes one of an array"
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
