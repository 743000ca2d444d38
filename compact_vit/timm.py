"""The named models in timm's registry: ``import compact_vit.timm``, then ``timm.create_model``.

``timm.create_model("cct_6_3x1", num_classes=100, img_size=32, drop_path_rate=0.1)`` is
``compact_vit.create_model`` with timm's ways added: ``features_only``, configurations of the
input, checkpoints from files and the Hub, graph tracing. ``pretrained=True`` takes the weights in
the package, ``local-dir:FOLDER`` and ``hf-hub:USER/NAME`` what ``save_pretrained`` wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor

from .checks import TIMM_OPTIONS
from .data.catalog import DATASETS
from .errors import UsageError
from .models.compact import CompactTransformer
from .models.config import ModelConfig, config_from_name, named_models
from .models.preprocessing import OF_CLASSES, as_taken, pretrained_cfg
from .models.pretrained import check_sum, check_unseen, in_full, input_of, read_card
from .models.reference import fit_positions
from .models.shipped import WEIGHTS, holds_weights, shipped
from .models.zoo import create_model

#: What a model's weights were trained with, besides what its name says.
_OPTIONS = (
    *("positional_embedding", "residual", "mlp_kernel", "tokenizer_norm"),
    *("dropout", "attention_dropout", "drop_path"),
)


def _default_cfg(name: str) -> dict[str, Any]:
    """What timm's tools want to know of a model's input and of its first and last layer."""
    config = config_from_name(name)
    cifar10 = DATASETS["cifar10"]
    if config.img_size == cifar10.img_size:
        cfg = pretrained_cfg(config, cifar10.mean, cifar10.std)
    else:  # pictures as large as those of ImageNet are prepared as timm does
        cfg = pretrained_cfg(config) | {"interpolation": "bicubic", "crop_pct": 0.875}
    if config.family == "cct2":  # of this library
        return cfg
    return cfg | {
        "paper_name": "Escaping the Big Data Paradigm with Compact Transformers",
        "paper_ids": "arXiv:2104.05704",
    }


def _shipped_cfgs() -> dict[str, dict[str, Any]]:
    """The same of the weights in the package, by timm's names of them: ``<model>.<tag>``."""
    return {
        f"{name}.{tag}": _default_cfg(name)
        | input_of(read_card(folder))
        | {"tag": tag, "file": str(folder / WEIGHTS)}
        for name, tags in shipped().items()
        for tag, folder in tags.items()
    }


#: The named members, and what has weights besides.
_NAMES = list(dict.fromkeys([*named_models(), *shipped()]))

_SHIPPED = _shipped_cfgs()

default_cfgs = generate_default_cfgs({**{name: _default_cfg(name) for name in _NAMES}, **_SHIPPED})


def _checked(state: dict[str, Tensor], model: CompactTransformer) -> dict[str, Tensor]:
    """A checkpoint as timm read it, its checksum verified and its positions of the model's grid.

    What timm saved itself has none.
    """
    known = model.pretrained_cfg
    path = Path(known.get("file") or "")
    folder = path.parent if path.name == WEIGHTS else path
    if (known.get("source") == "local-dir" or path.name == WEIGHTS) and holds_weights(folder):
        card = read_card(folder)
        check_sum(state, card, folder)
        check_unseen(model.config, ModelConfig(**card["model_args"]))
    state = in_full(state)
    grid = model.tokenizer.grid_size(*known["input_size"][-2:])
    table = state.get("positions.table")
    tokens = model.num_prefix_tokens + grid[0] * grid[1]
    # a file of another number of positions is not of the input that is known: of the model's own
    known_grid = table is not None and table.shape[1:2] == (tokens,)
    fit_positions(model, state, grid if known_grid else None)
    return state


def _as_trained(name: str, tag: Any) -> dict[str, Any]:
    """The options that the package's weights ``tag`` (None: the first) were trained with."""
    tags = shipped().get(name, {})
    folder = next(iter(tags.values()), None) if tag is None else tags.get(tag)
    if folder is None:
        return {}
    trained = read_card(folder)["model_args"]
    return {option: trained[option] for option in _OPTIONS if option in trained}


def _tell(model: CompactTransformer, pretrained: bool) -> None:
    """Make what timm's entry of the name says of its weights and their input ``model``'s own."""
    known = model.pretrained_cfg  # timm's default_cfg of the model is the same dictionary
    known |= as_taken(known, model.config)
    of_weights, package = (*OF_CLASSES, "license"), _SHIPPED.values()
    by_entry = known.get("source") not in ("hf-hub", "local-dir")
    if pretrained and by_entry and known.get("file") not in [card["file"] for card in package]:
        for said in of_weights:  # of the package's weights, in whose place a file was given
            if known.get(said) in [card.get(said) for card in package]:
                known.pop(said, None)
    if not pretrained or model.num_classes != known["num_classes"]:
        for said in OF_CLASSES if pretrained else of_weights:
            known.pop(said, None)


def _entrypoint(name: str) -> Callable[..., Any]:
    """The function that timm calls to build ``name``."""

    def build(**options: Any) -> CompactTransformer:
        for theirs, ours in TIMM_OPTIONS.items():
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
        tag = options.get("pretrained_cfg")
        if pretrained and (tag is None or isinstance(tag, str)):
            given = {TIMM_OPTIONS.get(option, option) for option in options}
            stored = _as_trained(name, tag)
            options |= {option: stored[option] for option in stored.keys() - given}
        # a file's own options, merged into the others: older versions of timm do not say which
        of_file = isinstance(tag, dict) and tag.get("source") in ("hf-hub", "local-dir")
        stored = options.get("pretrained_model_args") or (options if of_file else {})
        for theirs, ours in TIMM_OPTIONS.items():
            if theirs in options and ours in stored and options.get(ours) == stored[ours]:
                del options[ours]
        model = build_model_with_cfg(
            build,
            name,
            pretrained,
            feature_cfg=features,
            pretrained_filter_fn=_checked,
            **options,
        )
        if isinstance(model, CompactTransformer):  # features alone have no classes
            _tell(model, pretrained)
        return model

    entrypoint.__name__ = entrypoint.__qualname__ = name
    return entrypoint


for _name in _NAMES:
    globals()[_name] = register_model(_entrypoint(_name))  # timm warns where a name was taken
