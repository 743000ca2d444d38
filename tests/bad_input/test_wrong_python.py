"""The same in Python: a ``ValueError`` of one line, before anything is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from compact_vit import ModelConfig, UsageError, cvt_2_8
from compact_vit.bench import measure
from compact_vit.data import Pictures, load_dataset
from compact_vit.data.augment import (
    AutoAugment,
    Mix,
    Normalize,
    RandAugment,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
    TrivialAugment,
)
from compact_vit.data.loader import BatchLoader
from compact_vit.data.split import stratified_split
from compact_vit.evaluate import evaluate_run
from compact_vit.models.zoo import create_model
from compact_vit.predict import predict_pictures
from compact_vit.scoring import (
    accuracy_interval,
    mean_and_spread,
    pareto_front,
    score_interval,
    size_accuracy_score,
)
from compact_vit.suggest import suggest
from compact_vit.train import resume, train
from compact_vit.train.config import TrainConfig
from compact_vit.train.interrupt import seconds_of
from compact_vit.train.trained import load_model


def draw() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def images(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.uint8)


def three() -> Pictures:
    return Pictures(images(3, 1, 8, 8), torch.arange(3))


NAN = float("nan")

#: what is asked -> a distinctive part of what is said
TABLE: list[tuple[Callable[[], object], str]] = [
    # models
    (lambda: create_model("cct_6_3y1"), "unknown model 'cct_6_3y1': did you mean 'cct_6_3x1'?"),
    (lambda: create_model("cct_٦_3x1"), "unknown model 'cct_٦_3x1': did you mean"),
    (lambda: create_model("cct_06_3x1"), "unknown model 'cct_06_3x1': did you mean 'cct_6_3x1'?"),
    (lambda: create_model("cvt_2_" + "9" * 5000), "names are of the form vit_lite_L_P, cvt_L_P"),
    (lambda: create_model("resnet18"), "unknown model 'resnet18': did you mean 'timm/resnet18'?"),
    (lambda: create_model(None), "model must be a name, got None"),
    (lambda: create_model("cct_2_3x2", num_classes="ten"), "num_classes must be a whole number"),
    (lambda: create_model("cct_2_3x2", nmu_classes=3), "did you mean 'num_classes'?"),
    (lambda: create_model("cct_2_3x2", img_size=(32, 2)), "of at least 3 pixels, got (32, 2)"),
    (lambda: cvt_2_8(residual="post"), "unknown residual 'post': choose from published, pre_norm"),
    (lambda: ModelConfig(family="cct", depth=2, num_heads=3, mlp_ratio=1, embed_dim=128,
                         kernel_size=3, num_convs=1), "embed_dim must be a multiple of num_heads"),
    # configurations
    (lambda: TrainConfig(epochs="3"), "epochs must be a whole number of at least 1, got '3'"),
    (lambda: TrainConfig(epochs=True), "epochs must be a whole number of at least 1, got True"),
    (lambda: TrainConfig(lr=NAN), "lr must be a number above 0, got nan"),
    (lambda: TrainConfig(model=7), "model must be a name, got 7"),
    (lambda: TrainConfig(dataset="cifar"), "unknown data set 'cifar': did you mean 'cifar10'?"),
    (lambda: TrainConfig(dataset="run"), "there is --dataset folder --data-dir run"),
    (lambda: TrainConfig(dataset="folder", data_dir=7), "data_dir must be a path, got 7"),
    (lambda: TrainConfig(dataset="folder"), "data_dir must be the path of a folder"),
    (lambda: TrainConfig(data_dir=Path("x")), "data_dir must not be given: digits are built in"),
    (lambda: TrainConfig(recipe="quik"), "unknown recipe 'quik': did you mean 'quick'?"),
    (lambda: TrainConfig(crop_padding=17), "crop_padding must be at most the pictures' shorter"),
    (lambda: TrainConfig(rand_num_ops=10**9), "rand_num_ops must be at most 100, got 1000000000"),
    (lambda: TrainConfig.from_dict({"epoch": 1}), "unknown training option 'epoch': did you mean"),
    (lambda: train(TrainConfig(model="cvt_2_8"), output="note.txt"), "output must be a folder"),
    (lambda: train(TrainConfig(model="cvt_2_8"), output="run"), "output 'run' is not empty"),
    (lambda: train(TrainConfig(dataset="folder", data_dir="nowhere")), "nowhere does not exist"),
    (lambda: resume("nowhere"), "'nowhere' is not the folder of a run"),
    (lambda: seconds_of("soon"), "time_limit must be a time such as 90s, 30m or 1h30m"),
    # runs
    (lambda: load_model("run", "bset"), "unknown checkpoint 'bset': did you mean 'best'?"),
    (lambda: evaluate_run("run", split="tset"), "unknown split 'tset': did you mean 'test'?"),
    (lambda: evaluate_run(7), "the run must be given by its folder, got int"),
    (lambda: evaluate_run("run", device="gpu"), "device must be one of this machine's, got 'gpu'"),
    (lambda: predict_pictures("nowhere", ["a.png"]), "'nowhere' is not the folder of a run"),
    (lambda: predict_pictures("run", "a.png"), "must be a list of files, got one: ['a.png']"),
    (lambda: predict_pictures("run", ["b.png"]), "no picture at b.png"),
    (lambda: predict_pictures("run", [b"GIF"]), "must be the path of its file, got bytes"),
    (lambda: predict_pictures("run", ["a.png"], top=0), "top must be a whole number of at least 1"),
    (lambda: predict_pictures("run", ["a.png"], top=2.5), "of at least 1, got 2.5"),
    # data
    (lambda: load_dataset("cifar"), "unknown data set 'cifar': did you mean 'cifar10'?"),
    (lambda: load_dataset("digits", img_size=0), "img_size: wanted a positive number of pixels"),
    (lambda: load_dataset("digits", img_size="16"), "img_size: wanted a positive number of pixels"),
    (lambda: load_dataset("folder"), "data_dir must be the path of a folder with train/"),
    (lambda: load_dataset("folder", data_dir="nowhere"), "data folder nowhere does not exist"),
    (lambda: stratified_split(torch.arange(9) % 3, 1.5, 0), "wanted a number between 0 and 1"),
    (lambda: stratified_split(torch.arange(3), 0.5, 0), "at least 2 pictures of every class"),
    (lambda: Pictures(torch.zeros(2, 3, 4, 4).byte(), np.arange(2)),
     "labels must be a tensor, got ndarray: torch.from_numpy makes one"),
    (lambda: BatchLoader(three(), 0, shuffle=False, generator=None), "batch_size: wanted 1"),
    (lambda: BatchLoader(three(), 4, shuffle=False, generator=None, drop_last=True),
     "batch_size: wanted at most 3, the number of training pictures, got 4"),
    (lambda: BatchLoader(three(), 1, shuffle=False, generator=None, prefetch=-1),
     "prefetch: wanted 0 or more batches, got -1"),
    (lambda: BatchLoader(three(), 1, shuffle=True, generator=None),
     "generator: wanted a torch.Generator to shuffle with, got None"),
    # augmentation
    (lambda: RandomCrop(-1), "padding must be a whole number >= 0, got -1"),
    (lambda: RandomHorizontalFlip(1.5), "p must be a number from 0 to 1, got 1.5"),
    (lambda: RandomResizedCrop(scale=(0, 1)), "scale must be a pair (a, b) with 0 < a <= b <= 1"),
    (lambda: RandomResizedCrop(interpolation="cubic"), "did you mean 'bicubic'?"),
    (lambda: AutoAugment("cifar100"), "unknown AutoAugment policy 'cifar100': did you mean"),
    (lambda: RandAugment(0), "num_ops must be a whole number"),
    (lambda: RandAugment(magnitude=11), "magnitude must be a number from 0 to 10, got 11"),
    (lambda: RandomErasing(mode="noise"), "unknown erasing mode 'noise': choose from pixel, const"),
    (lambda: Normalize((0.5,), (0.0,)), "std must be positive, got (0.0,)"),
    (lambda: Normalize((0.5, 0.5), (1.0, 1.0)), "mean must be 1 or 3 numbers"),
    (lambda: Normalize((0.5,) * 3, (1.0,) * 3)(images(1, 1, 8, 8)), "mean must be 1 numbers"),
    (lambda: Mix(0), "num_classes must be a whole number >= 1, got 0"),
    (lambda: Mix(10, mixup_alpha=-1), "mixup_alpha must be a number >= 0, got -1"),
    (lambda: Mix(10)(torch.zeros(2, 3, 8, 8), torch.zeros(3), draw()), "per image, got float32"),
    (lambda: RandomCrop(4)(torch.zeros(1, 3, 8, 8), draw()), "images must be a non-empty uint8"),
    (lambda: TrivialAugment()(images(3, 8, 8), draw()), "batch [B, C, H, W] with 1 or 3 channels"),
    (lambda: TrivialAugment()(images(0, 3, 8, 8), draw()), "got uint8 [0, 3, 8, 8]"),
    # figures
    (lambda: size_accuracy_score(0.75, 1e6), "in percent, got 0.75: was 75 meant?"),
    (lambda: size_accuracy_score(101, 1e6), "accuracy must be a percentage from 0 to 100, got 101"),
    (lambda: size_accuracy_score(NAN, 1e6), "accuracy must be a percentage from 0 to 100, got nan"),
    (lambda: size_accuracy_score(75, 3.19), "parameters must be a whole number of at least 1"),
    (lambda: accuracy_interval(75, 0), "n, the number of pictures, must be a whole number"),
    (lambda: score_interval(75, 10**6, 100, confidence=1), "confidence must be between 0 and 1"),
    (lambda: mean_and_spread([]), "mean and spread need at least one value, got none"),
    (lambda: mean_and_spread([1, NAN]), "mean and spread need finite numbers, got nan"),
    (lambda: pareto_front([(1, NAN)]), "a point must be two finite numbers, got (1, nan)"),
    (lambda: suggest(max_parameters=0), "max_parameters must be at least 1, got 0"),
    (lambda: measure(cvt_2_8(), (3, 32, 32), batch_size=0), "batch_size must be at least 1, got 0"),
    (lambda: measure(cvt_2_8(), (3, 32, 32), precision="fp23"), "did you mean 'fp32'?"),
]  # fmt: skip


@pytest.mark.parametrize(("ask", "said"), TABLE, ids=[said[:50] for _, said in TABLE])
def test_refused_in_one_line(place, ask, said) -> None:
    before = sorted(place.rglob("*"))
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the message is looked at below
        ask()
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert sorted(place.rglob("*")) == before


def test_a_usage_error_is_a_value_error() -> None:
    assert issubclass(UsageError, ValueError)


def test_a_path_may_be_a_path(place) -> None:
    given = TrainConfig(dataset="folder", data_dir=place / "pictures")
    assert given == TrainConfig(dataset="folder", data_dir=str(place / "pictures"))
