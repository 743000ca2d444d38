"""One frozen configuration: a flag, a help text and a line of config.json for every field."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from compact_vit.errors import UsageError
from compact_vit.models.names import config_of
from compact_vit.train.cli import build_parser
from compact_vit.train.config import TrainConfig

FIELDS = {entry.name: entry for entry in dataclasses.fields(TrainConfig)}
FLAGS = {
    action.dest: action
    for action in build_parser()._actions  # argparse has no public list
    if action.dest in FIELDS and action.option_strings != ["--head"]
}


def refusal(**values: object) -> str:
    with pytest.raises(UsageError) as caught:
        TrainConfig(**values)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_a_documented_flag(name) -> None:
    entry = FIELDS[name]
    assert len(entry.metadata["help"]) > 5
    assert entry.metadata["help"] in FLAGS[name].help
    assert f"--{name.replace('_', '-')}" in FLAGS[name].option_strings


def test_a_flag_that_is_not_given_is_left_to_the_configuration() -> None:
    given = vars(build_parser().parse_args([]))
    assert not set(given) & set(FIELDS)


#: field -> (what is typed, what it means); none is a default
TYPED = {
    "dataset": ("cifar10", "cifar10"),
    "data_dir": ("somewhere", "somewhere"),
    "download": (None, False),
    "on_bad_picture": ("skip", "skip"),
    "img_size": ("24x48", (24, 48)),
    "test_fraction": ("0.3", 0.3),
    "val_fraction": ("0.2", 0.2),
    "train_pictures": ("300", 300),
    "overfit": ("30", 30),
    "report_on": ("val", "val"),
    "recipe": ("published-300", "published-300"),
    "objective": ("mae", "mae"),
    "teacher": ("runs/wise", "runs/wise"),
    "distillation": ("0.9", 0.9),
    "temperature": ("2.0", 2.0),
    "model": ("cvt_4_8", "cvt_4_8"),
    "model_options": ("mlp_ratio=3.0", {"mlp_ratio": 3.0}),
    "init_from": ("runs/first", "runs/first"),
    "positional_embedding": ("sine", "sine"),
    "residual": ("pre_norm", "pre_norm"),
    "dropout": ("0.05", 0.05),
    "attention_dropout": ("0.15", 0.15),
    "drop_path": ("0.25", 0.25),
    "auto_augment": ("trivial", "trivial"),
    "rand_num_ops": ("3", 3),
    "rand_magnitude": ("7.5", 7.5),
    "rand_magnitude_std": ("0.25", 0.25),
    "crop_padding": ("3", 3),
    "min_crop_area": ("0.7", 0.7),
    "flip": ("0.3", 0.3),
    "erasing": ("0.15", 0.15),
    "mask_ratio": ("0.7", 0.7),
    "mask_block": ("2", 2),
    "mixup": ("0.4", 0.4),
    "cutmix": ("0.6", 0.6),
    "mix_switch": ("0.7", 0.7),
    "mix_off_epoch": ("9", 9),
    "label_smoothing": ("0.2", 0.2),
    "epochs": ("17", 17),
    "batch_size": ("48", 48),
    "accumulation": ("4", 4),
    "optimizer": ("nesterov", "nesterov"),
    "momentum": ("0.8", 0.8),
    "lr": ("3e-4", 3e-4),
    "schedule": ("multistep", "multistep"),
    "decay_rate": ("0.2", 0.2),
    "decay_epochs": ("8,12", (8, 12)),
    "restarts": ("2", 2),
    "plateau_patience": ("4", 4),
    "min_lr": ("2e-6", 2e-6),
    "warmup_lr": ("3e-6", 3e-6),
    "warmup_ratio": ("0.15", 0.15),
    "cooldown_ratio": ("0.05", 0.05),
    "weight_decay": ("0.01", 0.01),
    "layer_decay": ("0.75", 0.75),
    "class_weight": ("balanced", "balanced"),
    "clip_grad": ("2.5", 2.5),
    "ema": ("0.99", 0.99),
    "early_stopping": ("4", 4),
    "precision": ("bf16", "bf16"),
    "compile": (None, "on"),
    "cpu_attention_dropout": (None, True),
    "device": ("cpu", "cpu"),
    "deterministic": (None, True),
    "seed": ("7", 7),
    "track": ("tensorboard", ("tensorboard",)),
}


#: what does not go with the rest
ALONE = ("overfit", "test_fraction", "restarts", "plateau_patience", "objective")


def test_every_flag_reaches_its_field() -> None:
    assert TYPED.keys() == FIELDS.keys()
    words = []
    for name, (text, value) in TYPED.items():
        flag = f"--{'no-' if value is False else ''}{name.replace('_', '-')}"
        words += [flag] if text is None else [flag, text]
    given = vars(build_parser().parse_args(words))
    config = TrainConfig(**{name: given[name] for name in FIELDS if name not in ALONE})
    plain = TrainConfig(dataset="cifar10", recipe="published-300")
    for name, (_, value) in TYPED.items():
        assert given[name] == value
        assert getattr(config, name) == value or name in ALONE
        if name not in ("dataset", "recipe"):
            assert getattr(plain, name) != value  # or the line above would show nothing


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"dataset": "cifar100"},
        {"dataset": "flowers102", "img_size": (32, 48), "seed": 3},
        {"optimizer": "nesterov", "momentum": 0.5, "schedule": "multistep", "decay_epochs": (4, 7)},
        {"schedule": "step", "decay_epochs": 5},
        {"dataset": "cifar100", "overfit": 20},
        {"objective": "mae", "mask_block": 2},
        {"teacher": "runs/wise", "distillation": 1.0},
    ],
)
def test_json_round_trip(values) -> None:
    config = TrainConfig(**values)
    assert TrainConfig.from_dict(config.to_dict()) == config
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert list(config.to_dict()) == list(FIELDS)
    assert {k for k, v in config.to_dict().items() if v is None} <= {
        "data_dir", "init_from", "teacher"
    }  # fmt: skip


def test_numbers_of_numpy_are_numbers() -> None:
    config = TrainConfig(batch_size=np.int64(32), lr=np.float32(0.5), seed=np.uint8(3))
    assert config == TrainConfig(batch_size=32, lr=0.5, seed=3)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    for name in ("cct_2_3x2", "resnet_8_cifar"):
        model = config_of(name, num_classes=np.int64(3), dropout=np.float64(0.5))
        assert model == config_of(name, num_classes=3, dropout=0.5)
        assert [type(value) for value in (model.num_classes, model.dropout)] == [int, float]


def test_attention_dropout_that_was_asked_for_is_kept() -> None:
    assert TrainConfig(dataset="cifar10").attention_dropout == 0.1
    assert TrainConfig(dataset="cifar10").cpu_attention_dropout is False
    asked = TrainConfig(dataset="cifar10", attention_dropout=0.1)
    assert asked.cpu_attention_dropout is True
    assert TrainConfig.from_dict(TrainConfig(dataset="cifar10").to_dict()) != asked


def test_an_unknown_field_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'label_smoothing'"):
        TrainConfig.from_dict({"label_smooting": 0.1})


def test_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().lr = 1.0  # type: ignore[misc]


def test_a_name_that_says_sine_is_sine() -> None:
    assert TrainConfig(model="cct_2_3x2_32_sine").positional_embedding == "sine"
    asked = TrainConfig(model="cct_2_3x2_32_sine", positional_embedding="none")
    assert asked.positional_embedding == "none"
    assert TrainConfig(model="cct_2_3x2").positional_embedding == "learnable"


WHOLE_1 = ("epochs", "batch_size", "rand_num_ops", "restarts", "plateau_patience")
WHOLE_0 = ("crop_padding", "mix_off_epoch", "seed", "early_stopping", "overfit")
REAL_0 = (
    "weight_decay", "clip_grad", "mixup", "cutmix", "rand_magnitude_std", "min_lr", "warmup_lr",
)  # fmt: skip
SHARE = (
    "dropout", "attention_dropout", "drop_path", "label_smoothing", "ema", "val_fraction",
    "warmup_ratio", "cooldown_ratio", "momentum", "test_fraction",
)  # fmt: skip
CHANCE = ("flip", "erasing", "mix_switch")
NAMES = ("model", "recipe", "dataset", "device")
NOT_REAL = ("1", True, math.nan, math.inf, -math.inf, 10**400, [1])

WRONG = [
    *((name, value, "a whole number of at least 1") for name in WHOLE_1
      for value in (0, -1, 1.0, True, "1")),
    *((name, value, "a whole number of at least 0") for name in WHOLE_0
      for value in (-1, 1.0, True, "1")),
    *(("lr", value, "a number above 0") for value in (0, -1e-3, *NOT_REAL)),
    *((name, value, "a number of at least 0") for name in REAL_0 for value in (-0.1, *NOT_REAL)),
    *((name, value, "a number in [0, 1)") for name in SHARE for value in (-0.1, 1.0, *NOT_REAL)),
    *((name, value, "a probability in [0, 1]") for name in CHANCE
      for value in (-0.1, 1.1, *NOT_REAL)),
    *(("min_crop_area", value, "a number in (0, 1]") for value in (0, -1, 1.1, *NOT_REAL)),
    *(("layer_decay", value, "a number in [0, 1]") for value in (-1, 1.1, *NOT_REAL)),
    *(("decay_rate", value, "a number in (0, 1)") for value in (0, -1, 1, *NOT_REAL)),
    *(("rand_magnitude", value, "a number in [0, 10]") for value in (-1, 10.5, *NOT_REAL)),
    *((name, value, "true or false") for name in ("download", "cpu_attention_dropout")
      for value in (0, 1, "yes")),
    *((name, value, "a name") for name in NAMES for value in (3, ["digits"])),
    ("dataset", None, "a name"),
    ("device", "", "a name"),
    ("data_dir", 3, "a path"),
    ("init_from", 3, "a path"),
    ("init_from", "", "a path"),
    ("data_dir", "", "a path"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "wanted"), WRONG)
def test_every_rule_refuses(name, value, wanted) -> None:
    message = refusal(**{name: value})
    assert message == f"{name} must be {wanted}, got {value!r}"


LIMITS = [
    ("epochs", 1), ("crop_padding", 0), ("seed", 0), ("weight_decay", 0), ("dropout", 0),
    ("ema", 0.9999), ("flip", 0), ("erasing", 1), ("mix_switch", 0.0), ("min_crop_area", 1),
    ("min_crop_area", 1e-3), ("rand_magnitude", 10), ("rand_magnitude", 0), ("min_lr", 0),
    ("warmup_lr", 0.0), ("layer_decay", 1), ("layer_decay", 1e-3),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), LIMITS)
def test_every_rule_takes_its_limit(name, value) -> None:
    assert getattr(TrainConfig(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"dataset": "cifar1000"}, "unknown data set 'cifar1000': did you mean 'cifar10"),
        ({"recipe": "publised-200"}, "did you mean 'published-200'?"),
        ({"model": "cct_6_3y1"}, "did you mean 'cct_6_3x1'?"),
        ({"model": "cct_5_3x1"}, "depth must be one of 2, 4, 6, 7, 8, 14"),
        ({"auto_augment": "cifar"}, "unknown auto_augment 'cifar': did you mean 'cifar10'?"),
        ({"class_weight": "balance"}, "unknown class_weight 'balance': did you mean 'balanced'?"),
        ({"class_weight": "balanced", "objective": "mae"}, "class_weight must be none with object"),
        ({"class_weight": "balanced", "overfit": 9}, "class_weight must be none with overfit"),
        ({"precision": "fp8"}, "unknown precision 'fp8': choose from auto, fp32, bf16, fp16"),
        ({"compile": "yes"}, "unknown compile 'yes': choose from auto, on, off"),
        (
            {"accumulation": 0},
            "accumulation must be a whole number of at least 1, or 'auto', got 0",
        ),
        ({"precision": "bf-16"}, "did you mean 'bf16'?"),
        ({"positional_embedding": "sinus"}, "did you mean 'sine'?"),
        ({"residual": "prenorm"}, "did you mean 'pre_norm'?"),
        ({"img_size": 0}, "img_size must be a side or (height, width)"),
        ({"img_size": (32,)}, "img_size must be"),
        ({"img_size": "32"}, "img_size must be"),
        ({"model": "cvt_2_16", "img_size": 8}, "at least 16 pixels, got 8"),
        ({"dataset": "folder"}, "data_dir must be the path of a folder"),
        ({"data_dir": "pictures"}, "choose the data set 'folder'"),
        ({"warmup_ratio": 0.6, "cooldown_ratio": 0.4}, "must leave epochs between them"),
        ({"min_lr": 1.0}, "min_lr must be at most lr (0.002), got 1"),
        ({"warmup_lr": 0.5}, "warmup_lr must be at most lr (0.002), got 0.5"),
        ({"accumulation": 64, "batch_size": 32}, "at most batch_size (32), got 64"),
        (
            {"layer_decay": 0.5, "model": "mlp_naive"},
            "layer_decay must be 1 with model 'mlp_naive', got 0.5: it is of the compact",
        ),
        ({"layer_decay": 0}, "layer_decay must be above 0 without init_from, got 0"),
        ({"layer_decay": 0.5, "objective": "mae"}, "layer_decay must be 1 with objective 'mae'"),
        ({"flip": 0.5}, "are never mirrored, got 0.5"),
    ],
)
def test_what_does_not_go_together(values, said) -> None:
    assert said in refusal(**values)
