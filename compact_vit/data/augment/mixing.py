"""Mixup and CutMix of a normalised batch, each sample with its own share and choice.

B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import UsageError
from ._batch import draw, draw_below, precise
from ._checks import described, require, require_floats, require_number, require_whole
from .normalize import inside

#: Far below, Beta's draws are divided by what no float holds.
LEAST_ALPHA = 1e-6


@dataclass(frozen=True)
class Mix:
    """Each picture mixed with its neighbour in the batch; an alpha of 0 turns that kind off.

    Mixup (Zhang et al. 2017) blends the two, lambda ~ Beta(mixup_alpha, mixup_alpha); CutMix (Yun
    et al. 2019) pastes a box of the neighbour, whose area is about 1 - lambda before it is cut at
    the border, lambda ~ Beta(cutmix_alpha, cutmix_alpha). With both on, a sample takes CutMix with
    ``switch_prob``. The neighbour is random because a shuffled loader makes it so.

    Called with images ``[B,C,H,W]`` (float), labels ``[B]`` and a generator; gives the images and
    the targets ``[B,K]``, float32: lambda, or the exact share of the pixels, for the sample's own
    label and the rest for the neighbour's.
    """

    num_classes: int
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    switch_prob: float = 0.5

    def __post_init__(self) -> None:
        require_whole("num_classes", self.num_classes, 1)
        for name in ("mixup_alpha", "cutmix_alpha"):
            alpha = getattr(self, name)
            require_number(name, alpha, 0)
            require(alpha == 0 or alpha >= LEAST_ALPHA, name, f"0 or at least {LEAST_ALPHA}", alpha)
        require_number("switch_prob", self.switch_prob, 0, 1)

    def __call__(
        self, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        require_floats(images, generator)
        whole = isinstance(labels, Tensor) and not labels.is_floating_point()
        if not whole or labels.shape != images.shape[:1]:
            wanted = f"whole numbers [{len(images)}], one per image"
            raise UsageError(f"labels must be {wanted}, got {described(labels)}")
        targets = self._one_hot(labels)
        if not (self.mixup_alpha or self.cutmix_alpha):
            return images, targets
        ours = self._shares(images, generator)  # [B,1,H,W]
        mixed = torch.lerp(images.roll(1, 0), images, ours.to(images.dtype))
        share = ours.mean((2, 3), dtype=torch.float32)  # [B,1]
        return mixed, torch.lerp(targets.roll(1, 0), targets, share)

    def _one_hot(self, labels: Tensor) -> Tensor:
        """Float32 ``[B,K]``; a label that is no class is an error, of the device's own on a GPU."""
        shape = (len(labels), self.num_classes)
        none = torch.zeros(shape, dtype=torch.float32, device=labels.device)
        try:
            return none.scatter(1, labels.long().unsqueeze(1), 1.0)
        except RuntimeError:
            low, high = int(labels.min()), int(labels.max())
            last = self.num_classes - 1
            if low >= 0 and high <= last:
                raise
            wrong = low if low < 0 else high
            raise UsageError(f"labels must be from 0 to {last}, got {wrong}") from None

    def _shares(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The share of a sample's own picture in each pixel ``[B,1,H,W]``, float32."""
        batch, _, height, width = images.shape
        if not self.cutmix_alpha:
            return _blended(generator, self.mixup_alpha, batch, height, width)
        pasted = _pasted(generator, self.cutmix_alpha, batch, height, width)
        if not self.mixup_alpha:
            return pasted
        cut = draw(generator, batch, 1, 1, 1) < self.switch_prob
        blended = _blended(generator, self.mixup_alpha, batch, height, width)
        return torch.where(cut, pasted, blended)


def _blended(
    generator: torch.Generator, alpha: float, batch: int, height: int, width: int
) -> Tensor:
    """Lambda in every pixel."""
    return draw_beta(generator, alpha, batch).view(-1, 1, 1, 1).expand(-1, 1, height, width)


def _pasted(
    generator: torch.Generator, alpha: float, batch: int, height: int, width: int
) -> Tensor:
    """0 in a box of area 1 - lambda around a random pixel, cut at the border, and 1 elsewhere."""
    side = (1 - draw_beta(generator, alpha, batch)).sqrt()
    h, w = (side * height).floor(), (side * width).floor()
    top = draw_below(generator, height, batch) - (h / 2).floor()
    left = draw_below(generator, width, batch) - (w / 2).floor()
    return (~inside(top, left, h, w, height, width)).float()


def draw_beta(generator: torch.Generator, alpha: float, batch: int) -> Tensor:
    """Numbers from Beta(alpha, alpha), float32 ``[B]``, exact for any alpha > 0.

    X / (X + Y) of two Gamma(alpha), where X = Gamma(alpha + 1) * U^(1/alpha); in logarithms, so
    that a small alpha does not underflow.
    """
    if generator.device.type == "mps":  # torch has no gamma there before 2.15
        seed = torch.randint(1 << 62, (), generator=generator, device=generator.device)
        drawn = draw_beta(torch.Generator().manual_seed(int(seed)), alpha, batch)
        return drawn.to(generator.device)
    dtype = precise(generator.device)
    shape = torch.full((2, batch), alpha + 1, device=generator.device, dtype=dtype)
    uniform = 1 - torch.rand((2, batch), generator=generator, device=generator.device, dtype=dtype)
    x, y = torch._standard_gamma(shape, generator).log() + uniform.log() / alpha
    return (x - y).sigmoid().float()
