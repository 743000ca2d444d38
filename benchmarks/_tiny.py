"""The smallest run there is, with everything on that a run can have."""

from __future__ import annotations

from pathlib import Path


def draw_pictures(folder: Path, side: int, train: int, test: int) -> Path:
    """A folder data set of three classes: ``train`` and ``test`` pictures of each, of noise."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    for part, count in (("train", train), ("test", test)):
        for label, name in enumerate(("blue", "green", "red")):
            (folder / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 120, (side, side, 3)).astype(np.uint8)
                pixels[..., 2 - label] += 120
                Image.fromarray(pixels).save(folder / part / name / f"{i:03d}.png")
    return folder


def words_of(pictures: Path, side: int, epochs: int, batch_size: int) -> list[str]:
    """What is said after ``compact-vit train``, all of a run's draws and moving parts on."""
    words = f"--dataset folder --data-dir {pictures} --model cvt_2_8 --img-size {side}"
    words += f" --epochs {epochs} --batch-size {batch_size} --device cpu --quiet"
    words += " --dropout 0.1 --attention-dropout 0.1 --drop-path 0.2 --auto-augment cifar10"
    words += " --crop-padding 2 --min-crop-area 0.8 --erasing 0.5 --mixup 0.8 --cutmix 1"
    return f"{words} --clip-grad 1 --ema 0.9".split()
