"""Recipes by name, and what each data set brings of its own. Imports no torch.

The published figures are those of arXiv 2104.05704 and its repository's configurations.
"""

from __future__ import annotations

from typing import Any

from ..data.catalog import dataset_info
from ..errors import unknown
from ..models.config import ModelConfig
from ..models.names import config_of

#: Largest side of the pictures that the recipes name their models for, pixels.
SMALL = 64

#: The model for larger pictures, on which the recipes' own would see thousands of tokens.
_FOR_LARGE = "cct_7_7x2"

#: What holds where neither the recipe nor the data set says otherwise.
GENERAL: dict[str, Any] = {
    "model": "cct_6_3x1",
    "dropout": 0.0,
    "attention_dropout": 0.1,
    "drop_path": 0.1,
    "auto_augment": "none",
    "rand_num_ops": 2,
    "rand_magnitude": 9.0,
    "rand_magnitude_std": 0.5,
    "crop_padding": 0,
    "min_crop_area": 1.0,
    "flip": 0.5,
    "erasing": 0.0,
    "mask_ratio": 0.0,
    "mask_block": 4,
    "mixup": 0.0,
    "cutmix": 0.0,
    "mix_switch": 0.5,
    "mix_off_epoch": 0,
    "label_smoothing": 0.1,
    "epochs": 200,
    "batch_size": 128,
    "optimizer": "adamw",
    "lr": 5e-4,
    "min_lr": 1e-5,
    "warmup_lr": 1e-6,
    "warmup_ratio": 0.1,
    "cooldown_ratio": 0.0,
    "weight_decay": 3e-2,
    "clip_grad": 0.0,
    "ema": 0.0,
}

_STRONG: dict[str, Any] = {
    "model": "cct_7_3x1",
    "auto_augment": "rand",
    "min_crop_area": 0.8,
    "mixup": 0.8,
    "cutmix": 1.0,
    "epochs": 310,
    "cooldown_ratio": 10 / 310,
    "warmup_ratio": 10 / 310,
    "weight_decay": 6e-2,
}

RECIPES: dict[str, dict[str, Any]] = {
    # 200 epochs of cosine to 0, AutoAugment, crop and flip; warm-up of 5 epochs, 10 for depth 6 and
    # up, linear here, where the published script takes lr / (epochs of warm-up left)
    "published-200": {
        "auto_augment": "cifar10",
        "crop_padding": 4,
        "min_lr": 0.0,
        "warmup_ratio": 10 / 200,
    },
    # 300 epochs and 10 of cool-down, RandAugment, mixup and cutmix. Published, the cosine counts
    # from the first epoch (here from the warm-up's end: up to 6% higher), a batch mixes in one way
    # (here each picture in its own), interpolation is drawn (here bilinear to crop, nearest in
    # RandAugment), and what RandAugment uncovers has the mean's colour (here it is black)
    "published-300": {**_STRONG, "lr": 6e-4, "erasing": 0.25},
    # the student report on CIFAR-100: 200 epochs, AutoAugment and flip, 10% of warm-up
    "student-200": {"model": "cct_6_3x1", "auto_augment": "cifar10", "dropout": 0.1},
    # minutes on a laptop: little augmentation, a high learning rate, small batches, and a third
    # convolution, which learns far more in a CPU second than more tokens do (benchmarks/LOG.md)
    "quick": {
        "model": "cct_2_3x3",
        "attention_dropout": 0.0,
        "drop_path": 0.0,
        "crop_padding": 4,
        "epochs": 20,
        "batch_size": 64,
        "lr": 2e-3,
        "weight_decay": 5e-2,
        "clip_grad": 1.0,
    },
    # beyond the published recipe at the same length (benchmarks/LOG.md has each lever): a CCT2, and
    # Muon at a high learning rate under clipping; large models mix pictures too (below)
    "best-200": {
        "model": "cct2_6_3x1",
        "attention_dropout": 0.0,
        "auto_augment": "cifar10",
        "crop_padding": 4,
        "optimizer": "muon",
        "lr": 1e-2,
        "warmup_ratio": 10 / 200,
        "weight_decay": 5e-2,
        "clip_grad": 1.0,
    },
    # a minute on a large GPU, untuned (benchmarks/speedrun.py): a quarter of CCT-6/3x1's tokens,
    # half of its epochs, large batches, and averaged weights in place of the last steps' noise
    "speedrun": {
        "model": "cct_6_3x2",
        "attention_dropout": 0.0,
        "auto_augment": "cifar10",
        "crop_padding": 4,
        "epochs": 100,
        "batch_size": 512,
        "lr": 2e-3,
        "min_lr": 1e-6,
        "weight_decay": 5e-2,
        "clip_grad": 1.0,
        "ema": 0.999,
    },
}

