"""AutoAugment, RandAugment and TrivialAugment of a uint8 batch, each sample with its own draw.

Nearest-neighbour geometry with 0 outside, as torchvision's defaults; the arithmetic of the
operations is that of its ``transforms``, not of ``transforms.v2``. B batch, C channels, H height, W
width, K operations, N operations per picture.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import unknown
from ._batch import constant, draw, draw_below, precise
from ._checks import require_number, require_pictures, require_whole
from .operations import NUMBER, apply_operations
from .subpolicies import SUBPOLICIES, read

_BLENDS = ("Color", "Sharpness", "Brightness", "Contrast")
_SIGNED = (*_BLENDS, "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")


@dataclass(frozen=True)
class AutoAugment:
    """One of a data set's 25 learned sub-policies per picture (Cubuk et al. 2018).

    ``policy`` is cifar10, svhn or imagenet; uint8 ``[B,C,H,W]`` -> the same. Magnitudes and signs
    are torchvision's.
    """

    policy: str = "cifar10"

    def __post_init__(self) -> None:
        if self.policy not in SUBPOLICIES:
            raise unknown("AutoAugment policy", str(self.policy), SUBPOLICIES)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        require_pictures(images, generator)
        batch, _, height, width = images.shape
        operation, chance, argument = _subpolicies(self.policy, height, width, images.device)
        chosen = draw_below(generator, len(operation), batch)
        skipped = draw(generator, batch, 2) >= chance[chosen]
        operation = operation[chosen].masked_fill(skipped, NUMBER["Identity"])
        sign = draw_below(generator, 2, batch, 2, 1)
        argument = argument[chosen].gather(2, sign).squeeze(2)
        return _in_turn(images, operation, argument)


@dataclass(frozen=True)
class TrivialAugment:
    """One of 14 operations at one of 31 strengths per picture (Mueller & Hutter 2021, wide)."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        require_pictures(images, generator)
        numbers, arguments = _trivial(images.device)
        chosen = draw_below(generator, len(numbers), len(images), 1)
        strength = draw_below(generator, 31, len(images), 1)
        sign = draw_below(generator, 2, len(images), 1)
        return _in_turn(images, numbers[chosen], arguments[chosen, strength, sign])


@dataclass(frozen=True)
class RandAugment:
    """``num_ops`` of fifteen operations per picture, with replacement (Cubuk et al. 2019, timm's).

    Each is applied with ``probability`` at a level of 0 to 10 drawn from
    Normal(``magnitude``, ``magnitude_std``) and clipped; with ``increasing`` all of them grow
    stronger with the level. timm's ``rand-m9-mstd0.5-inc1`` is ``RandAugment(2, 9, 0.5, True)``,
    except that here pixels are nearest ones, whole ones in a translation, and 0 outside.
    """

    num_ops: int = 2
    magnitude: float = 9.0
    magnitude_std: float = 0.0
    increasing: bool = True
    probability: float = 0.5

    def __post_init__(self) -> None:
        require_whole("num_ops", self.num_ops, 1)
        require_number("magnitude", self.magnitude, 0, 10)
        require_number("magnitude_std", self.magnitude_std, 0)
        require_number("probability", self.probability, 0, 1)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        require_pictures(images, generator)
        device, shape = images.device, (len(images), self.num_ops)
        noise = torch.randn(shape, generator=generator, device=device, dtype=precise(device))
        level = (self.magnitude + self.magnitude_std * noise).clamp(0, 10)
        sign = draw_below(generator, 2, *shape) * 2 - 1
        chosen = draw_below(generator, len(RAND_OPERATIONS), *shape)
        skipped = draw(generator, *shape) >= self.probability
        operation = _numbers(RAND_OPERATIONS, device)[chosen]
        arguments = rand_arguments(level, sign, self.increasing, *images.shape[2:])
        argument = arguments.gather(2, chosen.unsqueeze(2)).squeeze(2)
        return _in_turn(images, operation.masked_fill(skipped, NUMBER["Identity"]), argument)


