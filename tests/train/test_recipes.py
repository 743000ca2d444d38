"""Recipes hold the published figures (arXiv 2104.05704, its repository, the student report)."""

from __future__ import annotations

import itertools

import pytest

from compact_vit.data.catalog import DATASETS, own_place
from compact_vit.errors import UsageError
from compact_vit.train.config import TrainConfig
from compact_vit.train.recipes import RECIPES


def configured(dataset: str, **values: object) -> TrainConfig:
    return TrainConfig(dataset=dataset, data_dir="x" if own_place(dataset) else None, **values)


def check(config: TrainConfig, **expected: object) -> None:
    got = {name: getattr(config, name) for name in expected}
    assert got == pytest.approx(expected)


PUBLISHED_200 = {
    "lr": 5e-4,
    "min_lr": 0.0,
    "weight_decay": 3e-2,
    "batch_size": 128,
    "epochs": 200,
    "auto_augment": "cifar10",
    "crop_padding": 4,
    "flip": 0.5,
    "label_smoothing": 0.1,
    "mixup": 0.0,
    "cutmix": 0.0,
    "erasing": 0.0,
    "min_crop_area": 1.0,
    "cooldown_ratio": 0.0,
    "dropout": 0.0,
    "attention_dropout": 0.1,
    "drop_path": 0.1,
    "img_size": 32,
}


@pytest.mark.parametrize("recipe", [None, "published-200"])
@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_published_200(dataset, recipe) -> None:
    config = configured(dataset, recipe=recipe)
    check(config, recipe="published-200", model="cct_6_3x1", **PUBLISHED_200)
    assert config.warmup_ratio * 200 == pytest.approx(10)


@pytest.mark.parametrize(
    ("model", "epochs"),
    [("cct_2_3x2", 5), ("cvt_4_4", 5), ("vit_lite_6_4", 10), ("cct_7_3x1", 10), ("cct_14_7x2", 10)],
)
def test_published_200_warms_larger_models_up_longer(model, epochs) -> None:
    config = configured("cifar10", model=model)
    check(config, **PUBLISHED_200)
    assert config.warmup_ratio * config.epochs == pytest.approx(epochs)


PUBLISHED_300 = {
    "model": "cct_7_3x1",
    "weight_decay": 6e-2,
    "batch_size": 128,
    "epochs": 300 + 10,
    "min_lr": 1e-5,
    "auto_augment": "rand",
    "rand_num_ops": 2,
    "rand_magnitude": 9,
    "rand_magnitude_std": 0.5,
    "min_crop_area": 0.8,
    "crop_padding": 0,
    "flip": 0.5,
    "mixup": 0.8,
    "cutmix": 1.0,
    "mix_switch": 0.5,
    "label_smoothing": 0.1,
}


def test_published_300() -> None:
    ten = configured("cifar10", recipe="published-300")
    check(ten, lr=5.5e-4, warmup_lr=1e-5, erasing=0.0, mix_off_epoch=175, **PUBLISHED_300)
    hundred = configured("cifar100", recipe="published-300")
    check(hundred, lr=6e-4, warmup_lr=1e-6, erasing=0.25, mix_off_epoch=0, **PUBLISHED_300)
    flowers = configured("flowers102", recipe="published-300")
    own = {"model": "cct_7_7x2", "batch_size": 96}
    check(flowers, lr=5e-4, warmup_lr=1e-6, erasing=0.25, mix_off_epoch=0, **PUBLISHED_300 | own)
    assert flowers == configured("flowers102")
    for config in (ten, hundred, flowers):
        assert config.warmup_ratio * 310 == pytest.approx(10)
        assert config.cooldown_ratio * 310 == pytest.approx(10)


