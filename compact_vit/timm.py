"""The named models in timm's registry: ``import compact_vit.timm``, then ``timm.create_model``.

``timm.create_model("cct_6_3x1", num_classes=100, img_size=32, drop_path_rate=0.1)`` is
``compact_vit.create_model`` with timm's ways added: ``features_only``, configurations of the
input, checkpoints from files and the Hub, graph tracing. No pretrained weights are published yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from timm.models import (
    build_model_with_cfg,
    generate_default_cfgs,
    register_model,
    register_notrace_module,
)

from .data.catalog import DATASETS
from .errors import UsageError
from .layers import PositionalEmbedding
from .models.compact import CompactTransformer
from .models.config import config_from_name, named_models
from .models.zoo import create_model

#: timm's name of a keyword -> ours
_KEYWORDS = {
    "drop_rate": "dropout",
    "attn_drop_rate": "attention_dropout",
    "drop_path_rate": "drop_path",
}


def _default_cfg(name: str) -> dict[str, Any]:
    """What timm's tools want to know of a model's input and of its first and last layer."""
    config = config_from_name(name)
    cfg: dict[str, Any] = {
        "input_size": (config.in_chans, *config.height_width),
        "fixed_input_size": True,  # built for img_size; timm passes that on only if this says so
        "num_classes": config.num_classes,
        "first_conv": "tokenizer.convs.0" if config.num_convs else "tokenizer.proj",
        "classifier": "head",
        "license": "mit",
        "paper_name": "Escaping the Big Data Paradigm with Compact Transformers",
        "paper_ids": "arXiv:2104.05704",
    }
    if config.img_size == DATASETS["cifar10"].img_size:
        cfg |= {"mean": DATASETS["cifar10"].mean, "std": DATASETS["cifar10"].std, "crop_pct": 1.0}
    return cfg


default_cfgs = generate_default_cfgs({name: _default_cfg(name) for name in named_models()})


def _entrypoint(name: str) -> Callable[..., Any]:
    """The function that timm calls to build ``name``."""

    def build(**options: Any) -> CompactTransformer:
        for theirs, ours in _KEYWORDS.items():
            if theirs in options:
                if ours in options:
                    raise UsageError(f"{theirs} and {ours} are the same option: give one of them")
                options[ours] = options.pop(theirs)
        return create_model(name, **options)

    def entrypoint(pretrained: bool = False, **options: Any) -> Any:
        features = {
            "feature_cls": "getter",
            "out_indices": options.pop("out_indices", min(3, config_from_name(name).depth)),
        }
        return build_model_with_cfg(build, name, pretrained, feature_cfg=features, **options)

    entrypoint.__name__ = entrypoint.__qualname__ = name
    return entrypoint


# resizing positions depends on the picture's size, which a traced graph does not know
register_notrace_module(PositionalEmbedding)
for _name in named_models():
    globals()[_name] = register_model(_entrypoint(_name))  # timm warns where a name was taken
