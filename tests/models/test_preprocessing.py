"""Preprocessing that travels with weights: against torchvision's steps and training's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, functional as F

from compact_vit import UsageError, cct_2_3x2
from compact_vit.data.decoding import read_picture
from compact_vit.data.pictures import resize
from compact_vit.models.preprocessing import Preprocess

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
LEVEL = 1.01 / 255 / min(STD)


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Smooth colours and some noise, another in every channel."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).integers(0, 40, (height, width, 3))
    levels = np.stack([x * 200 // width, y * 200 // height, (x + y) % 200], 2) + noise
    return Image.fromarray(levels.astype(np.uint8)).convert(mode)


def by_hand(image: Image.Image, size: int) -> torch.Tensor:
    """torchvision's steps for a square picture and a square model."""
    image = F.resize(image, [size, size], InterpolationMode.BILINEAR)
    return F.normalize(F.to_tensor(image), MEAN, STD)


@pytest.mark.parametrize("side", [32, 64, 20, 100])
def test_torchvisions_steps(side) -> None:
    image = picture(side, side)
    prepared = Preprocess((32, 32), MEAN, STD)
    torch.testing.assert_close(prepared(image), by_hand(image, 32))
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    torch.testing.assert_close(prepared(pixels), by_hand(image, 32), atol=LEVEL, rtol=0)
    floats = prepared(pixels / 255)
    torch.testing.assert_close(floats, by_hand(image, 32), atol=LEVEL, rtol=0)


@pytest.mark.parametrize("shape", [(50, 40), (33, 90), (20, 31), (32, 32), (1, 1), (1, 100)])
@pytest.mark.parametrize("size", [(32, 32), (16, 24), (32, 48), (45, 32)])
def test_pictures_as_training_on_a_folder_reads_them(shape, size, tmp_path) -> None:
    image = picture(*shape)
    image.save(tmp_path / "a.png")
    pixels = torch.from_numpy(read_picture(str(tmp_path / "a.png"), *size).copy()).permute(2, 0, 1)
    prepared = Preprocess(size, MEAN, STD)
    expected = F.normalize(pixels / 255, MEAN, STD)
    torch.testing.assert_close(prepared(image), expected)
    assert prepared(image).shape == (3, *size)
    whole = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    batch = torch.stack([whole, whole])
    for given in (whole, batch, batch / 255):
        torch.testing.assert_close(
            prepared(given), expected.expand(*given.shape[:-3], 3, *size), atol=LEVEL, rtol=0
        )
    in_memory = F.normalize(resize(batch, size) / 255, MEAN, STD)  # as a named data set's
    torch.testing.assert_close(prepared(batch), in_memory)


@pytest.mark.parametrize("kind", ["turned", "sixteen bits", "turned sixteen bits", "transparent"])
def test_photographs_as_training_reads_them(kind, tmp_path) -> None:
    """Upright, of their upper eight bits, on white."""
    image, exif = picture(48, 40), Image.Exif()
    if "turned" in kind:
        exif[274] = 6
    if "sixteen" in kind:
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) << 8)
    if kind == "transparent":
        image.putalpha(picture(48, 40, "L").rotate(180))
    path = tmp_path / ("a.tif" if "sixteen" in kind else "a.png")
    image.save(path, exif=exif)
    pixels = torch.from_numpy(read_picture(str(path), 32, 32).copy()).permute(2, 0, 1)
    with Image.open(path) as opened:
        before = opened.size, opened.filename
        got = Preprocess((32, 32), MEAN, STD)(opened)
        assert (opened.size, opened.filename) == before  # the caller's is left alone
    torch.testing.assert_close(got, F.normalize(pixels / 255, MEAN, STD), atol=LEVEL, rtol=0)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("shape", [(63, 200), (64, 64), (150, 90), (700, 513)])
def test_jpegs_as_training_reads_them(shape, mode, tmp_path) -> None:
    """Decoded at a half, quarter or eighth, again and again; the caller's picture stays whole."""
    path, exif = tmp_path / "a.jpg", Image.Exif()
    exif[274] = 6
    picture(*shape, mode).save(path, exif=exif)
    pixels = torch.from_numpy(read_picture(str(path), 16, 12).copy()).permute(2, 0, 1)
    expected = F.normalize(pixels / 255, MEAN, STD)
    prepared = Preprocess((16, 12), MEAN, STD)
    with Image.open(path) as opened, Image.open(path) as other:
        for _ in range(2):
            torch.testing.assert_close(prepared(opened), expected)
        assert (opened.size, opened.filename) == (other.size, other.filename)
        assert np.array_equal(np.asarray(opened), np.asarray(other))
        whole = prepared(opened)  # loaded now: all pixels are there, and all are used
        assert torch.equal(whole, prepared(other))
        assert torch.allclose(whole, expected, atol=1e-5) == (min(shape) < 64)


