"""Names, links and classes of a folder: what is followed, what is refused, what is said."""

from __future__ import annotations

import errno
import json
import os
import shutil
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from compact_vit.data import folder as module
from compact_vit.data.datasets import load_dataset
from compact_vit.errors import UsageError


def refusal(folder: Path, on_bad_picture: str = "refuse") -> str:
    """The one line that loading ``folder`` fails with, which any terminal takes."""
    with pytest.raises(UsageError) as caught:
        load_dataset("folder", data_dir=folder, on_bad_picture=on_bad_picture)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    message.encode()
    return message


def paint(path: Path, level: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (level, level, level)).save(path)


def told(caplog) -> list[str]:
    """What was said, but for that the pictures are of one colour."""
    return [text for text in caplog.messages if "the training pictures are " not in text]


def two_classes(root: Path) -> Path:
    for part in ("train", "test"):
        for level, name in enumerate("ab"):
            paint(root / part / name / "x.png", level)
    return root


# --- names

NAMES = {
    "two words": "two words",
    "日本語 é": "日本語 é",
    "-rf": "-rf",
    'quote"s & \\ $(x)': 'quote"s & \\ $(x)',
    "line\nbreak": r"line\nbreak",
    os.fsdecode(b"latin \xe9"): r"latin \udce9",
}


@pytest.mark.parametrize("name", NAMES)
def test_any_name_will_do(tmp_path, name, cache):
    """Of the folder, a class and a file, and in what is said of them."""
    root = tmp_path / name
    for part in ("train", "test"):
        paint(root / part / name / f"{name}.png", 7)
        paint(root / part / "zzz" / "x.png", 9)
    splits = load_dataset("folder", data_dir=root)
    assert splits.classes == tuple(sorted([NAMES[name], "zzz"]))
    json.dumps(splits.classes, ensure_ascii=False).encode()
    levels = [{"zzz": 9}.get(name, 7) for name in splits.classes]
    assert splits.train.images.amax((1, 2, 3)).tolist() == levels
    assert splits.train.labels.tolist() == [0, 1]
    (root / "train" / name / f"{name}.png").write_bytes(b"")
    shown = f"{tmp_path}/{NAMES[name]}/train/{NAMES[name]}/{NAMES[name]}.png"
    assert f"cannot read the picture {shown}: it is empty" in refusal(root)
    (root / "test" / "zzz").rename(root / "test" / f"{name}!")
    assert f"{NAMES[name]}!" in refusal(root)
    shutil.rmtree(root / "test")
    assert f"data folder {tmp_path}/{NAMES[name]}: wanted test/" in refusal(root)


# --- links


def test_links_out_of_the_folder_are_followed(tmp_path):
    root = two_classes(tmp_path / "root")
    paint(tmp_path / "outside" / "one.png", 50)
    paint(tmp_path / "outside" / "deep" / "two.png", 60)
    (root / "train" / "a" / "file.png").symlink_to(tmp_path / "outside" / "one.png")
    (root / "train" / "a" / "folder").symlink_to(tmp_path / "outside" / "deep")
    (root / "train" / "c").symlink_to(tmp_path / "outside")
    (tmp_path / "link").symlink_to(root)
    for place in (root, tmp_path / "link"):
        splits = load_dataset("folder", data_dir=place)
        assert splits.classes == ("a", "b", "c")
        assert splits.train.images.amax((1, 2, 3)).tolist() == [50, 60, 0, 1, 60, 50]
        assert splits.train.labels.tolist() == [0, 0, 0, 1, 2, 2]


def test_a_linked_picture_that_changes_is_noticed(tmp_path):
    root = two_classes(tmp_path / "root")
    paint(tmp_path / "outside.png", 50)
    (root / "train" / "a" / "y.png").symlink_to(tmp_path / "outside.png")
    assert load_dataset("folder", data_dir=root).train.images.max() == 50
    paint(tmp_path / "outside.png", 70)
    assert load_dataset("folder", data_dir=root).train.images.max() == 70


@pytest.mark.parametrize("target", [".", "..", "../..", "../../..", "/"])
def test_circles_end(tmp_path, target):
    root = two_classes(tmp_path / "root")
    link = root / "train" / "b" / "deep" / "link"
    link.parent.mkdir()
    link.symlink_to(target)
    assert f"cannot read the picture {link}: a link to a folder around it" in refusal(root)
    splits = load_dataset("folder", data_dir=root, on_bad_picture="skip")
    assert (len(splits.train), splits.skipped) == (2, 1)