QUICK = {
    "recipe": "quick",
    "model": "cct_2_3x3",
    "epochs": 20,
    "batch_size": 64,
    "optimizer": "adamw",
    "schedule": "cosine",
    "lr": 2e-3,
    "min_lr": 1e-5,
    "warmup_lr": 1e-6,
    "warmup_ratio": 0.1,
    "cooldown_ratio": 0.0,
    "weight_decay": 5e-2,
    "clip_grad": 1.0,
    "ema": 0.0,
    "auto_augment": "none",
    "crop_padding": 4,
    "min_crop_area": 1.0,
    "flip": 0.5,
    "erasing": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
    "label_smoothing": 0.1,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "drop_path": 0.0,
}


@pytest.mark.parametrize(
    ("dataset", "own"),
    [
        ("folder", {}),
        ("npz", {}),
        ("digits", {"model": "cct_2_3x2", "epochs": 15, "batch_size": 32, "crop_padding": 1}),
        ("mnist", {"model": "cct_2_3x2", "epochs": 10, "crop_padding": 2}),
        ("fashion_mnist", {"model": "cct_2_3x2", "crop_padding": 2}),
    ],
)
def test_quick(dataset, own) -> None:
    """What was measured of it was measured with these values."""
    flip = 0.5 if DATASETS[dataset].mirror else 0.0
    check(configured(dataset), **QUICK | own | {"flip": flip})


def test_student_200() -> None:
    config = configured("cifar100", recipe="student-200")
    check(
        config,
        model="cct_6_3x1",
        epochs=200,
        warmup_ratio=0.1,
        auto_augment="cifar10",
        flip=0.5,
        crop_padding=0,
        label_smoothing=0.1,
        dropout=0.1,
        drop_path=0.1,
    )


def test_best_200_mixes_for_large_models_alone() -> None:
    same = {"auto_augment": "cifar10", "crop_padding": 4, "weight_decay": 5e-2, "clip_grad": 1.0}
    same |= {"epochs": 200, "batch_size": 128, "label_smoothing": 0.1, "attention_dropout": 0.0}
    same |= {"optimizer": "muon"}
    large = configured("cifar10", recipe="best-200")
    check(large, model="cct2_6_3x1", lr=4e-3, mixup=0.8, cutmix=1.0, **same)
    small = configured("cifar10", recipe="best-200", model="cct2_2_3x2")
    check(small, lr=1e-2, mixup=0.0, cutmix=0.0, residual="published", **same)


@pytest.mark.parametrize(
    ("optimizer", "small", "large"), [("muon", 1e-2, 4e-3), ("adamw", 2e-3, 1e-3)]
)
def test_best_200_has_rates_of_its_own_for_other_optimisers(optimizer, small, large) -> None:
    for model, lr in (("cct2_2_3x2", small), ("cct2_6_3x1", large)):
        given = {"recipe": "best-200", "model": model, "optimizer": optimizer}
        check(configured("cifar10", **given), optimizer=optimizer, lr=lr)
        check(configured("cifar10", **given, lr=0.1), lr=0.1)
        check(configured("cifar10", **given | {"recipe": "published-200"}), lr=5e-4)


def test_what_others_change() -> None:
    check(configured("cifar10", recipe="speedrun"), ema=0.999)
    check(configured("svhn"), recipe="published-200", epochs=50)
    still = {"auto_augment": "none", "dropout": 0.0, "attention_dropout": 0.0, "drop_path": 0.0}
    check(configured("cifar10", objective="mae"), mask_ratio=0.75, **still)


def test_defaults_that_no_recipe_has() -> None:
    schedule = {"schedule": "cosine", "decay_rate": 0.1, "restarts": 3, "plateau_patience": 5}
    check(TrainConfig(), momentum=0.9, distillation=0.5, temperature=4.0, **schedule)


def test_the_embedded_default() -> None:
    check(TrainConfig(), dataset="digits", recipe="quick", img_size=16, flip=0.0, device="auto")


@pytest.mark.parametrize(
    ("dataset", "img_size"),
    [("digits", 16), ("mnist", 28), ("fashion_mnist", 28), ("svhn", 32), ("flowers102", 224)],
)
def test_pictures_have_the_data_sets_size(dataset, img_size) -> None:
    for recipe in (None, *RECIPES):
        assert configured(dataset, recipe=recipe).img_size == img_size