def test_a_jpeg_that_was_drafted_stays_so(tmp_path) -> None:
    path = tmp_path / "a.jpg"
    picture(700, 513).save(path)
    prepared = Preprocess((16, 12), MEAN, STD)
    with Image.open(path) as opened, Image.open(path) as other:
        for one in (opened, other):
            one.draft(None, (300, 200))
        other.load()
        assert torch.equal(prepared(opened), prepared(other))


def test_a_jpeg_of_several_frames(tmp_path) -> None:
    path = tmp_path / "a.mpo"
    frames = [picture(200, 150), picture(200, 150).rotate(180)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    prepared = Preprocess((16, 12), MEAN, STD)
    pixels = torch.from_numpy(read_picture(str(path), 16, 12).copy()).permute(2, 0, 1)
    with Image.open(path) as opened:
        first = prepared(opened)
        torch.testing.assert_close(first, F.normalize(pixels / 255, MEAN, STD))
        opened.seek(1)
        assert (prepared(opened) - first).abs().max() > 0.5


def test_what_no_eight_bits_can_be_made_of() -> None:
    floating = Image.fromarray(np.zeros((32, 32), np.float32))
    with pytest.raises(UsageError, match="cannot be prepared: its values are floating-point"):
        Preprocess((32, 32), MEAN, STD)(floating)


def test_a_crop_of_timms() -> None:
    timm_data = pytest.importorskip("timm.data")
    image = picture(80, 80)
    theirs = timm_data.create_transform(
        (3, 32, 32), mean=MEAN, std=STD, interpolation="bicubic", crop_pct=0.8
    )
    prepared = Preprocess((32, 32), MEAN, STD, "bicubic", 0.8)
    torch.testing.assert_close(prepared(image), theirs(image))


@pytest.mark.parametrize(
    ("size", "crop_pct", "covered", "shape"),
    [
        ((48, 32), 0.8, (60, 40), (80, 120)),
        ((48, 32), 0.875, (54, 36), (72, 108)),
        ((48, 32), 1.0, (48, 32), (96, 144)),
        ((32, 48), 0.8, (40, 60), (120, 80)),
        ((32, 48), 0.5, (64, 96), (96, 64)),
        ((30, 20), 0.7, (42, 28), (112, 168)),
    ],
)
def test_a_crop_of_pictures_that_are_not_square(size, crop_pct, covered, shape) -> None:
    """Pictures of the model's shape, where nothing is rounded: torchvision's steps and timm's."""
    timm_data = pytest.importorskip("timm.data")
    model = cct_2_3x2(img_size=size)
    model.pretrained_cfg = {"mean": MEAN, "std": STD, "crop_pct": crop_pct}
    image = picture(*shape)
    prepared = model.transforms()(image)
    assert prepared.shape == (3, *size)
    image_covered = F.resize(image, list(covered), InterpolationMode.BILINEAR)
    expected = F.normalize(F.to_tensor(F.center_crop(image_covered, list(size))), MEAN, STD)
    torch.testing.assert_close(prepared, expected)
    theirs = timm_data.create_transform(
        (3, *size), mean=MEAN, std=STD, interpolation="bilinear", crop_pct=crop_pct
    )
    torch.testing.assert_close(prepared, theirs(image))
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    torch.testing.assert_close(model.transforms()(pixels), expected, atol=LEVEL, rtol=0)


@pytest.mark.parametrize("shape", [(200, 200), (240, 160), (400, 150), (150, 400)])
@pytest.mark.parametrize("crop_pct", [1.0, 0.9, 0.75])
@pytest.mark.parametrize("size", [(48, 32), (32, 48)])
def test_what_of_a_picture_is_left(size, crop_pct, shape) -> None:
    """Of two ramps, whose level says where a pixel is from: the centre, its shape kept."""
    width, height = shape
    y, x = np.mgrid[:height, :width]
    ramps = np.stack([x * 255 / width, y * 255 / height, x * 0], 2).round().astype(np.uint8)
    prepared = Preprocess(size, (0.0,) * 3, (1.0,) * 3, crop_pct=crop_pct)
    scale = max(size[0] / crop_pct / height, size[1] / crop_pct / width)
    for given in (Image.fromarray(ramps), torch.from_numpy(ramps).permute(2, 0, 1)):
        across, down, _ = prepared(given)
        steps = (across.mean(0).diff().mean(), down.mean(1).diff().mean())
        expected = (1 / scale / width, 1 / scale / height)
        assert steps == pytest.approx(expected, rel=0.06)  # the size covered is whole pixels
        for ramp, step in zip((across, down), expected, strict=True):
            # an odd rest around the crop is half a pixel more on one side
            assert abs(ramp.mean() - 0.5) <= 0.5 * step + 0.005


def test_gray() -> None:
    gray = Preprocess((32, 32), (0.4,), (0.2,))
    image = picture(32, 32)
    expected = (F.to_tensor(image.convert("L")) - 0.4) / 0.2
    torch.testing.assert_close(gray(image), expected)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    torch.testing.assert_close(gray(pixels), expected, atol=1.01 / 255 / 0.2, rtol=0)
    assert ((gray(pixels) - expected).abs() > 1e-3).float().mean() < 0.01  # PIL's weights, rounded
    white = torch.full((3, 32, 32), 255, dtype=torch.uint8)
    for same in (white, white / 255):
        torch.testing.assert_close(gray(same), torch.full((1, 32, 32), 0.6 / 0.2))
    colour = Preprocess((32, 32), MEAN, STD)
    for same in (image.convert("L"), F.pil_to_tensor(image.convert("L"))):
        levels = F.to_tensor(image.convert("L")).expand(3, 32, 32)
        torch.testing.assert_close(colour(same), F.normalize(levels, MEAN, STD))
    assert colour(image.convert("P")).shape == (3, 32, 32)


def test_a_batch_is_what_the_model_takes() -> None:
    model = cct_2_3x2().eval()
    model.pretrained_cfg = {"mean": MEAN, "std": STD}
    images = torch.randint(0, 256, (4, 3, 48, 32), dtype=torch.uint8)
    x = model.transforms()(images)
    assert (x.shape, x.dtype, type(x)) == ((4, 3, 32, 32), torch.float32, torch.Tensor)
    torch.testing.assert_close(model(x)[2:3], model(model.transforms()(images[2])[None]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((3, 32, 32), np.uint8), "must be PIL's or a tensor .* got ndarray"),
        (None, "got NoneType"),
        (torch.zeros(32, 32), r"wanted uint8 or floats \[..., 3, H, W\], got float32 \[32, 32\]"),
        (torch.zeros(3, 32, 32, dtype=torch.int64), r"got int64 \[3, 32, 32\]"),
        (torch.zeros(2, 32, 32), r"got float32 \[2, 32, 32\]"),
        (torch.zeros(3, 0, 32), r"got float32 \[3, 0, 32\]"),
        (torch.full((3, 32, 32), 255.0), "floats must be from 0 to 1, got some up to 255: divide"),
        (torch.full((2, 1, 32, 32), 3.0).half(), "got some up to 3: divide levels of 0 to 255"),
        (torch.linspace(-1, 1, 3072).view(3, 32, 32), "got some down to -1: give them as they are"),
    ],
)
def test_what_is_no_picture(given, message) -> None:
    with pytest.raises(UsageError, match=message):
        Preprocess((32, 32), MEAN, STD)(given)


