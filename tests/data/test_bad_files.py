"""One bad file: refused with its reason on one line, without a hang, a crash or much memory."""

from __future__ import annotations

import errno
import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compact_vit.data.decoding import FORMATS, decode_into, read_picture, without_remarks
from compact_vit.errors import UsageError

SIDE = 16


def refusal(path: Path) -> str:
    """Why ``path`` is no picture, the same by either way."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UsageError) as caught:
            read_picture(str(path), SIDE, SIDE)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    array = np.zeros((3, 3, SIDE, SIDE), np.uint8)
    with without_remarks():
        ((row, reason),) = decode_into(array, 1, [str(path)])
    assert row == 1
    assert message == f"cannot read the picture {path}: {reason}" or "no picture at" in message
    assert not array.any()
    return reason


def whole(form: str, **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form, **options)
    return stream.getvalue()


#: every format, and the ways to write it that are read by other code
WHOLE = [
    *((form, {}) for form in FORMATS),
    ("JPEG", {"progressive": True}),
    ("WEBP", {"lossless": True}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "tiff_adobe_deflate"}),
]


# --- damage


@pytest.mark.parametrize(("form", "options"), WHOLE)
def test_every_truncation_is_noticed(tmp_path, form, options):
    data = whole(form, **options)
    path = tmp_path / "x"
    path.write_bytes(data)
    wanted = read_picture(str(path), SIDE, SIDE)
    refused = []
    for length in range(0, len(data), max(1, len(data) // 60)):
        path.write_bytes(data[:length])
        try:
            seen = read_picture(str(path), SIDE, SIDE)
        except UsageError as error:
            refused.append(str(error))
        else:  # what is missing was no pixel
            assert np.array_equal(seen, wanted)
            assert length > 0.95 * len(data)
    assert len(refused) > 50
    assert all(len(said.splitlines()) == 1 for said in refused)


@pytest.mark.parametrize(("form", "options"), WHOLE)
def test_flipped_bits_are_refused_or_read(tmp_path, form, options):
    """Whatever is in a file, a picture of the right shape comes of it, or one line."""
    data, random = whole(form, **options), np.random.default_rng(1)
    path, outcomes = tmp_path / "x", []
    for trial in range(60):
        damaged = bytearray(data)
        for place in random.integers(0, len(data) if trial % 2 else 60, 1 + trial % 4):
            damaged[place] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        try:
            outcomes.append(read_picture(str(path), SIDE, SIDE).shape == (SIDE, SIDE, 3))
        except UsageError as error:
            outcomes.append(len(str(error).splitlines()) == 1)
    assert all(outcomes)


def test_a_large_jpeg_cut_short_is_noticed(tmp_path):
    """It is decoded at an eighth, and still to its end."""
    pixels = np.random.default_rng(0).integers(0, 256, (600, 600, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.jpg")
    data = (tmp_path / "x.jpg").read_bytes()
    (tmp_path / "x.jpg").write_bytes(data[: len(data) * 9 // 10])
    assert "truncated" in refusal(tmp_path / "x.jpg")


# --- no pictures


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.txt", "x"])
def test_empty_and_text(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    assert refusal(tmp_path / name) == "it is empty"
    (tmp_path / name).write_text("<html>log in first</html>")
    wanted = "no whole JPEG, PNG, WEBP, GIF, BMP, TIFF or PPM"
    assert refusal(tmp_path / name) == wanted


@pytest.mark.parametrize("form", ["EPS", "TGA", "ICO", "PDF", "PCX"])
def test_formats_that_are_not_read(tmp_path, form, monkeypatch):
    """PIL would run a program for some of them, and take much for others."""
    (tmp_path / "x.png").write_bytes(whole(form))
    monkeypatch.setattr("subprocess.Popen", None)
    assert refusal(tmp_path / "x.png").startswith("no whole JPEG")


def test_values_that_are_no_brightness(tmp_path):
    Image.fromarray(np.ones((SIDE, SIDE), np.float32)).save(tmp_path / "float.tif")
    assert "floating-point" in refusal(tmp_path / "float.tif")
    for value in (-1, 65536):
        Image.new("I", (SIDE, SIDE), value).save(tmp_path / "whole.tif")
        wanted = f"its values go from {value} to {value}, wanted 8 or 16 bits"
        assert refusal(tmp_path / "whole.tif") == wanted


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe") == "a pipe or a device"
    (tmp_path / "zeros").symlink_to("/dev/zero")
    assert refusal(tmp_path / "zeros") == "a pipe or a device"
    (tmp_path / "folder").mkdir()
    assert refusal(tmp_path / "folder") == "a folder"
    (tmp_path / "link").symlink_to("folder")
    assert refusal(tmp_path / "link") == "a link to a folder"
    (tmp_path / "broken").symlink_to("gone.png")
    assert refusal(tmp_path / "broken") == "a link to nowhere"
    (tmp_path / "circle").symlink_to("circle")
    assert refusal(tmp_path / "circle") == os.strerror(errno.ELOOP)
    assert refusal(tmp_path / "gone.png") == "it is gone"


# --- decompression bombs


def bomb(form: str, side: int) -> bytes:
    """A small file that declares ``side`` x ``side`` pixels, and has some of them."""
    if form == "PNG":
        header = b"IHDR" + struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0)
        data = b"IDAT" + zlib.compress(bytes(100_000))
        chunks = (
            struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
            for chunk in (header, data)
        )
        return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
    if form == "GIF":
        return b"GIF89a" + struct.pack("<2H", side, side) + whole("GIF")[10:]
    if form == "PPM":
        return b"P6 %d %d 255\n" % (side, side) + bytes(1000)
    data = bytearray(whole(form))
    if form == "BMP":
        data[18:26] = struct.pack("<2i", side, side)
    if form == "JPEG":
        start = data.index(b"\xff\xc0") + 5
        data[start : start + 4] = struct.pack(">2H", side, side)
    return bytes(data)


@pytest.mark.parametrize("form", ["PNG", "GIF", "PPM", "BMP", "JPEG"])
@pytest.mark.parametrize("side", [60_000, 12_000])
@pytest.mark.parametrize("limit", [89_478_485, None])
def test_decompression_bombs(tmp_path, monkeypatch, form, side, limit):
    """PIL's own limit may be off: others in the process set it."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    path = tmp_path / "x"
    path.write_bytes(bomb(form, side))
    assert path.stat().st_size < 10_000
    assert refusal(path) == "it declares more than 134,217,728 pixels"


