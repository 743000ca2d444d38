"""Named data sets: the real loaders on tiny archives, and one line for whatever is wrong."""

from __future__ import annotations

import dataclasses
import gzip
import pickle
import re
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import torch

from compact_vit.data import load_dataset, stratified_split
from compact_vit.data.catalog import DATASETS, dataset_info, roles_of
from compact_vit.data.pictures import Pictures, channel_sums, resize, statistics
from compact_vit.errors import UsageError


def refusal(name: str, **options: object) -> str:
    """The one line that ``load_dataset`` fails with."""
    with pytest.raises(UsageError) as caught:
        load_dataset(name, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def member(archive, name: str) -> dict:
    """A pickled member of a published archive, read without torchvision."""
    with tarfile.open(archive) as tar:
        return pickle.load(tar.extractfile(name), encoding="latin1")


# --- the catalogue


@pytest.mark.parametrize(
    ("there", "roles"),
    [
        ("train test val", {"train": "train", "test": "test", "val": "val"}),
        ("train test", {"train": "train", "test": "test"}),
        ("train val", {"train": "train", "test": "val"}),
        ("val", {"test": "val"}),
        ("test val", {"test": "test", "val": "val"}),
        ("train", {"train": "train"}),
        ("cat dog", {}),
    ],
)
def test_val_alone_tests(there, roles):
    assert roles_of(there.split()) == roles


def test_catalogue_holds_the_named_sets():
    published = {"cifar10", "cifar100", "fashion_mnist", "mnist", "svhn", "flowers102"}
    assert set(DATASETS) == published | {"digits", "folder", "npz"}
    assert {name for name in DATASETS if not DATASETS[name].mirror} == {"digits", "mnist", "svhn"}
    for name, info in DATASETS.items():
        assert info.name == name
        assert info.mean is None or len(info.mean) == info.in_chans
        assert (info.mean is None) == (info.std is None)


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("mnist", (0.1307,), (0.3081,)),
        ("fashion_mnist", (0.2860,), (0.3530,)),
        ("svhn", (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    ],
)
def test_catalogue_holds_the_published_statistics(name, mean, std):
    assert (dataset_info(name).mean, dataset_info(name).std) == (mean, std)


def test_catalogue_imports_no_torch():
    code = "import sys, compact_vit.data.catalog; sys.exit('torch' in sys.modules)"  # 1 if it does
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_name_gets_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'cifar100'"):
        dataset_info("cifar-100")
    assert "unknown data set" in refusal("imagenet")


# --- digits


def test_digits_are_the_bundled_ones():
    from sklearn.datasets import load_digits

    splits = load_dataset("digits", img_size=8)
    assert splits.train.images.shape == (1437, 1, 8, 8)
    assert splits.test.images.shape == (360, 1, 8, 8)
    assert splits.train.images.dtype == torch.uint8
    assert splits.classes == tuple("0123456789")
    together = torch.cat([splits.train.images, splits.test.images]).flatten(1)
    labels = torch.cat([splits.train.labels, splits.test.labels])
    bundled = load_digits()
    scaled = np.floor(bundled.data * 255 / 16 + 0.5).astype(int)
    assert {(*row, label) for row, label in zip(scaled.tolist(), bundled.target, strict=True)} == {
        (*row, label) for row, label in zip(together.tolist(), labels.tolist(), strict=True)
    }


def test_digits_split_is_stratified_and_fixed():
    one, two = load_dataset("digits"), load_dataset("digits")
    assert one.train.images.shape[1:] == (1, 16, 16)
    for label, count in enumerate(one.test.labels.bincount()):
        assert abs(int(count) - 0.2 * int((one.train.labels == label).sum() + count)) < 1
    assert torch.equal(one.test.images, two.test.images)
    assert torch.equal(one.train.labels, two.train.labels)


def test_digits_are_split_as_scikit_learn_splits_them():
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    labels = load_digits().target
    _, test = train_test_split(np.arange(1797), test_size=0.2, random_state=0, stratify=labels)
    assert load_dataset("digits").test.labels.tolist() == labels[np.sort(test)].tolist()


def test_digits_statistics_are_those_of_the_training_pictures():
    splits = load_dataset("digits")
    values = splits.train.images.double() / 255
    assert splits.mean == pytest.approx([values.mean().item()], abs=1e-9)
    assert splits.std == pytest.approx([values.std(correction=0).item()], abs=1e-9)


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_other_labels_of_any_part_are_noticed(part):
    splits = load_dataset("digits")
    splits = dataclasses.replace(splits, val=splits.test)
    assert splits.divided_as(splits.marks())
    pictures = getattr(splits, part)
    other = Pictures(pictures.images, pictures.labels.roll(1))
    assert not dataclasses.replace(splits, **{part: other}).divided_as(splits.marks())


# --- pictures


@pytest.mark.parametrize("size", [(40, 24), (20, 48), (40, 64), (10, 8), (5, 4)])
def test_resize_agrees_with_torchvision(size):
    """Where what covers the size is of whole pixels, and so is what is cropped of it."""
    from torchvision.transforms.v2 import functional

    images = torch.randint(0, 256, (3, 3, 20, 32), generator=torch.Generator().manual_seed(0))
    scale = max(size[0] / 20, size[1] / 32)
    whole = [int(20 * scale), int(32 * scale)]
    wanted = functional.center_crop(
        functional.resize(images.float(), whole, antialias=True), list(size)
    )
    got = resize(images.byte(), size)
    assert got.shape == (3, 3, *size)
    assert (got.float() - wanted).abs().max() <= 0.5 + 1e-3


def test_statistics_are_exact_over_many_chunks(monkeypatch):
    monkeypatch.setattr("compact_vit.data.pictures._CHUNK", 100)
    images = torch.randint(0, 256, (37, 3, 5, 4), generator=torch.Generator().manual_seed(1))
    mean, std = statistics(channel_sums(images.byte()), 37 * 20)
    values = images.double() / 255
    assert mean == pytest.approx(values.mean((0, 2, 3)).tolist(), abs=1e-12)
    assert std == pytest.approx(values.std((0, 2, 3), correction=0).tolist(), abs=1e-9)


def test_a_constant_channel_has_a_harmless_deviation():
    mean, std = statistics(channel_sums(torch.full((4, 1, 2, 2), 255).byte()), 16)
    assert (mean, std) == ((1.0,), (1.0,))


@pytest.mark.parametrize("size", [0, -3, (32, 0), (32,), (1, 2, 3), 32.0])
def test_wrong_sizes(size):
    assert "img_size" in refusal("digits", img_size=size)


# --- archives, by the real loaders


def test_cifar10_archive(tiny_cifar10, capfd):
    splits = load_dataset("cifar10", data_dir=tiny_cifar10)
    archive = tiny_cifar10 / "cifar-10-python.tar.gz"
    assert splits.train.images.shape == (200, 3, 32, 32)
    assert splits.test.images.shape == (50, 3, 32, 32)
    assert splits.val is None
    for batch in range(5):
        raw = member(archive, f"cifar-10-batches-py/data_batch_{batch + 1}")
        part = slice(40 * batch, 40 * batch + 40)
        # a row holds the red plane, then the green, then the blue, each row by row
        assert np.array_equal(splits.train.images[part, 1, 2, 3], raw["data"][:, 1024 + 2 * 32 + 3])
        assert np.array_equal(splits.train.images[part].flatten(1), raw["data"])
        assert splits.train.labels[part].tolist() == raw["labels"]
    assert splits.classes[0] == "airplane"
    assert splits.mean == (0.4914, 0.4822, 0.4465)
    assert splits.std == (0.2470, 0.2435, 0.2616)
    assert capfd.readouterr().out == ""


def test_cifar100_archive_fine_labels(tiny_cifar100):
    splits = load_dataset("cifar100", data_dir=tiny_cifar100, img_size=(16, 24))
    raw = member(tiny_cifar100 / "cifar-100-python.tar.gz", "cifar-100-python/test")
    assert splits.test.images.shape == (200, 3, 16, 24)
    assert splits.test.labels.tolist() == raw["fine_labels"]
    assert splits.classes[99] == "fine_99"
    assert splits.mean == (0.5071, 0.4867, 0.4408)


def test_unpacked_archive_is_enough(tiny_cifar100):
    first = load_dataset("cifar100", data_dir=tiny_cifar100, download=False)
    (tiny_cifar100 / "cifar-100-python.tar.gz").unlink()
    second = load_dataset("cifar100", data_dir=tiny_cifar100, download=False)
    assert torch.equal(first.train.images, second.train.images)


def test_data_dir_from_the_environment(tiny_cifar100, monkeypatch):
    monkeypatch.setenv("COMPACT_VIT_DATA", str(tiny_cifar100))
    assert len(load_dataset("cifar100").train) == 400


def test_the_folder_that_was_unpacked_will_do(tiny_cifar100):
    whole = load_dataset("cifar100", data_dir=tiny_cifar100)
    inner = load_dataset("cifar100", data_dir=tiny_cifar100 / "cifar-100-python", download=False)
    assert torch.equal(inner.train.images, whole.train.images)
    other = tiny_cifar100 / "other" / "cifar-100-python"  # of that name, and not unpacked
    other.mkdir(parents=True)
    (tiny_cifar100 / "cifar-100-python.tar.gz").rename(other / "cifar-100-python.tar.gz")
    inner = load_dataset("cifar100", data_dir=other, download=False)
    assert torch.equal(inner.train.images, whole.train.images)


def test_mnist_archives(tiny_mnist):
    splits = load_dataset("mnist", data_dir=tiny_mnist)
    raw = gzip.decompress((tiny_mnist / "MNIST/raw/t10k-images-idx3-ubyte.gz").read_bytes())
    assert splits.train.images.shape == (60, 1, 28, 28)
    assert splits.test.images.numpy().tobytes() == raw[16:]
    assert splits.test.labels.tolist() == [i % 10 for i in range(20)]
    assert splits.classes == tuple("0123456789")


def test_svhn_files(tiny_svhn):
    from scipy.io import loadmat

    splits = load_dataset("svhn", data_dir=tiny_svhn)
    raw = loadmat(tiny_svhn / "test_32x32.mat")
    assert splits.train.images.shape == (40, 3, 32, 32)
    assert np.array_equal(splits.test.images[7, 2], raw["X"][:, :, 2, 7])
    assert splits.test.labels[8:11].tolist() == [9, 0, 1]  # published as 9, 10, 1
    assert splits.test.images.is_contiguous()


# --- the stratified split


def test_stratified_split_is_a_partition_alike_in_every_class():
    labels = torch.arange(7).repeat_interleave(torch.tensor([10, 20, 30, 40, 50, 60, 70]))
    kept, held = stratified_split(labels, 0.1, seed=3)
    assert torch.cat([kept, held]).sort().values.tolist() == list(range(280))
    assert labels[held].bincount().tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert torch.equal(held, held.sort().values)
    assert torch.equal(held, stratified_split(labels, 0.1, seed=3)[1])
    assert not torch.equal(held, stratified_split(labels, 0.1, seed=4)[1])


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 2.0, float("nan")])
def test_fraction_out_of_range(fraction):
    with pytest.raises(UsageError, match="between 0 and 1"):
        stratified_split(torch.arange(10) % 2, fraction, 0)