def test_floats_may_overshoot() -> None:
    prepared = Preprocess((8, 8), MEAN, STD)
    levels = torch.linspace(-0.5, 1.5, 192).view(3, 8, 8)
    torch.testing.assert_close(prepared(levels), F.normalize(levels, MEAN, STD))


def test_many_channels() -> None:
    prepared = Preprocess((8, 8), (0.5,) * 4, (0.25,) * 4)
    assert torch.equal(prepared(torch.ones(4, 8, 8)), torch.full((4, 8, 8), 2.0))
    with pytest.raises(UsageError, match="give tensors to a model of 4 channels"):
        prepared(picture(8, 8))


def test_levels_of_0_to_255_are_no_means() -> None:
    with pytest.raises(UsageError, match=r"^mean must be of values from 0 to 1: divide .* by 255,"):
        Preprocess.of({"mean": (125.3, 123.0, 113.9), "std": (63.0, 62.1, 66.7)}, 3, (32, 32))


@pytest.mark.parametrize("wrong", [(0.1, 0.9), (0.1, 0.2, 0.3, 0.4), (), [], 0.5, "0.5", None])
@pytest.mark.parametrize("name", ["mean", "std"])
def test_a_number_for_each_channel_or_one_for_all(name, wrong) -> None:
    right = {"mean": (0.1, 0.2, 0.3), "std": [0.5]}
    preprocess = Preprocess.of(right, 3, (32, 32))
    assert (preprocess.mean, preprocess.std) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    with pytest.raises(UsageError, match=f"^{name} must be 3 numbers, got "):
        Preprocess.of(right | {name: wrong}, 3, (32, 32))