#: What learning a few pictures by heart fixes: nothing that would keep a model from it.
OVERFIT: dict[str, Any] = {
    "val_fraction": 0.0,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "drop_path": 0.0,
    "auto_augment": "none",
    "crop_padding": 0,
    "min_crop_area": 1.0,
    "flip": 0.0,
    "erasing": 0.0,
    "mask_ratio": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
    "label_smoothing": 0.0,
    "weight_decay": 0.0,
    "ema": 0.0,
    "early_stopping": 0,
    "class_weight": "none",
}

#: What it takes where nothing else is said.
OVERFIT_DEFAULTS: dict[str, Any] = {
    "epochs": 100,
    "batch_size": 20,
    "optimizer": "adamw",
    "lr": 2e-3,
    "clip_grad": 1.0,
}

#: What a masked autoencoder fixes: without answers there is nothing to smooth, mix or pick on.
MAE: dict[str, Any] = {
    "erasing": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
    "label_smoothing": 0.0,
    "class_weight": "none",
    "early_stopping": 0,
    "overfit": 0,
    "teacher": None,
}

#: What it takes where nothing else is said (arXiv 2111.06377, tables 1 and 8).
MAE_DEFAULTS: dict[str, Any] = {
    "auto_augment": "none",
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "drop_path": 0.0,
    "mask_ratio": 0.75,
}

#: What "best-200" takes for all but transformers of fewer than six layers, who do not learn 200
#: epochs of pictures by heart: a lower rate, and the mixing of the published 300 epochs. The mixing
#: has not been tried at that length.
_BEST_LARGE: dict[str, Any] = {"lr": 4e-3, "mixup": 0.8, "cutmix": 1.0}

#: Its learning rates for other optimisers than its own: of those large models, and of small ones.
_BEST_BY_OTHERS = {True: 1e-3, False: 2e-3}

#: (recipe, data set) -> where the published recipe differs for one data set
_VARIANTS: dict[tuple[str, str], dict[str, Any]] = {
    ("published-300", "cifar10"): {
        "lr": 5.5e-4,
        "warmup_lr": 1e-5,
        "erasing": 0.0,
        "mix_off_epoch": 175,
    },
    ("published-300", "flowers102"): {"lr": 5e-4, "batch_size": 96},
}

#: What each data set starts from; a recipe that is asked for overrides it.
_DATASETS: dict[str, dict[str, Any]] = {
    "digits": {
        "recipe": "quick",
        "model": "cct_2_3x2",
        "batch_size": 32,
        "crop_padding": 1,
        "epochs": 15,
    },
    "cifar10": {"recipe": "published-200"},
    "cifar100": {"recipe": "published-200"},
    "mnist": {"recipe": "quick", "model": "cct_2_3x2", "crop_padding": 2, "epochs": 10},
    "fashion_mnist": {"recipe": "quick", "model": "cct_2_3x2", "crop_padding": 2},
    "svhn": {"recipe": "published-200", "epochs": 50},
    "flowers102": {"recipe": "published-300", "model": "cct_7_7x2"},
    "folder": {"recipe": "quick"},
    "npz": {"recipe": "quick"},
}


def recipe_values(
    dataset: str,
    recipe: str | None,
    model: str | None,
    optimizer: str | None,
    large_pictures: bool,
) -> dict[str, Any]:
    """Every value that ``recipe`` gives on ``dataset``; without one, the data set's own.

    ``model`` and ``optimizer`` are those that were asked for, None for the recipe's;
    ``large_pictures`` have a side above ``SMALL``.

    What belongs to the data outranks a recipe: whether pictures may be mirrored, which AutoAugment
    policy was found on them, and which model suits pictures larger than the recipes'.
    """
    own = _DATASETS.get(dataset, {})
    name = recipe or own["recipe"]
    if name not in RECIPES:
        raise unknown("recipe", str(name), RECIPES)
    values = {**GENERAL, "recipe": name}
    if recipe is None:
        values |= RECIPES[name] | own
    else:
        values |= {"model": own.get("model", GENERAL["model"])} | RECIPES[name]
    values |= _VARIANTS.get((name, dataset), {})
    if dataset_info(dataset).img_size > SMALL:
        values["model"] = own["model"]
    elif large_pictures and name != "quick":  # whose model makes fewer tokens of them
        values["model"] = _FOR_LARGE
    named = config_of(model or values["model"])
    large = not isinstance(named, ModelConfig) or named.depth >= 6
    if name == "published-200" and not large:
        values["warmup_ratio"] = 5 / 200
    if name == "best-200" and large:
        values |= _BEST_LARGE
    if name == "best-200" and optimizer not in (None, values["optimizer"]):
        values["lr"] = _BEST_BY_OTHERS[large]
    if not dataset_info(dataset).mirror:
        values["flip"] = 0.0
    if values["auto_augment"] == "cifar10" and dataset in ("svhn", "flowers102"):
        values["auto_augment"] = "svhn" if dataset == "svhn" else "imagenet"
    return values