def test_fraction_that_cannot_be_stratified():
    with pytest.raises(UsageError, match=r"got 1 of class 'rare': add pictures or rem"):
        stratified_split(torch.tensor([0, 0, 1, 1, 2]), 0.5, 0, ("a", "b", "rare"))
    with pytest.raises(
        UsageError, match="2 pictures of every class to divide, got 1 of class 2: add"
    ):
        stratified_split(torch.tensor([0, 0, 1, 1, 2]), 0.4, 0)
    with pytest.raises(UsageError, match="every one of 10 classes in both parts of 20 pictures"):
        stratified_split(torch.arange(20) % 10, 0.1, 0)


@pytest.mark.parametrize("total", [7, 13, 20, 29, 99, 101, 149])
def test_the_advised_fractions_can_be_stratified(total):
    for classes in range(2, total // 2 + 1):
        labels = torch.arange(total) % classes
        for refused in (1e-4, 1 - 1e-4):
            with pytest.raises(UsageError) as caught:
                stratified_split(labels, refused, 0)
            advised = re.search(r": give between (\S+) and (\S+)$", str(caught.value)).groups()
            for fraction in map(float, advised):
                for part in stratified_split(labels, fraction, 0):
                    assert len(part) >= classes


@pytest.mark.parametrize(("fraction", "part", "count"), [(0.1, "held out", 10), (0.9, "kept", 10)])
def test_a_class_that_is_too_rare_for_a_part_is_said(fraction, part, count, caplog):
    labels = torch.tensor([0] * 98 + [1] * 2)
    stratified_split(labels, 0.5, 0, ("cat", "dog"))
    assert caplog.records == []
    stratified_split(labels, fraction, 0, ("cat", "dog"))
    assert [record.getMessage() for record in caplog.records] == [
        f"warning: of the {count} pictures {part} none is of 1 of the 2 classes: dog"
    ]
