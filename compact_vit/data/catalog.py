"""The table of named data sets: what each one is, without touching its pictures or torch."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass

from ..errors import UsageError, unknown

#: what may be done about a file in a folder that is no readable picture
ON_BAD_PICTURE = ("refuse", "skip")
#: the parts that pictures of the user's may be in
PARTS = ("train", "test", "val")


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set before it is loaded; sizes in pixels, statistics in 0..1."""

    name: str
    title: str
    #: None: as many as the user's pictures have classes
    num_classes: int | None
    in_chans: int
    #: side they are given to the model with, unless another is asked for
    img_size: int
    #: per channel, as published; None: measured on the training pictures
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    #: whether a mirrored picture still shows its class (it does not for digits)
    mirror: bool
    #: what data_dir is where the pictures are the user's: folder or file
    own: str | None = None


_TABLE = (
    DatasetInfo(
        name="digits",
        title="Handwritten digits (scikit-learn)",
        num_classes=10,
        in_chans=1,
        img_size=16,
        mean=None,
        std=None,
        mirror=False,
    ),
    DatasetInfo(
        name="cifar10",
        title="CIFAR-10",
        num_classes=10,
        in_chans=3,
        img_size=32,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        mirror=True,
    ),
    DatasetInfo(
        name="cifar100",
        title="CIFAR-100",
        num_classes=100,
        in_chans=3,
        img_size=32,
        mean=(0.5071, 0.4867, 0.4408),
        std=(0.2675, 0.2565, 0.2761),
        mirror=True,
    ),
    DatasetInfo(
        name="fashion_mnist",
        title="Fashion-MNIST",
        num_classes=10,
        in_chans=1,
        img_size=28,
        mean=(0.2860,),
        std=(0.3530,),
        mirror=True,
    ),
    DatasetInfo(
        name="mnist",
        title="MNIST",
        num_classes=10,
        in_chans=1,
        img_size=28,
        mean=(0.1307,),
        std=(0.3081,),
        mirror=False,
    ),
    DatasetInfo(
        name="svhn",
        title="Street View House Numbers",
        num_classes=10,
        in_chans=3,
        img_size=32,
        mean=(0.4377, 0.4438, 0.4728),
        std=(0.1980, 0.2010, 0.1970),
        mirror=False,
    ),
    DatasetInfo(
        name="flowers102",
        title="Oxford 102 Flowers",
        num_classes=102,
        in_chans=3,
        img_size=224,
        mean=None,
        std=None,
        mirror=True,
    ),
    *(
        DatasetInfo(
            name=name,
            title=title,
            num_classes=None,
            in_chans=3,
            img_size=32,
            mean=None,
            std=None,
            mirror=True,
            own=own,
        )
        for name, title, own in (
            ("folder", "Folder of pictures", "folder"),
            ("npz", "File of arrays", "file"),
        )
    ),
)

#: name -> what the data set is
DATASETS: dict[str, DatasetInfo] = {info.name: info for info in _TABLE}


def dataset_info(name: str) -> DatasetInfo:
    """The entry of the data set ``name``; ``UsageError`` with the nearest name if there is none."""
    if name not in DATASETS:
        for kind, there in (("folder", os.path.isdir(name)), ("npz", str(name).endswith(".npz"))):
            if there:
                what = {"folder": "the folder of pictures there", "npz": "that file"}[kind]
                raise UsageError(
                    f"unknown data set {name!r}: {what} is --dataset {kind} --data-dir {name}"
                )
        raise unknown("data set", name, DATASETS)
    return DATASETS[name]


def own_place(name: str) -> str | None:
    """What holds the pictures of ``name`` if they are the user's, folder or file, else None.

    The data set may be unknown here: another version's.
    """
    return DATASETS[name].own if name in DATASETS else None


def roles_of(there: Collection[str]) -> dict[str, str]:
    """What trains, tests and validates of the parts that are ``there``: val alone tests."""
    tested = [part for part in ("test", "val") if part in there]
    learnt = {"train": "train"} if "train" in there else {}
    return learnt | dict(zip(("test", "val"), tested, strict=False))


def check_source(
    info: DatasetInfo, data_dir: str | os.PathLike[str] | None, test_fraction: float
) -> None:
    """Refuse what the data set ``info`` has of its own, and the user's pictures without a place."""
    if info.own and data_dir is None:
        what = {"folder": "a folder with train/ and test/", "file": "an .npz file of arrays"}
        raise UsageError(f"data_dir must be the path of {what[info.own]}, got none")
    if info.own is None and test_fraction:
        raise UsageError(
            f"test_fraction must be left out: {info.title} has test pictures of its own, got "
            f"{test_fraction}"
        )
    if info.name == "digits" and data_dir is not None:
        kind = "npz" if os.fspath(data_dir).endswith(".npz") else "folder"
        raise UsageError(
            f"data_dir must not be given: digits are built in, got {os.fspath(data_dir)!r}; for "
            f"pictures of your own choose the data set {kind!r}"
        )