def test_a_bomb_of_text(tmp_path):
    from PIL.PngImagePlugin import PngInfo

    notes = PngInfo()
    notes.add_text("comment", "0" * 3_000_000, zip=True)
    (tmp_path / "x.png").write_bytes(whole("PNG", pnginfo=notes))
    assert "too large" in refusal(tmp_path / "x.png")


# --- trouble that is not the picture's


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EMFILE, errno.ESTALE])
def test_the_systems_trouble_is_no_bad_picture(tmp_path, monkeypatch, number):
    """What may be whole must not be left out."""
    path = str(tmp_path / "x.png")
    Path(path).write_bytes(whole("PNG"))

    def fails(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(Image, "open", fails)
    wanted = f"cannot read the picture {path}: {os.strerror(number)}"
    for ask in (
        lambda: decode_into(np.zeros((1, 3, SIDE, SIDE), np.uint8), 0, [path]),
        lambda: read_picture(path, SIDE, SIDE),
    ):
        with pytest.raises(UsageError) as caught:
            ask()
        assert str(caught.value) == wanted


@pytest.mark.parametrize("step", ["PIL.ImageFile.ImageFile.load", "PIL.ImageOps.exif_transpose"])
def test_a_picture_that_memory_does_not_suffice_for(tmp_path, monkeypatch, step):
    path, turned = str(tmp_path / "x.png"), Image.Exif()
    turned[0x0112] = 6
    Path(path).write_bytes(whole("PNG", exif=turned))

    def fails(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(step, fails)
    with pytest.raises(UsageError, match=f"{path}: it takes more memory than there is"):
        decode_into(np.zeros((1, 3, SIDE, SIDE), np.uint8), 0, [path])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_that_may_not_be_read(tmp_path):
    (tmp_path / "x.png").write_bytes(whole("PNG"))
    (tmp_path / "x.png").chmod(0)
    with pytest.raises(UsageError, match=r"x\.png: Permission denied"):
        decode_into(np.zeros((1, 3, SIDE, SIDE), np.uint8), 0, [str(tmp_path / "x.png")])