def _in_turn(images: Tensor, operation: Tensor, argument: Tensor) -> Tensor:
    """Apply columns 0, 1, ... of operation and argument ``[B,N]``."""
    for turn in range(operation.shape[1]):
        images = apply_operations(images, operation[:, turn], argument[:, turn])
    return images


RAND_OPERATIONS = (
    *("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "SolarizeAdd"),
    *("Color", "Contrast", "Brightness", "Sharpness"),
    *("ShearX", "ShearY", "TranslateX", "TranslateY"),
)


def rand_arguments(
    level: Tensor, sign: Tensor, increasing: bool, height: int, width: int
) -> Tensor:
    """Arguments ``[B,N,K]`` of ``RAND_OPERATIONS``; level (0 to 10) and sign are ``[B,N]``."""
    share = level / 10
    bits, threshold = (share * 4).trunc(), (share * 256).trunc()
    factor = share * 1.8 + 0.1
    if increasing:
        bits, threshold = 4 - bits, 256 - threshold
        factor = (1 + sign * (share * 0.9)).clamp(min=0.1)
    none, shear, shift = torch.zeros_like(share), sign * share * 0.3, sign * share * 0.45
    amount = (share * 110).trunc()
    return torch.stack(
        [
            *(none, none, none, sign * share * 30, bits, threshold, amount),
            *(factor, factor, factor, factor),
            *(shear, shear, shift * width, shift * height),
        ],
        dim=-1,
    )


@constant
def _subpolicies(
    policy: str, height: int, width: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Of each sub-policy: numbers and probabilities ``[25,2]``, arguments by sign ``[25,2,2]``."""
    space = _space(10, 0.3, 150 / 331 * width, 150 / 331 * height, 30, 0.9, 4)
    rows = read(policy)
    numbers = torch.tensor([NUMBER[name] for name, _, _ in rows]).view(-1, 2)
    chances = torch.tensor([chance for _, chance, _ in rows], dtype=torch.float32).view(-1, 2)
    arguments = torch.stack([space[name][bin_] for name, _, bin_ in rows]).view(-1, 2, 2)
    return numbers.to(device), chances.to(device), arguments.to(device, precise(device))


@constant
def _trivial(device: torch.device) -> tuple[Tensor, Tensor]:
    """Numbers of the fourteen operations ``[14]`` and their arguments by sign ``[14,31,2]``."""
    space = _space(31, 0.99, 32, 32, 135, 0.99, 6)
    del space["Invert"]  # in the learned policies only
    arguments = torch.stack(list(space.values()))
    return _numbers(tuple(space), device), arguments.to(device, precise(device))


@constant
def _numbers(names: Sequence[str], device: torch.device) -> Tensor:
    return torch.tensor([NUMBER[name] for name in names], device=device)


def _space(
    bins: int,
    shear: float,
    shift_x: float,
    shift_y: float,
    degrees: float,
    change: float,
    bits: float,
) -> dict[str, Tensor]:
    """Arguments of each operation by bin and sign ``[bins,2]``, from torchvision's magnitudes.

    Bin 0 is the weakest; ``bits`` is how many are lost in the last.
    """
    none = torch.zeros(bins, dtype=torch.float32)
    line = functools.partial(torch.linspace, steps=bins, dtype=torch.float32)
    magnitudes = {
        "Identity": none,
        "ShearX": line(0, shear),
        "ShearY": line(0, shear),
        "TranslateX": line(0, shift_x),
        "TranslateY": line(0, shift_y),
        "Rotate": line(0, degrees),
        **{name: line(0, change) for name in _BLENDS},
        "Posterize": 8 - (torch.arange(bins, dtype=torch.float32) / ((bins - 1) / bits)).round(),
        "Solarize": line(255, 0),
        "AutoContrast": none,
        "Equalize": none,
        "Invert": none,
    }
    return {
        name: (name in _BLENDS) + torch.stack([-m if name in _SIGNED else m, m], 1).double()
        for name, m in magnitudes.items()
    }
