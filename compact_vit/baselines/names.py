"""The names of the baselines and their grammar. Imports no torch."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from ..checks import given_options
from ..errors import unknown
from .config import (
    BaselineConfig,
    CifarResNetConfig,
    ConvConfig,
    MLPConfig,
    ResidualConvConfig,
    ResidualEncoderConfig,
    TimmConfig,
)

#: What names that are not in ``named_baselines`` look like.
FORMS = ("rn_N", "rr_N", "resnet_N_cifar", "timm/NAME")

#: What the MLPs named for their widths have in common.
_REPORTED: dict[str, Any] = {"activation": "leaky_relu", "dropout": 0.3}

_PLAIN: dict[str, tuple[type[BaselineConfig], dict[str, Any]]] = {
    "mlp": (MLPConfig, {}),
    "mlp_naive": (MLPConfig, {**_REPORTED, "widths": (256,) * 9}),
    "mlp_halving": (MLPConfig, _REPORTED),
    "mlp_quartering": (MLPConfig, _REPORTED),
    "mlp_alternating": (MLPConfig, _REPORTED),
    "conv_encoder": (
        ConvConfig,
        {"filters": (32, 64, 128), "layers_per_block": 1, "pool_every": 1, "hidden": ()},
    ),
    "conv_classifier": (ConvConfig, {}),
    "residual_classifier": (ResidualConvConfig, {}),
}

#: What each width of these is divided by to give the next, over and over.
_DIVISORS = {"mlp_halving": (2,), "mlp_quartering": (4,), "mlp_alternating": (4, 2)}

_NUMBERED = re.compile(r"(?:(?P<blocks>rn|rr)_|(?P<resnet>resnet)_)(?P<n>[1-9][0-9]{0,3})(_cifar)?")


def named_baselines() -> list[str]:
    """The members that are listed; ``FORMS`` says which others there are."""
    blocks = [f"{kind}_{n}" for kind in ("rn", "rr") for n in (1, 3, 5)]
    return [*_PLAIN, *blocks, *(f"resnet_{n}_cifar" for n in (20, 32, 44, 56, 110))]


def is_baseline(name: str) -> bool:
    """Whether ``name`` is a baseline's: listed, or of one of the ``FORMS``."""
    return _member(name) is not None


def config_from_name(name: str, **options: Any) -> BaselineConfig:
    """The configuration of any baseline by its name.

    ``mlp_halving``, ``mlp_quartering`` and ``mlp_alternating`` divide the number of the picture's
    values by 2, by 4, by 4 and 2 in turn, as long as the width is not below the number of classes
    (10 if there are none). ``rn_N`` has N residual blocks before ``conv_encoder``'s layers, in
    ``rr_N`` each of them sees the picture too. ``resnet_N_cifar`` are those of arXiv 1512.03385
    with identity shortcuts (option A). ``timm/NAME`` is timm's NAME.

    An option of None stands for the name's own value. Raises ``UsageError`` for a name that is no
    baseline's, and for an unknown or impossible option.
    """
    member = _member(name)
    if member is None:
        form = f"{', '.join(FORMS[:-1])} or {FORMS[-1]}"
        raise unknown("model", name, named_baselines(), form)
    kind, values = member
    values |= given_options(options, (field.name for field in fields(kind)))
    config = kind(**values)
    if name in _DIVISORS and "widths" not in values:
        inputs = config.in_chans * math.prod(config.height_width)
        least = config.num_classes or 10
        values["widths"] = tuple(_divided(inputs, _DIVISORS[name], least))
        config = kind(**values)
    return config


def _member(name: str) -> tuple[type[BaselineConfig], dict[str, Any]] | None:
    """The kind of configuration that ``name`` stands for and its own values, None if it is none."""
    if name in _PLAIN:
        kind, values = _PLAIN[name]
        return kind, dict(values)
    if name.startswith("timm/") and name != "timm/":
        return TimmConfig, {"timm_name": name.removeprefix("timm/")}
    match = _NUMBERED.fullmatch(name)
    if match is None or bool(match["resnet"]) != name.endswith("_cifar"):
        return None
    number = int(match["n"])
    if match["resnet"]:
        return CifarResNetConfig, {"depth": number}
    return ResidualEncoderConfig, {"blocks": number, "sees_picture": match["blocks"] == "rr"}


def _divided(width: int, divisors: tuple[int, ...], least: int) -> Iterator[int]:
    """``width`` divided by ``divisors`` in turn, over and over, as long as ``least`` is reached."""
    for divisor in itertools.cycle(divisors):
        width //= divisor
        if width < least:
            return
        yield width
