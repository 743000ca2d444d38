"""What pictures go through before a model that knows how its weights were trained.

Letters: C channels, H x W pixels of a picture, h x w those that the model takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..checks import is_real
from ..errors import UsageError, unknown
from ..photographs import drafted, fitted
from ..resampling import covered, gray
from .config import ModelConfig

#: What a ``pretrained_cfg`` says of the classes, which a new classifier does not have.
OF_CLASSES = ("label_names", "description", "tag")

#: How pixels are resampled, by the names that timm gives.
INTERPOLATIONS = ("nearest", "bilinear", "bicubic")

#: What floats from 0 to 1 may reach by resampling or noise, and levels of 0 to 255 hardly stay in.
_OVERSHOOT = 2.0


def first_conv(config: ModelConfig) -> str:
    """The name of the layer that sees the picture's channels."""
    return "tokenizer.convs.0" if config.num_convs else "tokenizer.proj"


def pretrained_cfg(
    config: ModelConfig,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    label_names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """What timm's tools want to know of a model: its input, its classes, its ends.

    Pictures are prepared as this library trains on a folder: scaled to cover the model's size,
    their centre cropped.
    """
    known: dict[str, Any] = {
        "input_size": (config.in_chans, *config.height_width),
        "fixed_input_size": True,  # built for img_size; timm passes that on only if this says so
        "num_classes": config.num_classes,
        "first_conv": first_conv(config),
        "classifier": "head",
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "center",
    }
    if mean is not None and std is not None:
        known |= {"mean": tuple(mean), "std": tuple(std)}
    if label_names is not None:
        known["label_names"] = tuple(label_names)
    return known


def as_taken(known: Mapping[str, Any], config: ModelConfig) -> dict[str, Any]:
    """The ``pretrained_cfg`` of weights as a model of ``config`` takes pictures that has them."""
    said = {name: known[name] for name in ("mean", "std") if known.get(name)}
    own = {name: _for_channels(values, config.in_chans) for name, values in said.items()}
    return {**known, "input_size": (config.in_chans, *config.height_width), **own}


@dataclass(frozen=True)
class Preprocess:
    """A picture as the model takes it: normalised float32 ``[..., C, h, w]``.

    Takes pictures of PIL, which are turned upright and laid on white (large JPEGs are decoded
    smaller if they are still in their file, as training reads them), and tensors
    ``[..., C, H, W]`` of uint8 or of floats from 0 to 1. They are scaled (antialiased) to cover
    ``size`` by ``1 / crop_pct`` and their centre is cropped; gray and colour become each other
    where the model wants it. Raises ``UsageError`` for others.
    """

    size: tuple[int, int]
    """Height and width that the model takes, in pixels."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"
    crop_pct: float = 1.0

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            raise unknown("interpolation", str(self.interpolation), INTERPOLATIONS)
        for name in ("mean", "std"):
            values = getattr(self, name)
            if not values or not all(map(is_real, values)):
                raise UsageError(f"{name} must be a number for each channel, got {values!r:.60}")
        if max(self.mean) > 1:
            wanted = "of values from 0 to 1: divide levels of 0 to 255 by 255"
            raise UsageError(f"mean must be {wanted}, got {self.mean!r:.60}")
        if len(self.mean) != len(self.std) or min(self.std) <= 0:
            wanted = f"{len(self.mean)} positive numbers, as many as the means"
            raise UsageError(f"std must be {wanted}, got {self.std!r:.60}")
        if not is_real(self.crop_pct) or not 0 < self.crop_pct <= 1:
            raise UsageError(f"crop_pct must be above 0 and at most 1, got {self.crop_pct!r:.60}")

    @classmethod
    def of(cls, card: Mapping[str, Any], in_chans: int, size: tuple[int, int]) -> Preprocess:
        """That of a ``pretrained_cfg``, for a model of ``in_chans`` channels and of ``size``."""
        if "mean" not in card or "std" not in card:
            raise UsageError(
                "how pictures are prepared for these weights is not known: set mean and std in the "
                "model's pretrained_cfg (of a folder of weights in its config.json), or take "
                "weights that say it, by pretrained=True, from_pretrained or load_model"
            )
        if card.get("crop_mode", "center") != "center":
            raise UsageError(f"crop_mode must be 'center', got {card['crop_mode']!r:.60}")
        for name in ("mean", "std"):
            said = card[name]
            if not isinstance(said, list | tuple) or len(said) not in (1, in_chans):
                raise UsageError(f"{name} must be {in_chans} numbers, got {said!r:.60}")
        return cls(
            size,
            _for_channels(card["mean"], in_chans),
            _for_channels(card["std"], in_chans),
            card.get("interpolation", "bilinear"),
            card.get("crop_pct", 1.0),
        )

    def check_as_runs(self) -> None:
        """Refuse, with ``UsageError``, what no run does to the files that it reads."""
        if (self.interpolation, self.crop_pct) != ("bilinear", 1.0):
            raise UsageError(
                f"the weights want pictures {self.interpolation}, crop_pct {self.crop_pct:g}, "
                "not as a run's: use the model's transforms()"
            )

    def __call__(self, picture: Any) -> Tensor:
        from torchvision.transforms.v2 import functional as F

        whole = (int(self.size[0] / self.crop_pct), int(self.size[1] / self.crop_pct))
        if isinstance(picture, Tensor):
            x = covered(self._coloured(picture), whole, self.interpolation)
        else:
            x = self._fit_image(picture, whole)
        x = F.to_dtype(F.center_crop(x, list(self.size)), torch.float32, scale=True)
        return F.normalize(x, list(self.mean), list(self.std))

    def _fit_image(self, picture: Any, size: tuple[int, int]) -> Tensor:
        """A picture of PIL, centre cropped to the shape of ``size`` and scaled to it."""
        from PIL import Image
        from torchvision.transforms.v2 import functional as F

        if not isinstance(picture, Image.Image):
            got = type(picture).__name__
            raise UsageError(f"a picture must be PIL's or a tensor [..., C, H, W], got {got}")
        mode = {1: "L", 3: "RGB"}.get(len(self.mean))
        if mode is None:
            raise UsageError(f"give tensors to a model of {len(self.mean)} channels, not pictures")
        try:
            image = fitted(drafted(picture, *size), *size, self.interpolation)
        except ValueError as error:
            raise UsageError(f"the picture cannot be prepared: {error}") from None
        return F.pil_to_tensor(image.convert(mode))

    def _coloured(self, x: Tensor) -> Tensor:
        """The tensor in the model's channels: ``[..., c, H, W] -> [..., C, H, W]``."""
        wanted = len(self.mean)
        plain = x.dtype == torch.uint8 or x.is_floating_point()
        if x.dim() >= 3 and plain and min(x.shape[-2:]) > 0:
            if x.is_floating_point() and (x > _OVERSHOOT).any():
                raise UsageError(
                    f"floats must be from 0 to 1, got some up to {x.max().item():g}: divide levels "
                    "of 0 to 255 by 255, or give them as uint8"
                )
            if x.is_floating_point() and (x <= 1 - _OVERSHOOT).any():
                raise UsageError(
                    f"floats must be from 0 to 1, got some down to {x.min().item():g}: give them "
                    "as they are, not normalised"
                )
            if x.shape[-3] == wanted:
                return x
            if x.shape[-3] == 1:
                return x.expand(*x.shape[:-3], wanted, *x.shape[-2:])
            if x.shape[-3] == 3 and wanted == 1:
                return gray(x)
        got = f"{str(x.dtype).removeprefix('torch.')} {list(x.shape)}"
        raise UsageError(f"wanted uint8 or floats [..., {wanted}, H, W], got {got}")


def _for_channels(values: Sequence[float], count: int) -> tuple[float, ...]:
    """A number for each of ``count`` channels: the given ones, or their mean for every channel."""
    return tuple(values) if len(values) == count else (sum(values) / len(values),) * count
