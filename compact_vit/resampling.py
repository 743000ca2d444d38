"""Pictures that are tensors, scaled or made gray: what ``photographs`` does to those of PIL.

Letters: h x w pixels of a picture, H x W those wanted.
"""

from __future__ import annotations

import torch
from torch import Tensor


def covered(x: Tensor, size: tuple[int, int], method: str = "bilinear") -> Tensor:
    """``[..., h, w] -> [..., H, W]``: scaled to cover ``size``, its centre kept.

    Antialiased, as PIL does it, whose boxes end between pixels: bilinear to within a level, since
    PIL rounds after either direction, and upwards. Of uint8 and floats, whose type stays.
    """
    if x.shape[-2:] == size:
        return x
    height, width = x.shape[-2:]
    (top, bottom), (left, right) = _covering(height, width, *size)
    rows = _weights(height, top, bottom, size[0], method).to(x.device)
    columns = _weights(width, left, right, size[1], method).to(x.device)
    with torch.autocast(x.device.type, enabled=False):
        out = rows @ (x.float() @ columns.mT)
    return (out if x.is_floating_point() else out.round_().clamp_(0, 255)).to(x.dtype)


def gray(x: Tensor) -> Tensor:
    """The luma of ITU-R BT.601: ``[..., 3, h, w] -> [..., 1, h, w]``, of uint8 and floats.

    uint8 is rounded, 1,024 pictures at a time.
    """
    if x.dtype == torch.uint8 and x.dim() == 4 and len(x) > 1024:
        return torch.cat([gray(part) for part in x.split(1024)])
    weights = torch.tensor([0.299, 0.587, 0.114], device=x.device)
    out = (x * weights.view(3, 1, 1)).sum(dim=-3, keepdim=True)
    return (out if x.is_floating_point() else out.round_()).to(x.dtype)


def _covering(
    height: int, width: int, wanted_height: int, wanted_width: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where the rows, and where the columns, that scaled to the wanted size cover it begin and end.

    They are as many as can be of that shape around the centre, of a picture of ``height`` and
    ``width``; in pixels, ending between them, as those of PIL's ``ImageOps.fit``.
    """
    shape = wanted_width / wanted_height
    if width / height >= shape:
        rows, columns = float(height), shape * height
    else:
        rows, columns = width / shape, float(width)
    top, left = (height - rows) / 2, (width - columns) / 2
    return (top, top + rows), (left, left + columns)


def _weights(length: int, start: float, stop: float, size: int, method: str) -> Tensor:
    """What each of ``length`` pixels is in each of ``size`` that ``start`` to ``stop`` becomes.

    ``[size, length]``, every row's sum 1.
    """
    step = (stop - start) / size
    centres = start + (torch.arange(size, dtype=torch.float64).unsqueeze(1) + 0.5) * step
    pixels = torch.arange(length, dtype=torch.float64)
    if method == "nearest":
        return (pixels == centres.floor()).float()
    weights = KERNELS[method]((pixels + 0.5 - centres).abs() / max(step, 1.0))
    return (weights / weights.sum(1, keepdim=True)).float()


def _linear(distance: Tensor) -> Tensor:
    return (1 - distance).clamp(min=0)


def _cubic(distance: Tensor) -> Tensor:
    """Keys 1981 with a = -0.5, Horner's form."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0))


#: Of the distance in pixels of the coarser of two pictures, how much one counts in the other.
KERNELS = {"bilinear": _linear, "bicubic": _cubic}
