"""Every configuration trains a step, or is refused before any work with the field named."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from typing import Any

import pytest
import torch

pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, example, given, settings, strategies as st

from compact_vit.errors import UsageError
from compact_vit.train.config import TrainConfig
from compact_vit.train.inputs import build_train_batch, load_splits
from compact_vit.train.machine import pick_device
from compact_vit.train.rules import BELONGS, OPTIMIZERS, SCHEDULES
from compact_vit.train.state import build_state
from compact_vit.train.step import train_step

FIXED = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

probabilities = st.floats(0, 1, exclude_max=True)
amounts = st.one_of(st.floats(0, 3), st.sampled_from([1e-300, 1e-6, 1e6, 1e300]))
alphas = st.one_of(st.just(0.0), st.floats(1e-6, 1e6))

#: field -> values that are right alone, though not all of them together
RIGHT: dict[str, st.SearchStrategy[Any]] = {
    "download": st.booleans(),
    "on_bad_picture": st.sampled_from(["refuse", "skip"]),
    "img_size": st.sampled_from([8, 9, (8, 12), [12, 8]]),
    "test_fraction": st.sampled_from([0.0] * 9 + [0.2]),  # of pictures that have a test/
    "val_fraction": st.sampled_from([0.0, 0.25, 0.5, 0.01]),
    "train_pictures": st.sampled_from([0, 20, 36]),
    "overfit": st.integers(0, 20),
    "report_on": st.sampled_from(["test", "val"]),
    "objective": st.sampled_from(["classify", "classify", "mae"]),
    "teacher": st.none(),
    "distillation": st.floats(0, 1, exclude_min=True),
    "temperature": st.floats(0, 100, exclude_min=True),
    "init_from": st.none(),
    "model_options": st.just({}),
    "recipe": st.sampled_from(
        ["quick", "published-200", "published-300", "student-200", "speedrun", "best-200"]
    ),
    "model": st.sampled_from(
        ["cvt_2_8", "vit_lite_2_4", "cct_2_3x1", "cct_2_3x2", "cct2_2_3x2", "mlp", "rn_1"]
    ),
    "positional_embedding": st.sampled_from(["learnable", "sine", "none"]),
    "residual": st.sampled_from(["published", "pre_norm"]),
    **dict.fromkeys(["dropout", "attention_dropout", "drop_path", "label_smoothing"],
                    probabilities),
    "auto_augment": st.sampled_from(["none", "cifar10", "svhn", "imagenet", "rand", "trivial"]),
    "rand_num_ops": st.integers(1, 4),
    "rand_magnitude": st.floats(0, 10),
    "rand_magnitude_std": amounts,
    "crop_padding": st.integers(0, 9),
    "min_crop_area": st.floats(0, 1, exclude_min=True),
    **dict.fromkeys(["flip", "erasing", "mix_switch"], st.floats(0, 1)),
    "mask_ratio": probabilities,
    "mask_block": st.sampled_from([1, 2, 4, 8]),
    **dict.fromkeys(["mixup", "cutmix"], alphas),
    "mix_off_epoch": st.integers(0, 3),
    "epochs": st.integers(1, 10**6),
    "batch_size": st.integers(1, 20),
    "accumulation": st.one_of(st.just("auto"), st.integers(1, 20)),
    "optimizer": st.sampled_from(OPTIMIZERS),
    "momentum": probabilities,
    "lr": st.floats(0, 10, exclude_min=True),
    "schedule": st.sampled_from(SCHEDULES),
    "decay_rate": st.floats(0, 1, exclude_min=True, exclude_max=True),
    "decay_epochs": st.one_of(st.integers(1, 30), st.sets(st.integers(1, 30)).map(sorted)),
    **dict.fromkeys(["restarts", "plateau_patience"], st.integers(1, 20)),
    **dict.fromkeys(["min_lr", "warmup_lr"], st.floats(0, 0.01)),
    **dict.fromkeys(["warmup_ratio", "cooldown_ratio"], probabilities),
    "weight_decay": amounts,
    "layer_decay": st.sampled_from([1.0, 1, 0.75, 1e-3, 0]),
    "class_weight": st.sampled_from(["none", "balanced"]),
    "clip_grad": amounts,
    "ema": probabilities,
    "early_stopping": st.integers(0, 5),
    "precision": st.sampled_from(["auto", "fp32", "bf16", "fp16"]),
    "compile": st.sampled_from(["auto", "off", False]),
    "cpu_attention_dropout": st.booleans(),
    "device": st.just("cpu"),
    "deterministic": st.booleans(),
    "seed": st.integers(0, 2**63 - 1),
    "track": st.sampled_from([(), ("tensorboard",), ["wandb", "tensorboard"]]),
}  # fmt: skip

#: What no field takes, or only some.
WRONG = st.one_of(
    st.integers(-3, 0),
    st.integers(10**6, 10**30),
    st.floats(),
    st.text(max_size=6),
    st.booleans(),
    st.lists(st.integers(0, 40), max_size=3),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
    st.tuples(st.integers(-1, 20), st.integers(-1, 20)),
    st.binary(max_size=3),
)

#: How a refusal says a field, where not by its name.
SAID = {
    "dataset": "data set",
    "data_dir": "data folder",
    "model_options": "model option",
}


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    """Some fields right, and often one that is anything."""
    names = draw(st.lists(st.sampled_from(sorted(RIGHT)), unique=True, max_size=12))
    values = {name: draw(RIGHT[name]) for name in names}
    if not values.get("overfit") or draw(st.booleans()):
        values.pop("overfit", None)  # with which most fields must be left out
    for name in ("distillation", "temperature"):  # which want a teacher
        if draw(st.integers(0, 5)):
            values.pop(name, None)
    for name, (owner, those) in BELONGS.items():
        if values.get(owner) not in those and draw(st.integers(0, 5)):
            values.pop(name, None)
    if draw(st.integers(0, 3)) == 0:
        wrong = draw(st.sampled_from([*sorted(RIGHT), "dataset", "data_dir"]))
        values[wrong] = draw(WRONG)
    return values


def test_every_field_is_tried() -> None:
    fields = {field.name for field in dataclasses.fields(TrainConfig)}
    assert fields - set(RIGHT) == {"dataset", "data_dir"}


@pytest.fixture(scope="module")
def base(pictures) -> dict[str, Any]:
    return {"dataset": "folder", "data_dir": str(pictures), "model": "cvt_2_8", "img_size": 8,
            "device": "cpu"}  # fmt: skip


def refusal_of(asked: dict[str, Any]) -> str | tuple[Any, ...]:
    """What is said before any work, or the configuration, its device and its pictures."""
    try:
        config = TrainConfig(**asked)
        device, splits = pick_device(config.device), load_splits(config)
        if config.objective == "mae":  # whether blocks fit is seen once there is a model
            build_state(config, splits, device)
        return config, device, splits
    except UsageError as refusal:
        return str(refusal)


def assert_it_names(message: str, given: dict[str, Any]) -> None:
    """That a refusal is one line, and names a field that was given."""
    assert len(message.splitlines()) == 1
    fields = {field.name for field in dataclasses.fields(TrainConfig)}
    named = {name for name in fields if name in message or name.replace("_", " ") in message}
    named |= {name for name, said in SAID.items() if said in message}
    assert named & given.keys(), message


def assert_it_steps(config: TrainConfig, device: torch.device, splits: Any) -> None:
    """That a batch goes all the way, its numbers finite, and moves the weights."""
    state = build_state(config, splits, device)
    batch = build_train_batch(config, splits)
    images, labels = next(iter(state.loader))
    state.reseed()
    x, targets = batch(images, labels, 0, state.augmentation)
    assert x.isfinite().all()
    targets = state.objective.targets(x, targets, state.augmentation)
    before = {name: value.clone() for name, value in state.module.state_dict().items()}
    figures = train_step(state, config, state.module.train(), x, targets)
    loss, right, seen = figures.tolist()
    assert state.health.steps == 1
    if state.choices.precision == "fp16":  # whose scaler may leave out the first steps
        return
    assert state.health.skipped == 0
    assert math.isfinite(loss)
    assert 0 <= right <= seen == len(labels) <= config.batch_size
    moves = config.optimizer == "adamw" and min(config.lr, config.warmup_lr) >= 1e-6
    if moves and not config.clip_grad:
        after = state.module.state_dict()
        assert any(not torch.equal(before[name], after[name]) for name in before)


def test_400_configurations_train_a_step_or_are_refused(base) -> None:
    outcomes: Counter[str] = Counter()

    @settings(FIXED, max_examples=400)
    @given(values=configurations())
    @example(values={"lr": 1e-300})
    @example(values={"epochs": 10**400})
    @example(values={"rand_num_ops": 10**9, "auto_augment": "rand"})
    @example(values={"seed": 2**64})
    @example(values={"crop_padding": 10**9})
    @example(values={"img_size": 10**12})
    @example(values={"warmup_ratio": 0.5, "cooldown_ratio": math.nextafter(0.5, 0)})
    @example(values={"mixup": 5e-324})
    @example(values={"cutmix": 1e-6, "mixup": 1e300})
    @example(values={"decay_epochs": 10**400, "schedule": "exponential"})
    def tried(values: dict[str, Any]) -> None:
        asked = refusal_of(base | values)
        if isinstance(asked, str):
            assert_it_names(asked, values)
        else:
            assert asked[0].data_dir == base["data_dir"]
            assert_it_steps(*asked)
        outcomes["refused" if isinstance(asked, str) else "trained"] += 1

    tried()
    print(dict(outcomes))
    assert min(outcomes["refused"], outcomes["trained"]) > 80


@settings(FIXED, max_examples=300)
@given(values=st.dictionaries(st.sampled_from([*sorted(RIGHT), "dataset", "data_dir", "recipes"]),
                              WRONG, max_size=3))  # fmt: skip
def test_what_a_file_says_is_a_configuration_or_refused(values) -> None:
    """Whatever ``config.json`` holds, there are only two outcomes."""
    try:
        config = TrainConfig.from_dict(values)
    except UsageError as refusal:
        message = str(refusal)
    else:
        assert TrainConfig.from_dict(config.to_dict()) == config
        return
    assert len(message.splitlines()) == 1
