"""The model that a configuration asks for, compact transformer or baseline. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..models.config import ModelConfig
from ..models.names import config_of

if TYPE_CHECKING:
    from torch import nn

    from ..models.names import AnyConfig
    from ..models.zoo import AnyModel
    from .config import TrainConfig

#: Fields of a training that mean something for the compact transformers alone.
OF_TRANSFORMERS = ("positional_embedding", "residual", "attention_dropout", "drop_path")

#: Fields that a model takes, where they are not None.
_OF_MODELS = ("img_size", "dropout", *OF_TRANSFORMERS)


def is_transformer(model: str) -> bool:
    """Whether ``model`` names a compact transformer; ``UsageError`` if it names nothing."""
    return isinstance(config_of(model), ModelConfig)


def model_config(
    config: TrainConfig,
    num_classes: int | None = None,
    in_chans: int | None = None,
    *,
    fetch: bool = True,
) -> AnyConfig:
    """What ``config.model`` is made of, for pictures of ``in_chans`` channels in ``num_classes``.

    Without ``fetch`` it asks for no pretrained weights: those of a run are coming.
    """
    options: dict[str, Any] = {"num_classes": num_classes, "in_chans": in_chans}
    options |= {n: getattr(config, n) for n in _OF_MODELS if getattr(config, n) is not None}
    options |= config.model_options
    if not fetch and "pretrained" in options:
        options["pretrained"] = False
    return config_of(config.model, **options)


def build_model(
    config: TrainConfig, num_classes: int, in_chans: int, *, fetch: bool = True
) -> AnyModel:
    """The configuration's model for pictures of ``in_chans`` channels in ``num_classes``.

    Without ``fetch`` it has no pretrained weights.
    """
    from ..models.zoo import model_of

    return model_of(model_config(config, num_classes, in_chans, fetch=fetch))


def tell_pictures(
    model: nn.Module, mean: Sequence[float], std: Sequence[float], classes: Sequence[str]
) -> None:
    """Let ``model`` know how its pictures are prepared and what its answers mean, if it can."""
    from ..models.compact import CompactTransformer
    from ..models.preprocessing import pretrained_cfg

    if isinstance(model, CompactTransformer):
        model.pretrained_cfg = pretrained_cfg(model.config, mean, std, classes)
