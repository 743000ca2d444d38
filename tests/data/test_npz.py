"""A user's own file of arrays: what is read, and what is refused."""

from __future__ import annotations

import dataclasses
import errno
import re
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from compact_vit.data import load_dataset, stratified_split
from compact_vit.errors import UsageError
from compact_vit.evaluate import evaluate_run
from compact_vit.train import TrainConfig, load_model, resume, train

SIZE = 8


def noise(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def arrays(*shape: int) -> dict[str, np.ndarray]:
    """Six pictures that train and three that test, of three classes."""
    return {
        "train_images": noise(6, *shape),
        "train_labels": np.array([0, 1, 2] * 2),
        "test_images": noise(3, *shape, seed=1),
        "test_labels": np.array([2, 1, 0]),
    }


@pytest.fixture
def load(tmp_path):
    """The splits of the arrays that are given, written as numpy writes them."""

    def load(found: dict, save=np.savez, **options):
        save(tmp_path / "mine.npz", **found)
        options = {"img_size": SIZE} | options
        return load_dataset("npz", data_dir=tmp_path / "mine.npz", **options)

    return load


@pytest.fixture
def refused(load):
    """What is said of arrays that are refused, in one line."""

    def refused(found: dict, **options) -> str:
        with pytest.raises(UsageError) as caught:
            load(found, **options)
        message = str(caught.value)
        assert len(message.splitlines()) == 1
        return message

    return refused


# --- what is read


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_coloured_pictures_keep_every_byte(load, save) -> None:
    found = arrays(SIZE, SIZE, 3)
    splits = load(found, save)
    assert np.array_equal(splits.train.images.permute(0, 2, 3, 1), found["train_images"])
    assert np.array_equal(splits.test.images.permute(0, 2, 3, 1), found["test_images"])
    assert splits.train.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert splits.test.labels.tolist() == [2, 1, 0]
    assert splits.val is None
    assert splits.classes == ("0", "1", "2")


@pytest.mark.parametrize("shape", [(SIZE, SIZE), (SIZE, SIZE, 1)])
def test_gray_pictures_get_three_equal_channels(load, shape) -> None:
    found = arrays(*shape)
    splits = load(found)
    wanted = torch.from_numpy(found["train_images"]).reshape(6, 1, SIZE, SIZE)
    assert torch.equal(splits.train.images, wanted.expand(6, 3, SIZE, SIZE))
    assert len(splits.mean) == len(splits.std) == 3


def test_statistics_are_those_of_the_training_pictures(load) -> None:
    found = arrays(SIZE, SIZE, 3)
    splits = load(found)
    values = found["train_images"] / 255
    assert splits.mean == pytest.approx(values.mean((0, 1, 2)))
    assert splits.std == pytest.approx(values.std((0, 1, 2)))


def test_other_sizes_are_scaled_as_torchvision_does(load) -> None:
    from torchvision.transforms.v2 import functional

    found = arrays(12, 20, 3)
    got = load(found, img_size=6).train.images
    whole = torch.from_numpy(found["train_images"]).permute(0, 3, 1, 2).float()
    wanted = functional.center_crop(functional.resize(whole, [6, 10], antialias=True), [6, 6])
    assert (got - wanted).abs().max() <= 0.51  # rounded


def test_labels_in_a_column_as_in_the_files_of_medmnist(load) -> None:
    found = arrays(SIZE, SIZE)
    found["val_images"], found["val_labels"] = noise(2, SIZE, SIZE, seed=2), np.array([1, 0])
    column = {k: v[:, None].astype(np.uint8) if "labels" in k else v for k, v in found.items()}
    splits, plain = load(column), load(found)
    for part in ("train", "val", "test"):
        assert torch.equal(getattr(splits, part).labels, getattr(plain, part).labels)
        assert torch.equal(getattr(splits, part).images, getattr(plain, part).images)
    assert splits.val.labels.tolist() == [1, 0]


def test_val_alone_tests(load) -> None:
    found = {k.replace("test", "val"): v for k, v in arrays(SIZE, SIZE).items()}
    splits = load(found)
    assert splits.test.labels.tolist() == [2, 1, 0]
    assert splits.val is None


@pytest.mark.parametrize(
    ("train", "test", "classes", "numbers"),
    [
        ([7, 3, 3, 7, 12, 3], [12, 3, 7], ("3", "7", "12"), [1, 0, 0, 1, 2, 0]),
        (list("bacabc"), list("cab"), ("a", "b", "c"), [1, 0, 2, 0, 1, 2]),
        ([True, False] * 3, [True, True, False], ("False", "True"), [1, 0] * 3),
        ([-1, 1] * 3, [1, 1, -1], ("-1", "1"), [0, 1] * 3),
    ],
)
def test_classes_are_the_training_labels_sorted(load, train, test, classes, numbers) -> None:
    found = arrays(SIZE, SIZE) | {"train_labels": np.array(train), "test_labels": np.array(test)}
    splits = load(found)
    assert splits.classes == classes
    assert splits.train.labels.tolist() == numbers
    assert [splits.classes[label] for label in splits.test.labels] == list(map(str, test))


def test_label_names_name_the_classes(load, caplog) -> None:
    named = {"label_names": np.array(["cat", "ape", "bee"])}
    splits = load(arrays(SIZE, SIZE) | named)
    assert splits.classes == ("cat", "ape", "bee")
    assert splits.train.labels.tolist() == [0, 1, 2, 0, 1, 2]
    text = {"train_labels": np.array(["bee", "cat"] * 3), "test_labels": np.array(["cat"] * 3)}
    splits = load(arrays(SIZE, SIZE) | named | text)
    assert splits.train.labels.tolist() == [2, 0] * 3
    assert splits.test.labels.tolist() == [0] * 3
    train, test = (record.getMessage() for record in caplog.records)
    assert train.endswith("train_labels, has no pictures of 1 of the 3 classes: ape")
    assert test.endswith("test_labels, has no pictures of 2 of the 3 classes: ape, bee")


def test_a_share_of_every_class_tests(load) -> None:
    labels = np.repeat([0, 1, 2], [10, 20, 30])
    found = {"train_images": noise(60, SIZE, SIZE, 3), "train_labels": labels}
    splits, again = load(found, test_fraction=0.2), load(found, test_fraction=0.2)
    assert splits.test.labels.bincount().tolist() == [2, 4, 6]
    assert torch.equal(splits.test.images, again.test.images)
    kept, held = stratified_split(torch.from_numpy(labels), 0.2, 0)
    whole = torch.from_numpy(found["train_images"]).permute(0, 3, 1, 2)
    assert torch.equal(splits.train.images, whole[kept])
    assert torch.equal(splits.test.images, whole[held])
    assert splits.mean == pytest.approx((found["train_images"][kept] / 255).mean((0, 1, 2)))


def test_pictures_that_show_nothing_are_told_of(load, caplog) -> None:
    dark = {k: v // 20 if "images" in k else v for k, v in arrays(SIZE, SIZE).items()}
    load(dark)
    stained = {k: np.stack([v // 20, v * 0, v * 0], -1) if "images" in k else v
               for k, v in arrays(SIZE, SIZE).items()}  # fmt: skip
    load(stained)
    assert len(caplog.messages) == 2
    for told in caplog.messages:
        assert re.search("almost black, .* in the mean; scale the values to 0..255 first$", told)
    load(stained | {"train_images": arrays(SIZE, SIZE, 3)["train_images"]})
    assert len(caplog.messages) == 2


# --- what is refused


def test_files_that_are_none(tmp_path) -> None:
    def refused(name: str) -> str:
        with pytest.raises(UsageError) as caught:
            load_dataset("npz", data_dir=tmp_path / name)
        assert len(str(caught.value).splitlines()) == 1
        return str(caught.value)

    assert "nowhere.npz does not exist: wanted an .npz with" in refused("nowhere.npz")
    assert " is a folder: wanted an .npz with" in refused("")
    (tmp_path / "text.npz").write_text("labels")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "one.npy", noise(3, SIZE, SIZE))
    for name in ("text.npz", "empty.npz", "one.npy"):
        wanted = f"{name}: is no .npz, or not whole: numpy.savez writes what is wanted"
        assert refused(name).endswith(wanted)
    table = arrays(SIZE, SIZE) | {"test_labels": np.array(["a", "b", "c"], object)}
    np.savez(tmp_path / "pickled.npz", **table)
    assert refused("pickled.npz").endswith(
        "cannot be read: it holds Python objects: save labels as numbers, or as labels.astype(str)"
    )
    np.savez(tmp_path / "whole.npz", **arrays(SIZE, SIZE))
    content = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(content[: len(content) // 2])
    assert "half.npz: is no .npz, or not whole: " in refused("half.npz")
    middle = content.index(arrays(SIZE, SIZE)["train_images"].tobytes())
    changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    (tmp_path / "bit.npz").write_bytes(changed)
    assert "bit.npz: cannot be read: Bad CRC-32 for file 'train_images.npy'" in refused("bit.npz")
    (tmp_path / "before.npz").write_bytes(b"#!" + content)
    assert "before.npz: is no .npz, or not whole: " in refused("before.npz")


def test_entries_that_are_no_arrays(tmp_path) -> None:
    """Whatever zip, its compressions and numpy's headers raise is one line."""
    path = tmp_path / "a.npz"

    def write(changed: bytes | None = None, kind: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
        """The arrays, ``changed`` in place of the first, whose entry comes back."""
        np.savez(path, **arrays(SIZE, SIZE))
        with zipfile.ZipFile(path) as file:
            entries = {name: file.read(name) for name in file.namelist()}
        if changed is not None:
            entries["train_images.npy"] = changed
        with zipfile.ZipFile(path, "w", kind) as file:
            for name, data in entries.items():
                file.writestr(name, data)
            return file.getinfo("train_images.npy")

    def refused() -> str:
        with pytest.raises(UsageError) as caught:
            load_dataset("npz", data_dir=path)
        assert len(str(caught.value).splitlines()) == 1
        return str(caught.value)

    for content in (b"", b"text"):
        write(content)
        assert refused().endswith("train_images is no array: numpy.savez writes what is wanted")
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (3,".ljust(118)
    write(b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header.encode())
    assert "a.npz: cannot be read: " in refused()
    for kind in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED):
        entry = write(kind=kind)
        damaged = bytearray(path.read_bytes())
        start = entry.header_offset + 30 + len(entry.filename)
        for place in range(start + 20, start + entry.compress_size):
            damaged[place] ^= 255
        path.write_bytes(damaged)
        assert "a.npz: cannot be read: " in refused()


def test_what_the_system_refuses_is_said(tmp_path, monkeypatch) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK")

    def denied(self, mode: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(UsageError, match=r"cannot read .*a\.npz: Permission denied$"):
        load_dataset("npz", data_dir=tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("without", "said"),
    [
        (["train_images"], "wanted train_images in it, found train_labels, test_images, "),
        (["train_labels"], "wanted train_labels in it, found train_images, test_images, "),
        (["test_labels"], "wanted test_labels in it, found train_images, train_labels, test_i"),
        (
            ["test_images", "test_labels"],
            "wanted test_images or val_images in it, found train_images, train_labels; "
            "--test-fraction 0.2 takes a fifth of every class to test",
        ),
    ],
)
def test_arrays_that_are_not_there(refused, without, said) -> None:
    found = {name: array for name, array in arrays(SIZE, SIZE).items() if name not in without}
    assert f"mine.npz: {said}" in refused(found)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (
            noise(6, SIZE, SIZE) / 255,
            "must be uint8 [N,H,W], [N,H,W,1] or [N,H,W,3], got float64 [6,8,8]: scale them to "
            "0..255 first",
        ),
        (noise(6, SIZE, SIZE).astype(np.uint16), "got uint16 [6,8,8]: scale them to 0..255 first"),
        (
            noise(6, 3, SIZE, SIZE),
            "got uint8 [6,3,8,8]: channels come last, images.transpose(0, 2, 3, 1)",
        ),
        (noise(6, SIZE, SIZE, 4), "or [N,H,W,3], got uint8 [6,8,8,4]"),
        (noise(6, SIZE * SIZE), "or [N,H,W,3], got uint8 [6,64]"),
        (noise(6, 0, SIZE), "must be of one pixel at least, got [6, 0, 8]"),
        (noise(5, SIZE, SIZE), "as many labels, got 5 train_images and 6 train_labels"),
        (noise(0, SIZE, SIZE), "as many labels, got 0 train_images and 6 train_labels"),
    ],
)
def test_pictures_of_another_form(refused, images, said) -> None:
    assert said in refused(arrays(SIZE, SIZE) | {"train_images": images})


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0.0, 1.0, 2.0], "number or text a picture, got float64 [3]: labels.astype(int)"),
        ([b"0", b"1", b"2"], "number or text a picture, got |S1 [3]: labels.astype(str)"),
        (np.eye(3, dtype=int), "must be one whole number or text a picture, got int64 [3,3]"),
        ([0, 1, 9], "test_labels hold 9, which is no class of train_labels: they are 0, 1, 2"),
        (["a", "b", "c"], "test_labels hold 'a', which is no class of train_labels: they are 0, "),
    ],
)
def test_labels_of_another_form(refused, labels, said) -> None:
    assert said in refused(arrays(SIZE, SIZE) | {"test_labels": np.array(labels)})


def test_classes_of_another_form(refused) -> None:
    found = arrays(SIZE, SIZE)
    one = {"train_labels": np.zeros(6, int), "test_labels": np.zeros(3, int)}
    assert "wanted two classes or more, got only 0" in refused(found | one)
    names = {"label_names": np.array(["a", "b"])}
    assert "hold 2, which is no class of label_names: they are 0, 1" in refused(found | names)
    names = {"label_names": np.array(["a", "b", "a"])}
    assert "wanted each class by a name of its own, got a, b, a" in refused(found | names)
    names = {"label_names": np.arange(3)}
    assert "label_names must be text [K], got int64 [3]" in refused(found | names)
    text = {part: np.array(["a\n", "a\\n", "b"] * 2) for part in ("train_labels", "test_labels")}
    text["test_labels"] = text["test_labels"][:3]
    assert "wanted each class by a name of its own, got a\\n, a\\n, b" in refused(found | text)


def test_what_cannot_be_divided(refused) -> None:
    found = arrays(SIZE, SIZE)
    said = refused(found, test_fraction=0.2)
    assert said.startswith("test_fraction must be left out: ")
    assert said.endswith("mine.npz has test_images")
    assert "wanted a number between 0 and 1, got -1" in refused(
        {name: found[name] for name in ("train_images", "train_labels")}, test_fraction=-1
    )
    alone = {"train_images": noise(3, SIZE, SIZE), "train_labels": np.array([5, 6, 5])}
    assert refused(alone, test_fraction=0.5) == (
        "test_fraction: wanted at least 2 pictures of every class to divide, got 1 of class '6': "
        "add pictures, remove the class, or give test_images and test_labels"
    )


# --- a run


@pytest.fixture
def small(tmp_path):
    np.savez(
        tmp_path / "digits.npz",
        train_images=noise(24, SIZE, SIZE),
        train_labels=np.array(["one", "two", "three"] * 8),
    )
    return TrainConfig(
        dataset="npz", data_dir=tmp_path / "digits.npz", test_fraction=0.25, model="cvt_2_4",
        img_size=SIZE, batch_size=8, epochs=1, warmup_ratio=0.0, precision="fp32",
    )  # fmt: skip


def test_a_run_on_arrays(small, tmp_path) -> None:
    result = train(small, output=tmp_path / "run", quiet=True)
    assert load_model(tmp_path / "run").classes == ("one", "three", "two")
    _, evaluation = evaluate_run(tmp_path / "run")
    assert evaluation.loss == pytest.approx(result.summary["final"]["loss"], abs=1e-6)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "cvt_2_4 on digits" in page


def test_splits_that_a_trained_model_is_tested_on(small, tmp_path) -> None:
    train(small, output=tmp_path / "drawn", quiet=True)
    np.savez(tmp_path / "whole.npz", **arrays(SIZE, SIZE))
    with np.load(small.data_dir) as file:
        np.savez(tmp_path / "alone.npz", **file)
    given = dataclasses.replace(small, data_dir=str(tmp_path / "whole.npz"), test_fraction=0.0)
    train(dataclasses.replace(given, batch_size=2), output=tmp_path / "given", quiet=True)
    for run, file, said in (
        ("drawn", "whole", "tested on 0.25 of a file without splits, but it has test_images"),
        ("given", "alone", "wanted train_images, and test_images or val_images, in it"),
    ):
        with pytest.raises(UsageError, match=f"{file}.npz: .*{said}$"):
            evaluate_run(tmp_path / run, data_dir=str(tmp_path / f"{file}.npz"))


def test_the_checksum_is_of_all_arrays_in_any_order(load) -> None:
    found = arrays(SIZE, SIZE) | {"extra": np.arange(3)}
    mark = load(found).files
    assert load(dict(reversed(found.items())), np.savez_compressed).files == mark
    assert load(found | {"extra": np.arange(4)}).files == mark
    for name in list(found)[:4]:
        assert load(found | {name: found[name][::-1]}).files != mark


def test_entries_without_an_ending_count_too(load, tmp_path) -> None:
    found = arrays(SIZE, SIZE)
    marks = set()
    for images in (found["train_images"], found["train_images"][::-1]):
        load(found | {"train_images": images})
        with zipfile.ZipFile(tmp_path / "mine.npz") as file:
            content = {name.removesuffix(".npy"): file.read(name) for name in file.namelist()}
        with zipfile.ZipFile(tmp_path / "bare.npz", "w") as file:
            for name, data in content.items():
                file.writestr(name, data)
        marks.add(load_dataset("npz", data_dir=tmp_path / "bare.npz", img_size=SIZE).files)
    assert len(marks) == 2


def test_other_pictures_are_not_taken_for_what_was_held_out(small, tmp_path) -> None:
    """The file says by its own checksums whether it is still the same."""
    train(small, output=tmp_path / "run", quiet=True)
    path = tmp_path / "digits.npz"
    shutil.copy(path, tmp_path / "kept.npz")
    with np.load(path) as file:
        same = dict(file)
    np.savez_compressed(path, **same)
    evaluate_run(tmp_path / "run")
    np.savez(path, **same | {"train_images": same["train_images"][::-1]})
    with pytest.raises(UsageError, match="the data set has changed since the model was trained"):
        evaluate_run(tmp_path / "run")
    evaluate_run(tmp_path / "run", data_dir=str(tmp_path / "kept.npz"))
    path.unlink()
    with pytest.raises(UsageError, match="if it has moved, --data-dir says where to"):
        evaluate_run(tmp_path / "run")
    assert resume(tmp_path / "run", data_dir=tmp_path / "kept.npz", quiet=True).summary
