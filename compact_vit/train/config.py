"""One run, whole: every choice a field, documented once for Python, the command line and the file.

Imports no torch, so that ``--help`` answers at once.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..checks import plain_fields
from ..data.catalog import dataset_info
from ..errors import UsageError, unknown
from ..models.arithmetic import token_grid
from ..models.config import ModelConfig
from ..models.names import config_of
from .model import OF_TRANSFORMERS
from .recipes import MAE, MAE_DEFAULTS, OVERFIT, OVERFIT_DEFAULTS, SMALL, recipe_values
from .rules import AUTO_AUGMENTS, OPTIMIZERS, SCHEDULES, check

#: Fields whose values are paths.
PATHS = ("data_dir", "init_from", "teacher")

#: Stands for "what the recipe says" until the configuration is complete.
_BY_RECIPE: Any = None


def _field(group: str, help: str, default: Any = _BY_RECIPE) -> Any:
    return field(default=default, metadata={"group": group, "help": help})


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides a training run; ``train --help`` says what each field means.

    A field that is not given takes the recipe's value, the data set's, or the general one, in this
    order, so that a configuration is always complete: ``TrainConfig(dataset="cifar100").lr`` is
    5e-4; ``dataclasses.replace`` keeps them all, so give what was given anew to change the recipe.
    Raises ``UsageError`` naming the field, what was wanted and what came.
    """

    dataset: str = _field("data", "named data set, or 'folder' or 'npz' for --data-dir", "digits")
    data_dir: str | None = _field(
        "data",
        "where archives are, or go; of 'folder': with train/ or class folders; of 'npz': the file",
        None,
    )
    download: bool = _field("data", "fetch a missing archive", True)
    on_bad_picture: str = _field(
        "data", "files of a folder that are no readable pictures: refuse, or skip them", "refuse"
    )
    img_size: int | tuple[int, int] = _field(
        "data", "side of the pictures, or HEIGHTxWIDTH, pixels"
    )
    test_fraction: float = _field(
        "data",
        "stratified share of a folder without test/ that tests, for every seed the same",
        0.0,
    )
    val_fraction: float = _field(
        "data", "stratified share of the training set held out to pick the best epoch on", 0.0
    )
    train_pictures: int = _field(
        "data", "use only this many training pictures, the held-out part among them; 0: all", 0
    )
    overfit: int = _field(
        "data", "sanity check: train and test on this many pictures until all are right; 0: off", 0
    )

    report_on: str = _field(
        "data", "split that summary.json reports: test, or val to leave the test set alone", "test"
    )

    recipe: str = _field("recipe", "named set of values; every other flag overrides it")
    objective: str = _field(
        "recipe",
        "classify, or mae: to pretrain as a masked autoencoder, for --init-from",
        "classify",
    )
    teacher: str | None = _field(
        "recipe", "run, or timm/NAME with its weights, to distil from", None
    )
    distillation: float = _field(
        "recipe", "weight of the distillation loss; the labels' has the rest", 0.5
    )
    temperature: float = _field("recipe", "softmax temperature of the distillation loss", 4.0)

    model: str = _field("model", "any name of a family: cct_6_3x1, cvt_7_4, vit_lite_6_4, ...")
    init_from: str | None = _field(
        "model",
        "start from these weights: of a run, of a folder that export wrote, or of the package, "
        "as cct_2_3x2",
        None,
    )
    model_options: Mapping[str, Any] = _field(
        "model", "further options of the model: widths=512,256 batch_norm=true, ..."
    )
    dropout: float | None = _field("model", "dropout of embeddings, projections and MLP")
    positional_embedding: str | None = _field("model", "learnable, sine or none (transformers)")
    residual: str | None = _field(
        "model", "published or pre_norm form of the encoder layer (transformers)"
    )
    attention_dropout: float | None = _field("model", "dropout of attention weights (transformers)")
    drop_path: float | None = _field(
        "model", "stochastic depth of the last layer, rising from 0 (transformers)"
    )

    auto_augment: str = _field("augmentation", "policy: " + ", ".join(AUTO_AUGMENTS))
    rand_num_ops: int = _field("augmentation", "operations a picture (rand)")
    rand_magnitude: float = _field("augmentation", "strength in 0..10 (rand)")
    rand_magnitude_std: float = _field("augmentation", "standard deviation of the strength (rand)")
    crop_padding: int = _field("augmentation", "zero pixels added before a random crop")
    min_crop_area: float = _field(
        "augmentation", "smallest share of a random resized crop; 1: no such crop"
    )
    flip: float = _field("augmentation", "probability of a horizontal flip")
    erasing: float = _field("augmentation", "probability of erasing a rectangle")
    mask_ratio: float = _field("augmentation", "share of a picture's blocks that are hidden")
    mask_block: int = _field("augmentation", "side of a block that is hidden, pixels")
    mixup: float = _field("augmentation", "alpha of mixup's Beta; 0: off")
    cutmix: float = _field("augmentation", "alpha of cutmix's Beta; 0: off")
    mix_switch: float = _field("augmentation", "probability of cutmix where both are on")
    mix_off_epoch: int = _field("augmentation", "epoch from which nothing is mixed; 0: never")
    label_smoothing: float = _field("augmentation", "share of the target spread over all classes")

    epochs: int = _field("optimisation", "passes over the training set, warm-up and all")
    batch_size: int = _field("optimisation", "pictures an optimiser step, over all accumulation")
    accumulation: int | str = _field(
        "optimisation",
        "gradient accumulation: parts a batch is computed in; auto: small ones on a CPU",
        "auto",
    )
    optimizer: str = _field("optimisation", ", ".join(OPTIMIZERS))
    momentum: float = _field("optimisation", "momentum of momentum, nesterov and muon", 0.9)
    lr: float = _field(
        "optimisation",
        "peak learning rate; the recipes' suit adam, adamw and muon, and others need more",
    )
    schedule: str = _field(
        "optimisation", "learning-rate schedule: " + ", ".join(SCHEDULES), "cosine"
    )
    decay_rate: float = _field(
        "optimisation", "factor on lr of step, multistep, exponential and plateau", 0.1
    )
    decay_epochs: int | tuple[int, ...] = _field(
        "optimisation",
        "multistep: the epochs after which lr falls; step and exponential: how many that takes",
        (),
    )
    restarts: int = _field("optimisation", "warm restarts of cosine_restarts", 3)
    plateau_patience: int = _field(
        "optimisation", "patience of plateau: epochs without a lower validation loss", 5
    )
    min_lr: float = _field(
        "optimisation", "learning rate at a cosine's end and of the cool-down, plateau's least"
    )
    warmup_lr: float = _field("optimisation", "learning rate of the first step")
    warmup_ratio: float = _field("optimisation", "share of the epochs with rising learning rate")
    cooldown_ratio: float = _field("optimisation", "share of the epochs, the last, at min_lr")
    weight_decay: float = _field(
        "optimisation", "decay of weights; norms, biases, positions and tokens take none"
    )
    layer_decay: float = _field(
        "optimisation",
        "factor on the learning rate a layer down from the head, to fine-tune; 1: none, 0: only "
        "the head learns (transformers)",
        1.0,
    )
    class_weight: str = _field(
        "optimisation", "weight of each class in the training loss: none, or balanced", "none"
    )
    clip_grad: float = _field("optimisation", "largest gradient norm; 0: no clipping")
    ema: float = _field(
        "optimisation", "EMA of the weights, then evaluated: its decay a step; 0: off"
    )
    early_stopping: int = _field(
        "optimisation",
        "patience: epochs without a better validation accuracy that end the run; 0: never",
        0,
    )

    precision: str = _field(
        "machine",
        "fp32, bf16 or fp16 mixed; auto: bf16 where the hardware has it, else fp32",
        "auto",
    )
    compile: str | bool = _field(
        "machine",
        "torch.compile: on, off, or graphs, as CUDA graphs too; auto: for long runs on a GPU",
        "auto",
    )
    cpu_attention_dropout: bool = _field(
        "machine", "keep attention dropout on a CPU, where it slows attention down"
    )
    device: str = _field("machine", "auto, cpu, cuda, cuda:1, mps, ...", "auto")
    deterministic: bool = _field(
        "machine", "the same bits every time on a GPU too, at some cost", False
    )
    seed: int = _field("machine", "of weights, order and augmentation", 0)
    track: tuple[str, ...] = _field(
        "machine", "log every epoch to: tensorboard, wandb (which are installed apart)", ()
    )

    def __post_init__(self) -> None:
        plain_fields(self)
        for name in ("dataset", "recipe", "model"):
            if not isinstance(getattr(self, name), str if name == "dataset" else str | None):
                raise UsageError(f"{name} must be a name, got {getattr(self, name)!r}")
        info = dataset_info(self.dataset)
        own: int | tuple[int, int] = info.img_size
        if info.own and self.model is not None:  # of any size: the model's
            meant = config_of(self.model)
            own = meant.img_size if isinstance(meant, ModelConfig) else own
        size = own if self.img_size is _BY_RECIPE else self.img_size
        sides = size if isinstance(size, (tuple, list)) else [size]
        large = any(isinstance(side, int) and side > SMALL for side in sides)
        values = recipe_values(self.dataset, self.recipe, self.model, self.optimizer, large)
        values.setdefault("img_size", own)
        if isinstance(self.lr, (int, float)) and self.lr > 0:  # where another was asked for
            for name in ("min_lr", "warmup_lr"):
                values[name] = min(values[name], self.lr)
        if self.model_options is None:
            object.__setattr__(self, "model_options", {})
        named = config_of(self.model or values["model"])
        if isinstance(named, ModelConfig):  # cct_7_3x1_32_sine says sine
            values |= {name: getattr(named, name) for name in ("positional_embedding", "residual")}
        else:  # a recipe's dropout is for transformers, a baseline has its own
            values["dropout"] = None
        if self.overfit:
            values |= OVERFIT_DEFAULTS | OVERFIT
        if self.objective == "mae":
            values |= MAE_DEFAULTS | MAE
            if isinstance(named, ModelConfig):  # a block is a token at least
                token = named.height_width[0] // token_grid(named)[0]
                values["mask_block"] = max(values["mask_block"], token)
        if not isinstance(named, ModelConfig):
            values |= dict.fromkeys(OF_TRANSFORMERS)
        # a recipe's attention dropout may be left out, but not one that was asked for
        values["cpu_attention_dropout"] = self.attention_dropout is not _BY_RECIPE
        for entry in dataclasses.fields(self):
            if getattr(self, entry.name) is _BY_RECIPE and entry.name in values:
                object.__setattr__(self, entry.name, values[entry.name])
        if isinstance(self.compile, bool):
            object.__setattr__(self, "compile", "on" if self.compile else "off")
        for name in PATHS:
            if isinstance(getattr(self, name), (str, os.PathLike)):
                object.__setattr__(self, name, os.path.expanduser(getattr(self, name)))
        if isinstance(self.decay_epochs, int):
            object.__setattr__(self, "decay_epochs", (self.decay_epochs,))
        check(self)

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


def data_name(config: TrainConfig) -> str:
    """What a run's data set is called in a title: the user's own by its folder or file."""
    own = os.path.basename(os.path.normpath(config.data_dir or "")).removesuffix(".npz")
    return own if dataset_info(config.dataset).own else config.dataset


def with_whole_paths(config: TrainConfig) -> TrainConfig:
    """``config`` with paths that lead from anywhere to what they lead to from here."""
    given = {name: getattr(config, name) for name in PATHS}
    paths: dict[str, Any] = {
        name: os.path.abspath(path)
        for name, path in given.items()
        if path is not None and not is_name(name, path)
    }
    options = config.model_options
    if isinstance(options.get("pretrained"), str):  # a file of weights
        weights = os.path.abspath(os.path.expanduser(options["pretrained"]))
        paths["model_options"] = {**options, "pretrained": weights}
    return dataclasses.replace(config, **paths)


def is_name(field: str, value: str) -> bool:
    """Whether the path in ``field`` is none: a teacher of timm's, weights in the package."""
    if field == "teacher":
        return value.startswith("timm/")
    if field != "init_from" or os.path.basename(value) != value or os.path.isdir(value):
        return False
    from ..models.shipped import weights_at

    return weights_at(value) is not None
