"""One run, whole: every choice a field, documented once for Python, the command line and the file.

Imports no torch, so that ``--help`` answers at once.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..data.catalog import dataset_info
from ..errors import UsageError, unknown
from ..models.config import config_from_name
from .recipes import recipe_values

AUTO_AUGMENTS = ("none", "cifar10", "svhn", "imagenet", "rand", "trivial")
PRECISIONS = ("fp32", "bf16", "fp16")
SWITCHES = ("auto", "on", "off")

#: Stands for "what the recipe says" until the configuration is complete.
_BY_RECIPE: Any = None


def _field(group: str, help: str, default: Any = _BY_RECIPE) -> Any:
    return field(default=default, metadata={"group": group, "help": help})


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides a training run.

    A field that is not given takes the recipe's value, the data set's, or the general one, in this
    order, so that a configuration is always complete: ``TrainConfig(dataset="cifar100").lr`` is
    5e-4. Raises ``UsageError`` naming the field, what was wanted and what came.
    """

    dataset: str = _field("data", "named data set, or 'folder' for --data-dir", "digits")
    data_dir: str | None = _field(
        "data", "where the archives are, or go; for 'folder': holds train/ and test/ or val/", None
    )
    download: bool = _field("data", "fetch a missing archive", True)
    img_size: int | tuple[int, int] = _field(
        "data", "side of the pictures, or HEIGHTxWIDTH, pixels"
    )
    val_fraction: float = _field(
        "data", "stratified share of the training set held out to pick the best epoch on", 0.0
    )

    recipe: str = _field("recipe", "named set of values; every other flag overrides it")

    model: str = _field("model", "any name of a family: cct_6_3x1, cvt_7_4, vit_lite_6_4, ...")
    positional_embedding: str = _field("model", "learnable, sine or none")
    residual: str = _field("model", "published or pre_norm form of the encoder layer", "published")
    dropout: float = _field("model", "dropout of embeddings, projections and MLP")
    attention_dropout: float = _field("model", "dropout of attention weights")
    drop_path: float = _field("model", "stochastic depth of the last layer, rising from 0")

    auto_augment: str = _field("augmentation", "policy: " + ", ".join(AUTO_AUGMENTS))
    rand_num_ops: int = _field("augmentation", "operations a picture (rand)")
    rand_magnitude: float = _field("augmentation", "strength in 0..10 (rand)")
    rand_magnitude_std: float = _field("augmentation", "standard deviation of the strength (rand)")
    crop_padding: int = _field("augmentation", "zero pixels added before a random crop")
    min_crop_area: float = _field(
        "augmentation", "smallest share of a random resized crop; 1: no such crop"
    )
    flip: float = _field("augmentation", "probability of mirroring")
    erasing: float = _field("augmentation", "probability of erasing a rectangle")
    mixup: float = _field("augmentation", "alpha of mixup's Beta; 0: off")
    cutmix: float = _field("augmentation", "alpha of cutmix's Beta; 0: off")
    mix_switch: float = _field("augmentation", "probability of cutmix where both are on")
    mix_off_epoch: int = _field("augmentation", "epoch from which nothing is mixed; 0: never")
    label_smoothing: float = _field("augmentation", "share of the target spread over all classes")

    epochs: int = _field("optimisation", "passes over the training set, warm-up and all")
    batch_size: int = _field("optimisation", "pictures an optimiser step, over all accumulation")
    accumulation: int | str = _field(
        "optimisation",
        "parts a batch is computed in, to save memory; auto: small ones on a CPU",
        "auto",
    )
    lr: float = _field("optimisation", "peak learning rate of AdamW")
    min_lr: float = _field("optimisation", "learning rate at the cosine's end")
    warmup_lr: float = _field("optimisation", "learning rate of the first step")
    warmup_ratio: float = _field("optimisation", "share of the epochs with rising learning rate")
    cooldown_ratio: float = _field("optimisation", "share of the epochs, the last, at min_lr")
    weight_decay: float = _field(
        "optimisation", "decay of weights; norms, biases, positions and tokens take none"
    )
    clip_grad: float = _field("optimisation", "largest gradient norm; 0: no clipping")
    ema: float = _field("optimisation", "decay a step of averaged weights, evaluated; 0: off")

    precision: str = _field(
        "machine",
        "fp32, bf16 or fp16 mixed; auto: bf16 where the hardware has it, else fp32",
        "auto",
    )
    compile: str | bool = _field(
        "machine", "torch.compile, on or off; auto: for long runs on a GPU", "auto"
    )
    cpu_attention_dropout: bool = _field(
        "machine", "drop attention weights on a CPU too, where it costs the fused attention"
    )
    device: str = _field("machine", "auto, cpu, cuda, cuda:1, mps, ...", "auto")
    seed: int = _field("machine", "of weights, order and augmentation", 0)

    def __post_init__(self) -> None:
        for name in ("dataset", "recipe", "model"):
            if not isinstance(getattr(self, name), str if name == "dataset" else str | None):
                raise UsageError(f"{name} must be a name, got {getattr(self, name)!r}")
        info = dataset_info(self.dataset)
        values = recipe_values(self.dataset, self.recipe, self.model)
        values.setdefault("img_size", info.img_size)
        named = config_from_name(self.model or values["model"])  # cct_7_3x1_32_sine says sine
        values.setdefault("positional_embedding", named.positional_embedding)
        # a recipe's attention dropout may be left out, but not one that was asked for
        values["cpu_attention_dropout"] = self.attention_dropout is not _BY_RECIPE
        for entry in dataclasses.fields(self):
            if getattr(self, entry.name) is _BY_RECIPE and entry.name in values:
                object.__setattr__(self, entry.name, values[entry.name])
        if isinstance(self.compile, bool):
            object.__setattr__(self, "compile", "on" if self.compile else "off")
        if isinstance(self.img_size, list):  # as JSON brings it
            object.__setattr__(self, "img_size", tuple(self.img_size))
        _check(self)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, as ``config.json`` holds them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """A configuration from ``config.json``'s values; an unknown field is a ``UsageError``."""
        known = [entry.name for entry in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise unknown("training option", name, known)
        return cls(**values)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_real(value: Any) -> bool:
    return (_is_int(value) or isinstance(value, float)) and abs(value) <= sys.float_info.max


#: fields -> (what is wanted, whether it is)
_RULES: tuple[tuple[str, str, Any], ...] = (
    ("epochs batch_size rand_num_ops", "a whole number of at least 1",
     lambda v: _is_int(v) and v >= 1),
    ("accumulation", "a whole number of at least 1, or 'auto'",
     lambda v: v == "auto" or (_is_int(v) and v >= 1)),
    ("crop_padding mix_off_epoch seed", "a whole number of at least 0",
     lambda v: _is_int(v) and v >= 0),
    ("lr", "a number above 0", lambda v: _is_real(v) and v > 0),
    ("weight_decay clip_grad mixup cutmix rand_magnitude_std min_lr warmup_lr",
     "a number of at least 0", lambda v: _is_real(v) and v >= 0),
    ("dropout attention_dropout drop_path label_smoothing ema val_fraction warmup_ratio "
     "cooldown_ratio", "a number in [0, 1)", lambda v: _is_real(v) and 0 <= v < 1),
    ("flip erasing mix_switch", "a probability in [0, 1]", lambda v: _is_real(v) and 0 <= v <= 1),
    ("min_crop_area", "a number in (0, 1]", lambda v: _is_real(v) and 0 < v <= 1),
    ("rand_magnitude", "a number in [0, 10]", lambda v: _is_real(v) and 0 <= v <= 10),
    ("download cpu_attention_dropout", "true or false", lambda v: isinstance(v, bool)),
    ("model recipe dataset device", "a name", lambda v: isinstance(v, str) and v != ""),
    ("data_dir", "a path", lambda v: v is None or (isinstance(v, str) and v != "")),
)  # fmt: skip


def _check(config: TrainConfig) -> None:
    """Refuse what cannot run, before any work, naming the field."""
    for names, wanted, holds in _RULES:
        for name in names.split():
            if not holds(getattr(config, name)):
                raise UsageError(f"{name} must be {wanted}, got {getattr(config, name)!r}")
    for name, choices in (
        ("auto_augment", AUTO_AUGMENTS),
        ("precision", ("auto", *PRECISIONS)),
        ("compile", SWITCHES),
    ):
        if getattr(config, name) not in choices:
            raise unknown(name, str(getattr(config, name)), choices)
    info = dataset_info(config.dataset)
    if config.flip and not info.mirror:
        raise UsageError(f"flip must be 0: {info.title} are never mirrored, got {config.flip}")
    if config.dataset == "folder" and config.data_dir is None:
        raise UsageError("data_dir must be the path of a folder with train/ and test/, got none")
    if config.dataset == "digits" and config.data_dir is not None:
        raise UsageError(
            f"data_dir must not be given: digits are built in, got {config.data_dir!r}; "
            "for a folder of pictures choose the data set 'folder'"
        )
    if config.warmup_ratio + config.cooldown_ratio >= 1:
        raise UsageError(
            "warmup_ratio and cooldown_ratio must leave epochs between them, "
            f"got {config.warmup_ratio} and {config.cooldown_ratio}"
        )
    for name in ("min_lr", "warmup_lr"):
        if getattr(config, name) > config.lr:
            raise UsageError(
                f"{name} must be at most lr ({config.lr:g}), got {getattr(config, name):g}"
            )
    if isinstance(config.accumulation, int) and config.accumulation > config.batch_size:
        raise UsageError(
            f"accumulation must be at most batch_size ({config.batch_size}), "
            f"got {config.accumulation}"
        )
    config_from_name(
        config.model,
        img_size=config.img_size,
        in_chans=info.in_chans,
        positional_embedding=config.positional_embedding,
        residual=config.residual,
    )