def test_a_class_that_is_its_own_folder(tmp_path):
    root = two_classes(tmp_path / "root")
    (root / "train" / "c").symlink_to(root / "train")
    assert (
        f"cannot read the picture {root / 'train' / 'c'}: a link to a folder around it"
        in refusal(root)
    )


def test_links_to_nowhere(tmp_path):
    root = two_classes(tmp_path / "root")
    (root / "train" / "a" / "y.png").symlink_to(tmp_path / "gone.png")
    (root / "train" / "a" / "z.png").symlink_to("z.png")
    said = refusal(root)
    assert f"{root}/train/a/y.png (a link to nowhere), " in said
    assert f"{root}/train/a/z.png ({os.strerror(errno.ELOOP)})" in said
    assert load_dataset("folder", data_dir=root, on_bad_picture="skip").skipped == 2


@pytest.mark.parametrize("target", ["/nowhere/dogs", "dogs"])
def test_a_class_on_a_disk_that_is_not_there(tmp_path, target):
    """Training without it would be a run on other classes."""
    root = two_classes(tmp_path / "root")
    (root / "train" / "dogs").symlink_to(target)
    for on_bad_picture in ("refuse", "skip"):
        said = refusal(root, on_bad_picture)
        assert said == f"{root}/train/dogs is a link to nowhere: repair or remove it"


@pytest.mark.parametrize("on_bad_picture", ["refuse", "skip"])
def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch, on_bad_picture):
    root = two_classes(tmp_path / "root")
    locked = str(root / "train" / "b")
    listed = os.listdir

    def refusing(path: str) -> list[str]:
        if path == locked:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(module.os, "listdir", refusing)  # root may read everything
    assert refusal(root, on_bad_picture) == f"cannot read {locked}: Permission denied"


# --- classes


def test_classes_that_are_not_tested_are_said(tmp_path, caplog):
    root = two_classes(tmp_path / "root")
    for i in range(10):
        paint(root / "train" / f"c{i}" / "x.png")
    paint(root / "val" / "a" / "x.png")
    splits = load_dataset("folder", data_dir=root)
    assert len(splits.classes) == 12
    assert told(caplog) == [
        f"warning: {root}/test has no pictures of 10 of the 12 classes:"
        " c0, c1, c2, c3, c4, c5, c6, c7 and 2 more",
        f"warning: {root}/val has no pictures of 11 of the 12 classes:"
        " b, c0, c1, c2, c3, c4, c5, c6 and 3 more",
    ]


def test_files_beside_the_class_folders_are_said(tmp_path, caplog):
    root = two_classes(tmp_path / "root")
    paint(root / "train" / "loose.png")
    (root / "train" / "a" / "x.txt").symlink_to(root / "train" / "a" / "x.png")
    for name in (".hidden", "Thumbs.db", "desktop.ini"):
        (root / "train" / name).write_text("")
    (root / "test" / "labels.csv").write_text("")
    (root / "README").write_text("")
    splits = load_dataset("folder", data_dir=root)
    assert len(splits.train) == 3
    assert told(caplog) == [
        "warning: left out, for they lie beside the class folders, 2 in all: "
        "train/loose.png, test/labels.csv"
    ]
    caplog.clear()
    shutil.rmtree(root / "test")
    paint(root / "train" / "b" / "y.png")
    load_dataset("folder", data_dir=root, test_fraction=0.5)
    assert [text.rpartition(": ")[2] for text in told(caplog)] == ["train/loose.png"]


def test_a_class_too_rare_to_be_tested_is_said_once(tmp_path, caplog):
    for name, count in (("many", 18), ("few", 2)):
        for i in range(count):
            paint(tmp_path / name / f"{i}.png")
    load_dataset("folder", data_dir=tmp_path, test_fraction=0.1)
    assert told(caplog) == [
        "warning: of the 2 pictures held out none is of 1 of the 2 classes: few"
    ]


def test_a_class_that_is_only_tested(tmp_path):
    root = two_classes(tmp_path / "root")
    paint(root / "test" / "A" / "x.png")
    assert "'A' is not a class of train/: did you mean 'a'?" in refusal(root)


def test_one_name_in_two_unicode_forms(tmp_path):
    """As an archive from a Mac brings them."""
    root = two_classes(tmp_path / "root")
    for part, form in (("train", "NFC"), ("test", "NFD")):
        paint(root / part / unicodedata.normalize(form, "café") / "x.png")
    assert "its accents are in another Unicode form there" in refusal(root)


def test_one_class_is_none(tmp_path):
    root = two_classes(tmp_path / "root")
    shutil.rmtree(root / "train" / "b")
    said = refusal(root)
    assert said == f"{root}/train: wanted a folder for each of two or more classes, found a"
