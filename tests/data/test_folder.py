"""A user's own folder: what is read, what is refused, and the pack that is kept of it."""

from __future__ import annotations

import os
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from compact_vit.data.datasets import load_dataset
from compact_vit.errors import UsageError


def refusal(folder) -> str:
    """The one line that loading ``folder`` fails with."""
    with pytest.raises(UsageError) as caught:
        load_dataset("folder", data_dir=folder)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def paint(path, level: int = 0, size: tuple[int, int] = (32, 32)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, level, level)).save(path)


# --- what is read


def test_folder_is_read_whole(picture_folder):
    splits = load_dataset("folder", data_dir=picture_folder)
    assert splits.classes == ("blue", "green", "red")
    assert splits.train.images.shape == (36, 3, 32, 32)
    assert splits.train.labels.tolist() == [0] * 12 + [1] * 12 + [2] * 12
    assert splits.test.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert splits.val is None
    # the channel that a class is painted in is the brightest of every picture
    assert torch.equal(splits.test.images.float().mean((2, 3)).argmax(1), 2 - splits.test.labels)


def test_pictures_of_the_right_size_keep_every_byte(picture_folder):
    splits = load_dataset("folder", data_dir=picture_folder)
    with Image.open(picture_folder / "train" / "blue" / "00.png") as image:
        wanted = np.asarray(image)  # [H,W,C]
    assert np.array_equal(splits.train.images[0].permute(1, 2, 0), wanted)


def test_statistics_are_those_of_the_training_pictures(picture_folder):
    splits = load_dataset("folder", data_dir=picture_folder)
    values = splits.train.images.double() / 255
    assert splits.mean == pytest.approx(values.mean((0, 2, 3)).tolist(), abs=1e-9)
    assert splits.std == pytest.approx(values.std((0, 2, 3), correction=0).tolist(), abs=1e-9)


@pytest.mark.parametrize("source", [(64, 48), (48, 100), (20, 30), (33, 32)])
@pytest.mark.parametrize("size", [32, (16, 24)])
def test_resizing_covers_and_crops_the_centre(tmp_path, source, size):
    from torchvision.transforms.v2 import functional

    height, width = (size, size) if isinstance(size, int) else size
    rows, columns = np.mgrid[: source[0], : source[1]]
    pixels = np.stack([rows * 2, columns * 2, rows + columns], -1).astype(np.uint8)
    for part in ("train", "test"):
        for name in "ab":
            (tmp_path / part / name).mkdir(parents=True)
            Image.fromarray(pixels).save(tmp_path / part / name / "x.png")
    got = load_dataset("folder", data_dir=tmp_path, img_size=size).train.images[0]
    scale = max(height / source[0], width / source[1])
    covering = [round(source[0] * scale), round(source[1] * scale)]
    whole = torch.from_numpy(pixels).permute(2, 0, 1).float()
    wanted = functional.resize(whole, covering, antialias=True)
    wanted = functional.center_crop(wanted, [height, width])
    # a crop begins at half a pixel here, at a whole one there: up to one pixel's slope
    assert (got - wanted)[:, 1:-1, 1:-1].abs().max() <= 2 / scale + 1


@pytest.mark.parametrize("part", ["test", "val"])
def test_either_name_serves_as_test_part(picture_folder, part):
    wanted = load_dataset("folder", data_dir=picture_folder).test
    (picture_folder / "test").rename(picture_folder / part)
    splits = load_dataset("folder", data_dir=picture_folder)
    assert torch.equal(splits.test.images, wanted.images)
    assert splits.val is None


def test_val_beside_test_validates(picture_folder):
    paint(picture_folder / "val" / "green" / "one.png", 7)
    splits = load_dataset("folder", data_dir=picture_folder)
    assert len(splits.test) == 12
    assert splits.val is not None
    assert splits.val.labels.tolist() == [1]
    assert splits.val.images.unique().tolist() == [7]


def test_nested_and_hidden_files_and_those_of_desktops(tmp_path):
    for part in ("train", "test"):
        for name in "ab":
            paint(tmp_path / part / name / "deep" / "er" / "X.PNG", 10)
            paint(tmp_path / part / name / "y.Jpeg", 20)
            (tmp_path / part / name / "y.Jpeg").rename(tmp_path / part / name / "y")
            paint(tmp_path / part / name / ".hidden.png", 250)
            paint(tmp_path / part / name / ".cache" / "z.png", 250)
            (tmp_path / part / name / "Thumbs.db").write_text("no picture")
            (tmp_path / part / name / "deep" / "desktop.ini").write_text("no picture")
        paint(tmp_path / part / ".ipynb_checkpoints" / "z.png", 250)
        (tmp_path / part / "labels.csv").write_text("no picture")
    splits = load_dataset("folder", data_dir=tmp_path)
    assert splits.classes == ("a", "b")
    assert splits.train.images.amax((1, 2, 3)).tolist() == [10, 20] * 2


