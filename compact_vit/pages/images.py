"""Pictures inside a page: PNG files written as data URIs.

Letters: C channels, H x W pixels, K classes.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

#: Larger pictures are scaled down: a page shows many, at about this size.
MOST_PIXELS = 112
#: How much of a picture under its attention is hidden.
_COVER = 0.6


def picture_uri(image: Tensor) -> str:
    """``uint8 [C, H, W]``, gray or RGB, at most ``MOST_PIXELS`` wide and high."""
    return _png(_small(image))


def weights_uri(image: Tensor, weights: Tensor) -> str:
    """``weights [H, W]``, none negative, laid over ``image``, ``uint8 [C, H, W]``, in gray.

    Black is 0 and bright yellow the largest weight.
    """
    import numpy as np
    from matplotlib import colormaps
    from PIL import Image

    gray = _small(image.float().mean(dim=0, keepdim=True).round().to(torch.uint8)).convert("RGB")
    shares = weights.float().cpu() / weights.max().item()
    colours = Image.fromarray(colormaps["inferno"](shares.numpy(), bytes=True)[..., :3].copy())
    laid = colours.resize(gray.size)
    mixed = (1 - _COVER) * np.asarray(gray, float) + _COVER * np.asarray(laid, float)
    return _png(Image.fromarray(mixed.round().astype(np.uint8)))


def shares_uri(shares: Sequence[Sequence[float]]) -> str:
    """``K x K`` shares in 0..1, a pixel each: white is 0 and blue 1, by the square root."""
    import numpy as np
    from PIL import Image

    depth = np.sqrt(np.asarray(shares, float))[..., None]
    white, blue = np.array([255.0, 255.0, 255.0]), np.array([8.0, 48.0, 107.0])
    return _png(Image.fromarray(((1 - depth) * white + depth * blue).round().astype(np.uint8)))


def _small(image: Tensor) -> Image:
    from PIL import Image

    pixels = image.permute(1, 2, 0).cpu().numpy()  # [H, W, C]
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    picture.thumbnail((MOST_PIXELS, MOST_PIXELS))
    return picture


def _png(picture: Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
