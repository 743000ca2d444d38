"""A picture as it is meant to be seen: upright, of 8 bits a channel, on white. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

#: The tags that tell how a picture is turned, of a TIFF how many bits a value has, and whether 0 is
#: black.
_ORIENTATION, _BITS_PER_SAMPLE, _PHOTOMETRIC = 274, 258, 262


def fitted(image: Image, height: int, width: int, method: str = "bilinear") -> Image:
    """``image`` as it is seen, scaled by ``method`` to cover the size in pixels, its centre kept.

    ``ValueError`` as of ``as_seen``.
    """
    from PIL import Image as Images, ImageOps

    kernel = Images.Resampling[method.upper()]
    # first scaled, then laid on white: colours are weighted by how opaque they are
    return on_white(ImageOps.fit(as_seen(image), (width, height), kernel))


def drafted(image: Image, height: int, width: int) -> Image:
    """A JPEG still in its file at the half, quarter or eighth that covers the size twice.

    Pictures of other kinds, and smaller ones, are the ``image`` itself, which stays as it is.
    """
    from PIL import Image as Images
    from PIL.JpegImagePlugin import JpegImageFile

    side = 2 * max(height, width)
    if not isinstance(image, JpegImageFile) or not image.tile or image.fp is None:
        return image
    if min(image.size) < 2 * side:
        return image
    again = Images.open(image.fp, formats=("JPEG",))
    if (again.size, again.mode, image.tell()) != (image.size, image.mode, 0):
        return image  # it was drafted before, or its frame is another
    again.draft(None, (side, side))
    return again


def as_seen(image: Image) -> Image:
    """``image`` upright and of 8 bits: L or RGB, or LA or RGBA if some of it is transparent.

    Of 12 and 16 bits the upper 8. ``ValueError`` where it is not known how many there are.
    """
    _load(image)
    return _upright(_eight_bits(image), image)


def on_white(image: Image) -> Image:
    """``image`` without transparency, as it lies on a page."""
    from PIL import Image as Images

    if not image.mode.endswith("A"):
        return image
    white = Images.new("RGBA", image.size, "white")
    return Images.alpha_composite(white, image.convert("RGBA"))


def _load(image: Image) -> None:
    """Read the pixels of ``image``, if they are still in its file."""
    name = getattr(image, "filename", "")
    if name:  # PIL maps a file that has a name, and scrambles a TIFF that lies turned
        image.filename = ""  # type: ignore[attr-defined]
    try:
        image.load()
    finally:
        if name:
            image.filename = name  # type: ignore[attr-defined]


def _upright(image: Image, taken: Image) -> Image:
    """``image`` turned as was the camera by which it was ``taken``."""
    from PIL import ImageOps

    try:
        turned = taken.getexif().get(_ORIENTATION, 1)
        if turned == 1:
            return image
        image.getexif()[_ORIENTATION] = turned  # the 8 bits may have come without it
        return ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception:  # an orientation that cannot be read is none
        return image


def _eight_bits(image: Image) -> Image:
    from PIL import Image as Images

    if image.mode.startswith("I"):  # more than 8 bits: a plain conversion would cut at 255
        values = np.asarray(image)
        told = f"its values go from {values.min()} to {values.max()}"
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"{told}, wanted 8 or 16 bits")
        # PNG and PPM come as 16 bits; a TIFF tells how many they are, and they may be 32 or signed
        if image.format == "TIFF" and image.mode == "I" and values.max() < 256:
            raise ValueError(f"{told}, which may be of 8 bits or of 16: save it with 8 bits")
        tags = getattr(image, "tag_v2", {})
        bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
        clear = image.info.get("transparency")  # one value of all its bits
        shades = (values >> (min(bits, 16) - 8)).astype(np.uint8)
        image = Images.fromarray(255 - shades if tags.get(_PHOTOMETRIC) == 0 else shades)
        if clear is not None:
            image.putalpha(Images.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    if image.mode == "F":
        raise ValueError("its values are floating-point numbers, wanted 8 or 16 bits")
    if "transparency" in image.info or image.mode == "PA":
        return image.convert("RGBA")
    return image if image.mode in ("L", "LA", "RGB", "RGBA") else image.convert("RGB")