@pytest.mark.parametrize(
    ("dataset", "recipe"), list(itertools.product(("digits", "mnist", "svhn"), (None, *RECIPES)))
)
def test_digits_are_never_mirrored(dataset, recipe) -> None:
    assert configured(dataset, recipe=recipe).flip == 0
    with pytest.raises(UsageError, match=r"flip must be 0: .* never mirrored"):
        configured(dataset, recipe=recipe, flip=0.5)


@pytest.mark.parametrize("dataset", [d for d, info in DATASETS.items() if info.mirror])
def test_other_pictures_are_mirrored(dataset) -> None:
    assert configured(dataset).flip == 0.5


def test_the_policy_was_found_on_the_data() -> None:
    check(configured("svhn"), auto_augment="svhn")
    check(configured("flowers102", recipe="published-200"), auto_augment="imagenet")
    check(configured("svhn", auto_augment="cifar10"), auto_augment="cifar10")


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("recipe", [None, *RECIPES])
def test_any_value_given_overrides_any_recipe(dataset, recipe) -> None:
    given = {
        "model": "cvt_2_4",
        "epochs": 3,
        "lr": 1e-2,
        "weight_decay": 0.0,
        "flip": 0.0,
        "auto_augment": "none",
        "label_smoothing": 0.0,
        "mixup": 0.0,
        "warmup_ratio": 0.0,
        "img_size": 40,
        "batch_size": 7,
        "mix_off_epoch": 0,
    }
    check(configured(dataset, recipe=recipe, **given), **given)


def test_a_configuration_repeats_itself() -> None:
    for dataset, recipe in itertools.product(DATASETS, (None, *RECIPES)):
        config = configured(dataset, recipe=recipe)
        assert TrainConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("own", ["folder", "npz"])
def test_pictures_of_ones_own_have_the_models_own_size(own) -> None:
    sizes = {"cct_7_7x2_224_sine": 224, "cct_14_7x2_384": 384, "cct_7_7x2": 224, "cct_2_3x2": 32}
    for model, size in sizes.items():
        assert configured(own, model=model).img_size == size
        assert configured(own, model=model, img_size=48).img_size == 48
        assert configured("cifar10", model=model).img_size == 32
    assert configured(own, model="mlp_naive").img_size == 32


def test_large_pictures_keep_the_model_made_for_them() -> None:
    for recipe in (None, *RECIPES):
        assert TrainConfig(dataset="flowers102", recipe=recipe).model == "cct_7_7x2"
    assert TrainConfig(dataset="flowers102", model="cct_14_7x2").model == "cct_14_7x2"


@pytest.mark.parametrize("size", [65, 224, (32, 96), [224, 224]])
def test_asked_for_large_pictures_a_recipe_leaves_its_model(size) -> None:
    for recipe in set(RECIPES) - {"quick"}:
        assert configured("folder", recipe=recipe, img_size=size).model == "cct_7_7x2"
        assert configured("folder", recipe=recipe, img_size=64).model == RECIPES[recipe].get(
            "model", "cct_6_3x1"
        )
    assert configured("folder", recipe="quick", img_size=size).model == "cct_2_3x3"
    assert configured("folder", img_size=size).model == "cct_2_3x3"


def test_a_low_rate_brings_the_others_down() -> None:
    check(configured("digits", lr=5e-6), lr=5e-6, min_lr=5e-6, warmup_lr=1e-6)
    check(configured("digits", lr=5e-7), lr=5e-7, min_lr=5e-7, warmup_lr=5e-7)
    check(configured("digits", lr=5e-5), lr=5e-5, min_lr=1e-5, warmup_lr=1e-6)
    with pytest.raises(UsageError, match=r"min_lr must be at most lr \(5e-06\), got 1e-05"):
        configured("digits", lr=5e-6, min_lr=1e-5)
