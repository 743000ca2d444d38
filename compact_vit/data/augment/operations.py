"""The operations of the published policies by number, and running a mixture of them at once.

The numbers put what is computed together side by side: the geometric operations become one affine
gather, the point-wise ones one look-up. B batch, C channels, H height, W width, K operations.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import ops
from ._batch import per_operation
from .geometry import affine

NAMES = (
    *("Identity", "Color", "Sharpness"),
    *("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"),
    *("Posterize", "Solarize", "SolarizeAdd", "Brightness", "Contrast"),
    *("AutoContrast", "Equalize", "Invert"),
)
NUMBER = {name: number for number, name in enumerate(NAMES)}
_FIRST_GEOMETRIC, _FIRST_POINTWISE = NUMBER["ShearX"], NUMBER["Posterize"]
_POINTWISE = (
    *(ops.posterize, ops.solarize, ops.solarize_add, ops.brightness, ops.contrast),
    *(ops.autocontrast, ops.equalize, ops.invert),
)


def apply_operations(images: Tensor, operation: Tensor, argument: Tensor) -> Tensor:
    """Run operation ``operation[b]`` of ``NAMES`` with ``argument[b]`` on ``images[b]``.

    The argument is the operation's own: a factor, bits, a threshold, an amount, pixels along the
    axis, degrees counter-clockwise, or the shear's slope.
    """
    kind = torch.where(
        operation < _FIRST_POINTWISE, operation.clamp(max=_FIRST_GEOMETRIC), len(_KINDS) - 1
    )
    return per_operation(kind, _KINDS, images, argument, operation)


def _identity(images: Tensor, argument: Tensor, operation: Tensor) -> Tensor:
    return images


def _color(images: Tensor, argument: Tensor, operation: Tensor) -> Tensor:
    return ops.color(images, argument)


def _sharpness(images: Tensor, argument: Tensor, operation: Tensor) -> Tensor:
    return ops.sharpness(images, argument)


def _geometric(images: Tensor, argument: Tensor, operation: Tensor) -> Tensor:
    return affine(images, matrices(operation, argument, *images.shape[2:]))


def _pointwise(images: Tensor, argument: Tensor, operation: Tensor) -> Tensor:
    number = (operation - _FIRST_POINTWISE).clamp(min=0)
    tables = per_operation(number, _POINTWISE, images, argument)
    return ops.lookup(images, tables)


_KINDS = (_identity, _color, _sharpness, _geometric, _pointwise)


def matrices(operation: Tensor, argument: Tensor, height: int, width: int) -> Tensor:
    """Float32 ``[B,2,3]`` for ``affine``: shears keep the top left corner, rotations the centre."""
    names = torch.arange(_FIRST_GEOMETRIC, _FIRST_POINTWISE, device=operation.device)
    own = argument.unsqueeze(1) * (operation.unsqueeze(1) == names)  # 0 but in its own column
    shear_x, shear_y, shift_x, shift_y, angle = own.unbind(1)
    cos, sin = angle.deg2rad().cos(), angle.deg2rad().sin()
    x = (cos, shear_x - sin, shear_x * (height / 2) - shift_x.trunc())
    y = (shear_y + sin, cos, shear_y * (width / 2) - shift_y.trunc())
    return torch.stack([*x, *y], 1).float().view(-1, 2, 3)
