"""From the configuration to what flows into the model: splits, and a batch's way to the network.

Letters: B batch, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .._version import __version__
from ..baselines.config import TimmConfig
from ..baselines.pretrained import timm_statistics
from ..data.augment import (
    AutoAugment,
    Compose,
    Mix,
    Normalize,
    RandAugment,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomMask,
    RandomResizedCrop,
    Transform,
    TrivialAugment,
)
from ..data.datasets import load_dataset
from ..data.pictures import DataSplits, Pictures
from ..data.split import IndivisibleError, stratified_split
from ..errors import UsageError
from .config import TrainConfig
from .distributed import Processes
from .model import model_config
from .rules import need_validation


def load_splits(config: TrainConfig) -> DataSplits:
    """The configuration's data set, with ``val_fraction`` of the training part held out.

    With ``train_pictures`` the training part is so many of its pictures; with ``overfit`` it is so
    many, to train and to test on. Mean and deviation are those of the whole training part as it
    came, what is held out or left out of it among them. Raises ``UsageError`` where something wants
    a validation split and there is none.
    """
    splits = load_dataset(
        config.dataset,
        data_dir=config.data_dir,
        img_size=config.img_size,
        download=config.download,
        on_bad_picture=config.on_bad_picture,
        test_fraction=config.test_fraction,
    )
    model = model_config(config, in_chans=len(splits.mean))
    if isinstance(model, TimmConfig) and model.pretrained:  # normalised as it was trained
        mean, std = timm_statistics(model.timm_name, model.in_chans)
        splits = dataclasses.replace(splits, mean=mean, std=std)
    every = torch.cat([splits.train.labels, splits.test.labels])
    if config.train_pictures:
        chosen = _few(splits.train.labels, config, "train_pictures")
        splits = dataclasses.replace(splits, train=splits.train.part(chosen))
    if config.overfit:
        few = _copied(splits.train, _few(splits.train.labels, config, "overfit"))
        return dataclasses.replace(splits, train=few, test=few, val=None)
    need_validation(config, splits.val is not None or config.val_fraction > 0)
    if not config.val_fraction:
        return splits
    if splits.val is not None:
        raise UsageError(
            f"val_fraction must be 0: {config.data_dir} has a val part of its own, "
            f"got {config.val_fraction}"
        )
    kept, held = stratified_split(
        splits.train.labels,
        config.val_fraction,
        config.seed,
        splits.classes,
        name="val_fraction",
        of=every,
        way_out="take more train_pictures"
        if config.train_pictures
        else "add pictures, remove the class, or give folders train/, val/ and test/",
    )
    train = splits.train.part(kept)
    return dataclasses.replace(splits, train=train, val=_copied(splits.train, held))


def load_again(config: TrainConfig, run: str | os.PathLike[str]) -> DataSplits:
    """The pictures that ``run`` was trained and tested on, which could be divided then."""
    try:
        return load_splits(config)
    except IndivisibleError:
        raise UsageError(
            f"the data set has changed since '{run}' was trained, and cannot be divided any more "
            "as it was then: put the files back, or train again"
        ) from None


def _need_one_run(config: TrainConfig, together: Processes) -> None:
    """Refuse processes that are asked for different runs, where files lie apart, or by other code.

    They would take other steps, whose weights nobody compares.
    """
    of_places = {"data_dir", "download", "init_from", "teacher", "track"}
    choices = {"version": __version__, **config.to_dict()}
    own = {name: value for name, value in choices.items() if name not in of_places}
    asked = list(map(json.loads, together.each(json.dumps(own))))
    for name in own:
        values = [repr(other.get(name)) for other in asked]
        if len(set(values)) > 1:
            raise UsageError(
                f"the processes of a run must be asked for the same, got {name} "
                f"{' and '.join(sorted(set(values)))}: give every machine the same command"
            )


def load_alike(config: TrainConfig, together: Processes, begun: Path | None = None) -> DataSplits:
    """The same for each of several processes; ``UsageError`` if they find different pictures.

    ``begun`` is the run that was trained on them before.
    """
    _need_one_run(config, together)
    load = load_splits if begun is None else functools.partial(load_again, run=begun)
    splits = together.in_turns(lambda: load(config))
    if len(set(together.each(str(splits.marks())))) > 1:
        raise UsageError(
            "the processes of a run must read the same pictures, got different labels or names of "
            "files: give every machine the same data set"
        )
    return splits


def _copied(pictures: Pictures, index: Tensor) -> Pictures:
    return Pictures(pictures.at(index), pictures.labels[index])


def _few(labels: Tensor, config: TrainConfig, field: str) -> Tensor:
    """So many of ``labels`` [N] as ``field`` says, first of a draw that takes classes in turn."""
    wanted = getattr(config, field)
    if wanted > len(labels):
        raise UsageError(
            f"{field} must be at most the {len(labels):,} training pictures, got {wanted}"
        )
    drawn = torch.randperm(len(labels), generator=torch.Generator().manual_seed(config.seed))
    turn = torch.empty_like(drawn)  # the how many-th of its class a picture is
    for label in labels.unique():
        where = labels[drawn] == label
        turn[where] = torch.arange(int(where.sum()))
    return drawn[turn.argsort(stable=True)][:wanted]


@dataclass(frozen=True)
class TrainBatch:
    """A training batch's way: ``uint8 [B,C,H,W], [B]`` to float pictures and targets.

    Targets are class indices ``[B]``, or probabilities ``[B,K]`` once something is mixed.
    """

    augment: Compose
    normalize: Normalize
    erase: RandomErasing | None
    mask: RandomMask | None
    mix: Mix | None
    mix_off_epoch: int

    def __call__(
        self, images: Tensor, labels: Tensor, epoch: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        x = self.normalize(self.augment(images, generator))
        if self.erase is not None:
            x = self.erase(x, generator)
        if self.mask is not None:
            x = self.mask(x, generator)
        if self.mix is not None and not 0 < self.mix_off_epoch <= epoch:
            return self.mix(x, labels, generator)
        return x, labels


def build_train_batch(config: TrainConfig, splits: DataSplits) -> TrainBatch:
    """The augmentation that ``config`` asks for, in the order crop, flip, policy, erase, mask, mix.

    A masked autoencoder masks by itself.
    """
    steps: list[Transform] = []
    if config.crop_padding:
        steps.append(RandomCrop(config.crop_padding))
    if config.min_crop_area < 1:
        steps.append(RandomResizedCrop(scale=(config.min_crop_area, 1.0)))
    if config.flip:
        steps.append(RandomHorizontalFlip(config.flip))
    if config.auto_augment == "rand":
        steps.append(
            RandAugment(config.rand_num_ops, config.rand_magnitude, config.rand_magnitude_std)
        )
    elif config.auto_augment == "trivial":
        steps.append(TrivialAugment())
    elif config.auto_augment != "none":
        steps.append(AutoAugment(config.auto_augment))
    mixes = config.mixup > 0 or config.cutmix > 0
    masks = config.mask_ratio > 0 and config.objective == "classify"
    return TrainBatch(
        augment=Compose(steps),
        normalize=Normalize(splits.mean, splits.std),
        erase=RandomErasing(config.erasing) if config.erasing else None,
        mask=RandomMask(config.mask_block, config.mask_ratio) if masks else None,
        mix=Mix(
            len(splits.classes),
            mixup_alpha=config.mixup,
            cutmix_alpha=config.cutmix,
            switch_prob=config.mix_switch,
        )
        if mixes
        else None,
        mix_off_epoch=config.mix_off_epoch,
    )