def test_every_format_and_mode(tmp_path):
    """One grey of 100 in many guises, and always read as that."""
    guises = {
        "grey.png": Image.new("L", (32, 32), 100),
        "colour.bmp": Image.new("RGB", (32, 32), (100, 100, 100)),
        "colour.ppm": Image.new("RGB", (32, 32), (100, 100, 100)),
        "colour.webp": Image.new("RGB", (32, 32), (100, 100, 100)),
        "alpha.png": Image.new("RGBA", (32, 32), (0, 0, 0, 155)),
        "palette.gif": Image.new("RGB", (32, 32), (100, 100, 100)).quantize(4),
        "print.tif": Image.new("CMYK", (32, 32), (155, 155, 155, 0)),
        "deep.tiff": Image.fromarray(np.full((32, 32), 100 * 257, np.uint16)),
        "deep.png": Image.fromarray(np.full((32, 32), 100 * 257, np.uint16)),
        "camera.jpg": Image.new("YCbCr", (32, 32), (100, 128, 128)),
    }
    for part in ("train", "test"):
        for name in "ab":
            (tmp_path / part / name).mkdir(parents=True)
            for file, image in guises.items():
                image.save(tmp_path / part / name / file)
    images = load_dataset("folder", data_dir=tmp_path).train.images
    assert len(images) == 2 * len(guises)
    assert (images.int() - 100).abs().max() <= 1


def test_camera_orientation_is_applied(tmp_path):
    upright = np.zeros((32, 32, 3), np.uint8)
    upright[:16] = 255  # sky above
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise when shown
    for part in ("train", "test"):
        for name in "ab":
            (tmp_path / part / name).mkdir(parents=True)
            lying = Image.fromarray(np.ascontiguousarray(np.rot90(upright)))
            lying.save(tmp_path / part / name / "x.png", exif=exif)
    images = load_dataset("folder", data_dir=tmp_path).train.images
    assert np.array_equal(images[0].permute(1, 2, 0), upright)


def test_ten_thousand_classes(tmp_path, caplog):
    paint(tmp_path / "pictures" / "one.ppm", size=(4, 4))
    for part, count in (("train", 10_000), ("test", 100)):
        (tmp_path / part).mkdir()
        for i in range(count):  # links are sooner made, and sooner gone
            os.symlink(tmp_path / "pictures", tmp_path / part / f"{i:05d}")
    splits = load_dataset("folder", data_dir=tmp_path, img_size=4)
    assert splits.classes == tuple(f"{i:05d}" for i in range(10_000))
    assert splits.train.labels.tolist() == list(range(10_000))
    assert splits.test.labels.tolist() == list(range(100))
    record, _ = caplog.records  # and that all are of one colour
    assert "no pictures of 9,900 of the 10,000 classes: 00100, 00101, " in record.getMessage()


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        ((0, 0), "are all of one colour, 0.0 of 255 in the mean; of 16-bit files the upper 8"),
        ((200, 200), "are all of one colour, 200.0 of 255 in the mean$"),
        ((3, 15), "are almost black, 9.0 of 255 in the mean; of 16-bit files the upper 8 bits"),
        ((0, 120), None),
    ],
)
def test_pictures_that_show_nothing_are_told_of(tmp_path, caplog, levels, said) -> None:
    for part in ("train", "test"):
        for name, level in zip("ab", levels, strict=True):
            paint(tmp_path / part / name / "0.png", level)
    load_dataset("folder", data_dir=tmp_path)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == (said is not None)
    if said is not None:
        assert re.search(f"^warning: .*: the training pictures {said}", told[0])


# --- what is refused


