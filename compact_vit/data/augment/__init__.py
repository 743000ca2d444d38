"""Random transforms of a whole batch on its device, each sample with its own draw.

Every transform is called ``transform(images, generator)``: uint8 ``[B,C,H,W]`` and a
``torch.Generator`` of the same device in, a new batch out. A GPU never waits for the host.
"""

from __future__ import annotations

from ._batch import Compose, Transform
from .geometry import RandomCrop, RandomHorizontalFlip, RandomResizedCrop
from .masking import RandomMask
from .mixing import Mix
from .normalize import Normalize, RandomErasing
from .policies import AutoAugment, RandAugment, TrivialAugment

__all__ = [
    "AutoAugment",
    "Compose",
    "Mix",
    "Normalize",
    "RandAugment",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomMask",
    "RandomResizedCrop",
    "Transform",
    "TrivialAugment",
]
