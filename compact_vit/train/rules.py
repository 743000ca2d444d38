"""What a configuration may be: the choices, and what is refused, naming the field. No torch."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..checks import is_real, is_whole
from ..data.catalog import ON_BAD_PICTURE, check_source, dataset_info
from ..errors import UsageError, unknown
from ..models.shipped import nothing_at, weights_at
from .model import OF_TRANSFORMERS, is_transformer, model_config
from .recipes import MAE, OVERFIT
from .tracking import check_track

if TYPE_CHECKING:
    from .config import TrainConfig

AUTO_AUGMENTS = ("none", "cifar10", "svhn", "imagenet", "rand", "trivial")
OPTIMIZERS = (
    "sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adadelta", "adam", "adamw", "muon",
)  # fmt: skip
SCHEDULES = (
    "constant", "step", "multistep", "exponential", "cosine", "cosine_restarts", "one_cycle",
    "plateau",
)  # fmt: skip
PRECISIONS = ("fp32", "bf16", "fp16")
SWITCHES = ("auto", "on", "off", "graphs")
OBJECTIVES = ("classify", "mae")
CLASS_WEIGHTS = ("none", "balanced")
REPORTED = ("test", "val")

#: field -> the choice that it belongs to, and with which values of that it means something
BELONGS = {
    "momentum": ("optimizer", ("momentum", "nesterov", "muon")),
    "decay_rate": ("schedule", ("step", "multistep", "exponential", "plateau")),
    "decay_epochs": ("schedule", ("step", "multistep", "exponential")),
    "restarts": ("schedule", ("cosine_restarts",)),
    "plateau_patience": ("schedule", ("plateau",)),
}


def check(config: TrainConfig) -> None:
    """Refuse what cannot run, before any work, naming the field."""
    left_out = _left_to_the_model(config)
    for names, wanted, holds in _RULES:
        for name in names.split():
            if name not in left_out and not holds(getattr(config, name)):
                raise UsageError(f"{name} must be {wanted}, got {getattr(config, name)!r}")
    for name, choices in (
        ("auto_augment", AUTO_AUGMENTS),
        ("optimizer", OPTIMIZERS),
        ("schedule", SCHEDULES),
        ("precision", ("auto", *PRECISIONS)),
        ("compile", SWITCHES),
        ("on_bad_picture", ON_BAD_PICTURE),
        ("objective", OBJECTIVES),
        ("report_on", REPORTED),
        ("class_weight", CLASS_WEIGHTS),
    ):
        if getattr(config, name) not in choices:
            raise unknown(name, str(getattr(config, name)), choices)
    check_track(config.track)
    if config.overfit:
        _check_fixed(config, OVERFIT, "overfit, which learns by heart")
        if config.schedule == "plateau":
            raise UsageError("schedule must not be 'plateau' with overfit, which holds nothing out")
    if config.objective == "mae":
        _check_masked(config)
    if config.layer_decay != 1 and (config.objective == "mae" or not is_transformer(config.model)):
        owner = "objective 'mae'" if config.objective == "mae" else f"model {config.model!r}"
        raise UsageError(
            f"layer_decay must be 1 with {owner}, got {config.layer_decay}: it is of the compact "
            "transformers that classify"
        )
    if not config.layer_decay and config.init_from is None:
        raise UsageError(
            "layer_decay must be above 0 without init_from, got 0: a head alone learns little from "
            "new weights"
        )
    if config.teacher is None:
        _check_without_teacher(config)
    _check_data(config)
    _check_rates(config)
    _check_schedule(config)
    if dataset_info(config.dataset).own is None:  # or it may bring a split of its own
        need_validation(config, config.val_fraction > 0)
    _check_pictures(config)


def _left_to_the_model(config: TrainConfig) -> set[str]:
    """The fields without a value, which a baseline does not have or has of its own."""
    if is_transformer(config.model):
        return set()
    for name in OF_TRANSFORMERS:
        if getattr(config, name) is not None:
            raise UsageError(
                f"{name} must be left out with model {config.model!r}, "
                f"got {getattr(config, name)!r}: it is of the compact transformers"
            )
    return {name for name in ("dropout", *OF_TRANSFORMERS) if getattr(config, name) is None}


def need_validation(config: TrainConfig, held_out: bool) -> None:
    """Refuse what looks at a validation split where none is ``held_out``: the test set is none."""
    stands = "without a validation split, which the test set must not be"
    way_out = "hold one out, as with val_fraction 0.1"
    if config.early_stopping and not held_out:
        raise UsageError(
            f"early_stopping must be 0 {stands}, got {config.early_stopping}: {way_out}"
        )
    if config.report_on == "val" and not held_out:
        raise UsageError(f"report_on must not be 'val' {stands}: {way_out}")
    if config.schedule == "plateau" and not held_out:
        raise UsageError(f"schedule must not be 'plateau' {stands}: {way_out}")


def need_source(source: str) -> None:
    """Refuse an ``init_from`` that is neither a run nor weights."""
    if weights_at(source) is None and not os.path.isfile(os.path.join(source, "config.json")):
        raise nothing_at(source, "init_from must be the folder of a run or of weights")


def _rises(value: Any) -> bool:
    """Whether this is a tuple of whole numbers, each above the one before, the first above 0."""
    if not isinstance(value, tuple) or not all(is_whole(v, 1) for v in value):
        return False
    return all(a < b for a, b in itertools.pairwise(value))


#: fields -> (what is wanted, whether it is)
_RULES: tuple[tuple[str, str, Any], ...] = (
    ("epochs batch_size rand_num_ops restarts plateau_patience mask_block",
     "a whole number of at least 1",
     lambda v: is_whole(v, 1)),
    ("model_options", "names with their values",
     lambda v: isinstance(v, Mapping) and all(isinstance(name, str) for name in v)),
    ("accumulation", "a whole number of at least 1, or 'auto'",
     lambda v: v == "auto" or is_whole(v, 1)),
    ("crop_padding mix_off_epoch seed early_stopping overfit train_pictures",
     "a whole number of at least 0",
     lambda v: is_whole(v, 0)),
    ("epochs batch_size mix_off_epoch", "at most 1,000,000", lambda v: v <= 1_000_000),
    ("rand_num_ops", "at most 100", lambda v: v <= 100),
    ("seed", "less than 2**63", lambda v: v < 2**63),
    ("decay_epochs", "whole numbers of at least 1, each above the one before", _rises),
    ("lr", "a number above 0", lambda v: is_real(v) and v > 0),
    ("weight_decay clip_grad mixup cutmix rand_magnitude_std min_lr warmup_lr",
     "a number of at least 0", lambda v: is_real(v) and v >= 0),
    ("lr weight_decay", "at most 1e30, which float32 can hold", lambda v: v <= 1e30),
    ("mixup cutmix", "0 or at least 0.000001", lambda v: v == 0 or v >= 1e-6),
    ("dropout attention_dropout drop_path label_smoothing ema test_fraction val_fraction "
     "warmup_ratio cooldown_ratio momentum mask_ratio", "a number in [0, 1)",
     lambda v: is_real(v) and 0 <= v < 1),
    ("flip erasing mix_switch", "a probability in [0, 1]", lambda v: is_real(v) and 0 <= v <= 1),
    ("min_crop_area", "a number in (0, 1]", lambda v: is_real(v) and 0 < v <= 1),
    ("layer_decay", "a number in [0, 1]", lambda v: is_real(v) and 0 <= v <= 1),
    ("decay_rate", "a number in (0, 1)", lambda v: is_real(v) and 0 < v < 1),
    ("rand_magnitude", "a number in [0, 10]", lambda v: is_real(v) and 0 <= v <= 10),
    ("download cpu_attention_dropout deterministic", "true or false",
     lambda v: isinstance(v, bool)),
    ("model recipe dataset device", "a name", lambda v: isinstance(v, str) and v != ""),
    ("distillation", "a number in (0, 1]", lambda v: is_real(v) and 0 < v <= 1),
    ("temperature", "a number above 0", lambda v: is_real(v) and v > 0),
    ("data_dir init_from teacher", "a path",
     lambda v: v is None or (isinstance(v, str) and v != "")),
)  # fmt: skip


def _check_fixed(config: TrainConfig, fixed: Mapping[str, Any], why: str) -> None:
    """Refuse other values than the ``fixed`` ones, where the model has such a field."""
    left_out = _left_to_the_model(config)
    for name, value in fixed.items():
        if name not in left_out and getattr(config, name) != value:
            raise UsageError(
                f"{name} must be {value} with {why}, got {getattr(config, name)}: leave it out"
            )


def _check_masked(config: TrainConfig) -> None:
    """What a masked autoencoder needs, which has no answers and only transformers can be."""
    if not is_transformer(config.model):
        raise UsageError(
            f"objective must be 'classify' with model {config.model!r}, got 'mae': only the "
            "compact transformers see a picture's visible parts alone"
        )
    _check_fixed(config, MAE, "objective 'mae', which has no answers")
    if not config.mask_ratio:
        raise UsageError("mask_ratio must be above 0 with objective 'mae', got 0")


def _check_without_teacher(config: TrainConfig) -> None:
    defaults = {entry.name: entry.default for entry in dataclasses.fields(config)}
    for name in ("distillation", "temperature"):
        if getattr(config, name) != defaults[name]:
            raise UsageError(
                f"{name} must be left out without a teacher, got {getattr(config, name)}"
            )


def _check_data(config: TrainConfig) -> None:
    info = dataset_info(config.dataset)
    if config.flip and not info.mirror:
        raise UsageError(f"flip must be 0: {info.title} are never mirrored, got {config.flip}")
    check_source(info, config.data_dir, config.test_fraction)


def _check_rates(config: TrainConfig) -> None:
    """What the optimiser and every schedule need."""
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
    if config.optimizer == "nesterov" and not config.momentum:
        raise UsageError("momentum must be above 0 with optimizer 'nesterov', got 0: or take 'sgd'")


def _check_schedule(config: TrainConfig) -> None:
    """What belongs to one schedule or one optimiser, and not to another."""
    defaults = {entry.name: entry.default for entry in dataclasses.fields(config)}
    for name, (owner, those) in BELONGS.items():
        value, choice = getattr(config, name), getattr(config, owner)
        if choice not in those and value != defaults[name]:
            raise UsageError(
                f"{name} must be left out with {owner} {choice!r}, got {value}: "
                f"it is of {', '.join(those)}"
            )
    at, kind, epochs = config.decay_epochs, config.schedule, config.epochs
    assert isinstance(at, tuple)  # a single number has become one
    if kind in ("step", "exponential") and len(at) > 1:
        raise UsageError(
            f"decay_epochs must be one number with schedule {kind!r}, got {at}: "
            "'multistep' takes several"
        )
    if kind == "step" and at and at[0] >= epochs:
        raise UsageError(f"decay_epochs must be less than epochs ({epochs}), got {at[0]}")
    first, last = config.warmup_ratio * epochs, (1 - config.cooldown_ratio) * epochs
    for epoch in at if kind == "multistep" else ():
        if not first < epoch < last:
            raise UsageError(
                f"decay_epochs must lie between the warm-up's end and the last epochs "
                f"({first:g} and {last:g} of epochs), got {epoch}"
            )
    if kind == "cosine_restarts" and config.restarts >= epochs:
        raise UsageError(f"restarts must be less than epochs ({epochs}), got {config.restarts}")


def _check_pictures(config: TrainConfig) -> None:
    """What the model needs of the pictures' size."""
    own = {entry.name for entry in dataclasses.fields(config)} | {"num_classes", "in_chans"}
    for name in config.model_options:
        if name in own:
            raise UsageError(
                f"model_options must not hold {name!r}: it is an option of its own, or the data's"
            )
    model = model_config(config, in_chans=dataset_info(config.dataset).in_chans)
    side = min(model.height_width)
    if max(model.height_width) > 10_000:
        raise UsageError(f"img_size must be at most 10,000 pixels a side, got {config.img_size}")
    masks = config.mask_ratio > 0 and config.objective == "classify"
    if masks and config.mask_block >= max(model.height_width):
        raise UsageError(
            f"mask_block must be less than the pictures' longer side ({max(model.height_width)}), "
            f"got {config.mask_block}: it would hide all of them"
        )
    if config.crop_padding > side:
        raise UsageError(
            f"crop_padding must be at most the pictures' shorter side ({side}), "
            f"got {config.crop_padding}: a crop would miss them"
        )