def test_no_folder_given_or_there(tmp_path):
    assert "data_dir must be the path of a folder" in refusal(None)
    assert f"{tmp_path / 'nowhere'} does not exist" in refusal(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    assert f"{tmp_path / 'file'} is not a folder" in refusal(tmp_path / "file")


def test_missing_parts(picture_folder):
    shutil.rmtree(picture_folder / "test")
    assert "wanted test/<class>/ or val/<class>/ in it, found train/" in refusal(picture_folder)
    (picture_folder / "train").rename(picture_folder / "training")
    said = refusal(picture_folder)
    assert "wanted train/, test/ and val/ in it, found training/: rename it to train" in said


@pytest.mark.parametrize("within", [False, True])
def test_a_part_that_is_another_by_a_link(picture_folder, within):
    """What was trained on would be told as a test."""
    shutil.rmtree(picture_folder / "test")
    (picture_folder / "test").symlink_to(picture_folder / "train" / ("red" if within else ""))
    with pytest.raises(UsageError, match=r"must be different pictures, got .*, which lies in"):
        load_dataset("folder", data_dir=picture_folder)


def test_unknown_class(picture_folder):
    (picture_folder / "test" / "red").rename(picture_folder / "test" / "rde")
    said = refusal(picture_folder)
    assert str(picture_folder / "test" / "rde") in said
    assert "'rde' is not a class of train/" in said
    assert "'red'" in said


@pytest.mark.parametrize("part", ["train", "test"])
def test_empty_class(picture_folder, part):
    empty = picture_folder / part / "green"
    shutil.rmtree(empty)
    empty.mkdir()
    (empty / "Thumbs.db").write_text("")
    assert f"class folder {empty}: wanted pictures" in refusal(picture_folder)


def test_too_few_classes(tmp_path):
    paint(tmp_path / "train" / "images" / "cat" / "x.png")
    paint(tmp_path / "test" / "images" / "cat" / "x.png")
    assert "two or more classes, found images" in refusal(tmp_path)
    shutil.rmtree(tmp_path / "test" / "images")
    paint(tmp_path / "train" / "b" / "x.png")
    assert f"{tmp_path / 'test'}: wanted" in refusal(tmp_path)


# --- one set of pictures, divided


@pytest.mark.parametrize("train", ["", "train"])
def test_a_share_of_every_class_tests(tmp_path, cache, train):
    """Every picture is in one of the parts, those of ten in the same whatever else there is."""
    for label, name in enumerate("abc"):
        for number in range(10 * (label + 1)):
            paint(tmp_path / "root" / train / name / f"{number}.png", 80 * label + number)
    splits = [
        load_dataset("folder", data_dir=tmp_path / "root", test_fraction=0.2) for _ in range(2)
    ]
    first, again = splits
    assert first.classes == ("a", "b", "c")
    assert first.train.labels.bincount().tolist() == [8, 16, 24]
    assert first.test.labels.bincount().tolist() == [2, 4, 6]
    levels = [part.images[:, 0, 0, 0].tolist() for part in (first.train, first.test)]
    assert sorted(levels[0] + levels[1]) == [
        80 * label + n for label in range(3) for n in range(10 * (label + 1))
    ]
    assert first.mean == pytest.approx([sum(levels[0]) / 48 / 255] * 3)
    assert torch.equal(first.test.images, again.test.images)
    assert len(list(cache.glob("*.npy"))) == 2  # neither pack took the other's place


def test_what_cannot_be_divided(tmp_path):
    def refused(said: str) -> None:
        with pytest.raises(UsageError, match=said):
            load_dataset("folder", data_dir=tmp_path / "root", test_fraction=0.2)

    refused("does not exist: wanted one of class folders; if it has moved, --data-dir says where")
    for name in ("a", "rare"):
        paint(tmp_path / "root" / name / "0.png")
    paint(tmp_path / "root" / "a" / "1.png")
    refused(
        "^test_fraction: wanted at least 2 pictures of every class to divide, got 1 of class "
        "'rare': add pictures, remove the class, or give folders train/ and test/$"
    )
    paint(tmp_path / "root" / "val" / "a" / "0.png")
    refused("test_fraction must be left out: .*root has a val/")


@pytest.mark.parametrize(
    ("name", "part"),
    [("Train", "train"), ("training", "train"), ("Test", "test"), ("testing", "test"),
     ("Validation", "val"), ("valid", "val")],
)  # fmt: skip
def test_parts_by_other_names_are_no_classes(picture_folder, name, part) -> None:
    if part == "val":
        shutil.copytree(picture_folder / "test", picture_folder / name)
    else:
        (picture_folder / part).rename(picture_folder / name)
    for fraction in (0.0, 0.2):
        if fraction and (picture_folder / "test").exists():
            continue  # refused for another reason
        with pytest.raises(UsageError, match=f"found {name}/: rename it to {part}$"):
            load_dataset("folder", data_dir=picture_folder, test_fraction=fraction)


def test_a_class_may_be_called_test(picture_folder) -> None:
    (picture_folder / "train" / "red").rename(picture_folder / "train" / "Test")
    splits = load_dataset("folder", data_dir=picture_folder / "train", test_fraction=0.2)
    assert splits.classes == ("Test", "blue", "green")
