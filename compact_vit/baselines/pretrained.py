"""timm's models as baselines: built, filled with weights, and shown pictures of their own size.

Letters: B batch, C channels, H x W pixels, F features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UsageError, unknown
from .blocks import hidden_layers, initialise
from .config import TimmConfig


@torch.fx.wrap  # what is traced chooses when it is called
def _resized(x: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    if tuple(x.shape[-2:]) == size:
        return x
    whole = x.to(torch.promote_types(x.dtype, torch.float32))  # on CPUs there is none in half
    found = F.interpolate(whole, size, mode=mode, antialias=True, align_corners=False)
    return found.to(x.dtype)


class Resize(nn.Module):
    """Pictures at another size, antialiased: ``[B, C, H, W] -> [B, C, *size]``."""

    def __init__(self, size: tuple[int, int], mode: str) -> None:
        super().__init__()
        self.size, self.mode = size, mode

    def forward(self, x: Tensor) -> Tensor:
        return _resized(x, self.size, self.mode)

    def extra_repr(self) -> str:
        return f"size={self.size}, mode={self.mode}"


def timm_body(config: TimmConfig) -> tuple[nn.Module, int]:
    """``[B, C, H, W] -> [B, F]``, and F: resizing, timm's model up to its features, the MLP."""
    card = _card(config.timm_name)
    own = tuple(card.input_size[-2:])
    wanted = config.input_size or own
    size = (wanted, wanted) if isinstance(wanted, int) else wanted
    options: dict[str, Any] = {"in_chans": config.in_chans}
    if size != own and card.fixed_input_size:
        options["img_size"] = size
    model = _build(config.timm_name, config.pretrained, options, card)
    if config.pretrained:
        model.reset_classifier(0)
    features = getattr(model, "head_hidden_size", None) or model.num_features
    layers: list[nn.Module] = [nn.Dropout(config.dropout)] if config.dropout else []
    layers += hidden_layers(features, config.head, config.activation, dropout=config.dropout)
    head = nn.Sequential(*layers)
    initialise(head, config.activation)
    mode = "bicubic" if card.interpolation == "bicubic" else "bilinear"
    return nn.Sequential(Resize(size, mode), model, *head), (config.head or (features,))[-1]


def timm_model(name: str, in_chans: int) -> Any:
    """timm's model ``name`` with its weights and its own classifier; ``UsageError`` without."""
    return _build(name, True, {"in_chans": in_chans}, _card(name))


def timm_statistics(name: str, in_chans: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation, of each channel, that timm's weights of ``name`` are made for.

    For another number of channels than those have it is their average in every one.
    """
    card = _card(name)
    mean, std = (
        tuple(values) if len(values) == in_chans else (sum(values) / len(values),) * in_chans
        for values in (card.mean, card.std)
    )
    return mean, std


def check_timm(config: TimmConfig) -> None:
    """``UsageError`` for a model that timm does not have, or a file of weights that is missing."""
    _card(config.timm_name)
    _check_file(config.timm_name, config.pretrained)


def _check_file(name: str, source: bool | str) -> None:
    if isinstance(source, str) and not Path(source).is_file():
        raise UsageError(f"pretrained must be a file of weights of {name!r}, got {source!r}")


def _card(name: str) -> Any:
    """What timm knows of the model ``name`` and its weights; ``UsageError`` if it has none such."""
    import timm
    from timm.models import get_pretrained_cfg

    family = name.partition(".")[0]
    if not timm.is_model(family):
        models = [f"timm/{known}" for known in timm.list_models()]
        raise unknown("model", f"timm/{name}", models, "timm/NAME, NAME one of timm.list_models()")
    tags = [f"timm/{known}" for known in timm.list_pretrained(f"{family}.*")]
    if name != family and f"timm/{name}" not in tags:
        raise unknown("model", f"timm/{name}", tags or [f"timm/{family}"])
    return get_pretrained_cfg(name)


def _build(name: str, source: bool | str, options: dict[str, Any], card: Any) -> Any:
    """timm's model, with weights of its own or of a file if ``source`` asks for them."""
    import timm

    if source is True and not card.has_weights:
        raise UsageError(f"timm has no weights for {name!r}: leave pretrained out, or give a file")
    _check_file(name, source)
    if isinstance(source, str):
        # its own format, not the one that timm's origin of these weights may have
        options["pretrained_cfg_overlay"] = {"file": source, "custom_load": False}
    try:
        if not source:
            return timm.create_model(name, num_classes=0, **options)
        # with the classifier that the weights were made for timm insists on every one of them
        return timm.create_model(name, pretrained=True, **options)
    except Exception as error:  # of the network, the hub, the file, the model: each has its own
        reason = " ".join(str(error).split()) or type(error).__name__
        if source is False:
            raise UsageError(f"timm cannot build {name!r} so: {reason:.200}") from error
        if isinstance(source, str):
            raise UsageError(f"'{source}' holds no weights of {name!r}: {reason:.200}") from error
        page = f"https://huggingface.co/{card.hf_hub_id}"
        raise UsageError(
            f"the weights of timm's {name!r} could not be fetched ({reason:.100}): download "
            f"model.safetensors from {page} where there is a network, put it anywhere here, and "
            "give its path as pretrained"
        ) from error
