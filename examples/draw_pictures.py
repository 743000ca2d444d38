"""Draw the pictures of ``examples/pictures``: as free as the rest, since nobody took them.

    python examples/draw_pictures.py FOLDER

writes them to FOLDER, by default to ``examples/pictures``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE, FINER = 96, 8


def ground(upper: tuple[int, int, int], lower: tuple[int, int, int], seed: int) -> Image.Image:
    """A picture shaded from one colour to another, with some noise: ``SIDE * FINER`` pixels."""
    share = np.linspace(0, 1, SIDE)[:, None, None]
    noise = np.random.default_rng(seed).normal(0, 5, (SIDE, SIDE, 1))
    levels = np.array(upper) * (1 - share) + np.array(lower) * share + noise
    small = Image.fromarray(levels.clip(0, 255).astype(np.uint8))
    return small.resize((SIDE * FINER,) * 2, Image.Resampling.BICUBIC)


def polygon(draw: ImageDraw.ImageDraw, points: str, colour: str) -> None:
    """A polygon whose corners are given in percent of the picture: ``"10,20 30,40 ..."``."""
    scale = SIDE * FINER / 100
    corners = [tuple(float(x) * scale for x in point.split(",")) for point in points.split()]
    draw.polygon(corners, fill=colour)


def ship() -> Image.Image:
    """A freighter on the sea."""
    image = ground((170, 200, 225), (205, 215, 220), 0)
    sea = ground((50, 95, 130), (25, 60, 95), 1)
    half = SIDE * FINER * 62 // 100
    image.paste(sea.crop((0, half, SIDE * FINER, SIDE * FINER)), (0, half))
    draw = ImageDraw.Draw(image)
    polygon(draw, "6,52 94,48 88,68 14,69", "#23262f")
    polygon(draw, "12,65 89,64 88,69 14,70", "#8f2f28")
    polygon(draw, "60,28 82,27 83,49 60,51", "#e9e7df")
    polygon(draw, "66,16 75,16 75,28 66,28", "#b5432f")
    for left, colour in ((14, "#b8702e"), (27, "#3f6d57"), (40, "#9b9a92")):
        polygon(draw, f"{left},40 {left + 12},40 {left + 12},52 {left},52", colour)
    for x in (63, 69, 75):
        polygon(draw, f"{x},33 {x + 4},33 {x + 4},38 {x},38", "#394b5c")
    return finished(image)


def airplane() -> Image.Image:
    """An airliner in the sky."""
    image = ground((95, 150, 215), (190, 215, 240), 2)
    draw = ImageDraw.Draw(image)
    polygon(draw, "44,46 24,24 32,23 60,46", "#9aa3ad")
    polygon(draw, "4,42 10,26 17,25 23,43", "#c03a36")
    polygon(draw, "6,44 18,42 70,42 86,45 94,50 86,54 70,56 16,52", "#eef0f2")
    polygon(draw, "42,52 26,78 35,78 62,53", "#b9c0c8")
    polygon(draw, "8,46 2,54 8,54 18,47", "#aab2bb")
    polygon(draw, "84,46 90,48 84,49", "#34465a")
    for x in range(26, 80, 6):
        polygon(draw, f"{x},46 {x + 2},46 {x + 2},48 {x},48", "#4d6074")
    return finished(image)


def finished(image: Image.Image) -> Image.Image:
    """At its own size, a little blurred, as a lens would."""
    blurred = image.filter(ImageFilter.GaussianBlur(FINER / 2))
    return blurred.resize((SIDE, SIDE), Image.Resampling.BOX)


def main() -> None:
    here = Path(__file__).resolve().parent / "pictures"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else here
    if folder.name.startswith("-") or (folder.exists() and not folder.is_dir()):
        sys.exit(f"wanted a folder to draw into, got {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    for draw in (ship, airplane):
        draw().save(folder / f"{draw.__name__}.png", optimize=True)
        print(f"{draw.__name__}.png")


if __name__ == "__main__":
    main()
