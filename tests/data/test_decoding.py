"""One picture file: what becomes of every mode and format, against numpy's arithmetic."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from compact_vit.data import decoding
from compact_vit.data.decoding import FORMATS, read_picture
from compact_vit.errors import UsageError
from compact_vit.photographs import as_seen

H, W = 6, 9
RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 256, (H, W, 3)).astype(np.uint8)
GREY = RANDOM.integers(0, 256, (H, W)).astype(np.uint8)
ALPHA = RANDOM.integers(0, 256, (H, W, 1)).astype(np.uint8)
DEEP = RANDOM.integers(0, 65536, (H, W)).astype(np.uint16)


def read(path: Path) -> np.ndarray:
    """The picture in ``path`` at its own size, nothing said about it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_picture(str(path), H, W)


def three(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


def on_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha / 255
    return colour * share + 255 * (1 - share)


def png(values: np.ndarray, kind: int, clear: int | None = None) -> bytes:
    """A PNG of 16-bit ``values`` [H,W,C] of colour type ``kind``, which PIL does not write.

    Gray of the value ``clear`` is transparent.
    """
    height, width = values.shape[:2]
    rows = values.astype(">u2").reshape(height, -1).view(np.uint8)
    scan = np.concatenate([np.zeros((height, 1), np.uint8), rows], 1).tobytes()  # no filter

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">2I5B", width, height, 16, kind, 0, 0, 0)
    named = b"" if clear is None else chunk(b"tRNS", struct.pack(">H", clear))
    body = (
        chunk(b"IHDR", header) + named + chunk(b"IDAT", zlib.compress(scan)) + chunk(b"IEND", b"")
    )
    return b"\x89PNG\r\n\x1a\n" + body


def tiff(values: np.ndarray, bits: int, signed: bool = False, black: int = 1) -> bytes:
    """A TIFF of grey ``values`` [H,W] as whole numbers of ``bits``, which PIL does not choose.

    Zero is black, or with ``black`` 0 it is white.
    """
    height, width = values.shape
    if bits == 12:  # two in three bytes, a row a whole number of them
        bit = values[..., None] >> np.arange(11, -1, -1) & 1  # [H,W] -> [H,W,12]
        data = np.packbits(bit.reshape(height, -1), axis=1).tobytes()
    else:
        data = values.astype(f"<{'ui'[signed]}{bits // 8}").tobytes()
    data += bytes(len(data) % 2)
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: black, 273: 8, 277: 1, 278: height}
    tags |= {279: len(data), 339: 1 + signed}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = struct.pack("<2sHI", b"II", 42, 8 + len(data))
    return head + data + struct.pack("<H", len(tags)) + entries + bytes(4)


# --- modes


def test_grey_and_one_bit(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "grey.png")
    assert np.array_equal(read(tmp_path / "grey.png"), three(GREY))
    Image.fromarray(GREY > 99).save(tmp_path / "bits.png")
    assert np.array_equal(read(tmp_path / "bits.png"), three(np.where(GREY > 99, 255, 0)))
    Image.fromarray(GREY > 99).save(tmp_path / "fax.tif", compression="group4")
    assert np.array_equal(read(tmp_path / "fax.tif"), three(np.where(GREY > 99, 255, 0)))


@pytest.mark.parametrize("name", ["deep.png", "little.tif", "big.tif", "deep.pgm"])
def test_sixteen_bits_of_grey_keep_their_upper_eight(tmp_path, name):
    if name == "deep.pgm":
        (tmp_path / name).write_bytes(b"P5 %d %d 65535\n" % (W, H) + DEEP.astype(">u2").tobytes())
    else:
        Image.fromarray(DEEP.astype(">u2") if name == "big.tif" else DEEP).save(tmp_path / name)
    seen = read(tmp_path / name)
    assert np.array_equal(seen, three(DEEP // 256))
    assert np.abs(seen - three(DEEP) / 257).max() < 1  # 65535 is white, and nothing is clipped


@pytest.mark.parametrize(("channels", "kind"), [(1, 0), (3, 2), (2, 4), (4, 6)])
def test_sixteen_bits_of_colour_and_transparency(tmp_path, channels, kind):
    values = RANDOM.integers(0, 65536, (H, W, channels))
    (tmp_path / "deep.png").write_bytes(png(values, kind))
    wanted = values[..., : 3 if channels > 2 else 1] // 256
    if channels in (2, 4):
        wanted = on_white(wanted, values[..., -1:] // 256)
    assert np.abs(read(tmp_path / "deep.png") - wanted).max() <= 1


@pytest.mark.parametrize("clear", [0, 300, 65535])
def test_one_of_sixteen_bits_of_grey_is_transparent(tmp_path, clear):
    values = DEEP.copy()
    values[::2, ::3], values[1, 1] = clear, clear ^ 1  # its neighbour has the same upper eight bits
    (tmp_path / "x.png").write_bytes(png(values[..., None], 0, clear))
    assert np.array_equal(
        read(tmp_path / "x.png"), three(np.where(values == clear, 255, values // 256))
    )


def test_twelve_bits_keep_their_upper_eight(tmp_path):
    (tmp_path / "x.tif").write_bytes(tiff(DEEP >> 4, 12))
    assert np.array_equal(read(tmp_path / "x.tif"), three(DEEP >> 8))


@pytest.mark.parametrize(("bits", "signed"), [(32, False), (32, True), (16, True)])
def test_numbers_that_may_be_of_eight_bits_or_of_sixteen(tmp_path, bits, signed):
    """By sixteen they would all be black."""
    for values in (GREY % 249, GREY * 0):
        (tmp_path / "x.tif").write_bytes(tiff(values, bits, signed))
        with pytest.raises(UsageError) as caught:
            read(tmp_path / "x.tif")
        assert str(caught.value) == (
            f"cannot read the picture {tmp_path / 'x.tif'}: its values go from {values.min()} to "
            f"{values.max()}, which may be of 8 bits or of 16: save it with 8 bits"
        )
    deep = DEEP // 2
    (tmp_path / "x.tif").write_bytes(tiff(deep, bits, signed))
    assert np.array_equal(read(tmp_path / "x.tif"), three(deep >> 8))


@pytest.mark.parametrize("bits", [8, 16])
def test_grey_whose_zero_is_white(tmp_path, bits):
    values = DEEP >> (16 - bits)
    (tmp_path / "x.tif").write_bytes(tiff(values, bits, black=0))
    assert np.array_equal(read(tmp_path / "x.tif"), three(255 - (DEEP >> 8)))


@pytest.mark.parametrize("value", [0, 255])
def test_sixteen_bits_of_black(tmp_path, value):
    """Their file says how many they are, also in versions of PIL that make them 32."""
    dark = np.full((H, W), value, np.uint16)
    (tmp_path / "x.png").write_bytes(png(dark[..., None], 0))
    (tmp_path / "x.tif").write_bytes(tiff(dark, 16))
    (tmp_path / "x.pgm").write_bytes(b"P5 %d %d 65535\n" % (W, H) + dark.astype(">u2").tobytes())
    for path in tmp_path.iterdir():
        assert not read(path).any()
    with Image.open(tmp_path / "x.png") as image:
        image.load()
        older = Image.fromarray(np.asarray(image).astype(np.int32))
        older.format = image.format
    assert older.mode == "I"
    assert not np.asarray(as_seen(older)).any()


def test_ten_bits_fill_the_scale(tmp_path):
    ten = DEEP >> 6
    (tmp_path / "ten.pgm").write_bytes(b"P5 %d %d 1023\n" % (W, H) + ten.astype(">u2").tobytes())
    assert np.abs(read(tmp_path / "ten.pgm") - three(ten) / 1023 * 255).max() <= 1


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.webp"])
def test_transparent_pixels_lie_on_white(tmp_path, name):
    image = Image.fromarray(np.concatenate([RGB, ALPHA], 2))
    image.save(tmp_path / name, **({"lossless": True, "exact": True} if name == "x.webp" else {}))
    assert np.abs(read(tmp_path / name) - on_white(RGB, ALPHA)).max() <= 1


def test_what_is_hidden_does_not_shine_through_when_scaled(tmp_path):
    pixels = RANDOM.integers(0, 256, (5 * H, 5 * W, 4)).astype(np.uint8)
    pixels[:, : 2 * W] = (255, 0, 0, 0)  # red, and nothing of it to be seen
    Image.fromarray(pixels).save(tmp_path / "x.png")
    flat = on_white(pixels[..., :3], pixels[..., 3:]).round().astype(np.uint8)
    wanted = Image.fromarray(flat).resize((W, H), Image.Resampling.BILINEAR)
    assert np.abs(read(tmp_path / "x.png").astype(int) - np.asarray(wanted)).max() <= 2


def test_transparent_grey_lies_on_white(tmp_path):
    Image.fromarray(np.concatenate([GREY[..., None], ALPHA], 2)).save(tmp_path / "x.png")
    assert np.abs(read(tmp_path / "x.png") - on_white(three(GREY), ALPHA)).max() <= 1


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_transparent_colour_is_white(tmp_path, mode):
    pixels = GREY if mode == "L" else RGB
    key = int(GREY[0, 0]) if mode == "L" else tuple(map(int, RGB[0, 0]))
    Image.fromarray(pixels).save(tmp_path / "x.png", transparency=key)
    wanted = (three(GREY) if mode == "L" else RGB).copy()
    wanted[np.all(wanted == wanted[0, 0], 2)] = 255
    assert np.array_equal(read(tmp_path / "x.png"), wanted)


@pytest.mark.parametrize("name", ["x.png", "x.gif", "x.bmp", "x.tif"])
def test_palettes(tmp_path, name):
    image = Image.fromarray(RGB).quantize(16)
    colours = np.array(image.getpalette()).reshape(-1, 3)
    image.save(tmp_path / name)
    assert np.array_equal(read(tmp_path / name), colours[np.asarray(image)])


@pytest.mark.parametrize("name", ["x.png", "x.gif"])
def test_palettes_with_a_transparent_colour(tmp_path, name):
    image = Image.fromarray(RGB).quantize(16)
    colours = np.array(image.getpalette()).reshape(-1, 3)
    image.save(tmp_path / name, transparency=3)
    wanted = np.where((np.asarray(image) == 3)[..., None], 255, colours[np.asarray(image)])
    assert np.array_equal(read(tmp_path / name), wanted)


def test_palettes_with_transparencies(tmp_path):
    image = Image.fromarray(RGB).quantize(16)
    colours = np.array(image.getpalette()).reshape(-1, 3)
    alphas = np.arange(0, 256, 17)
    image.save(tmp_path / "x.png", transparency=bytes(alphas.tolist()))
    wanted = on_white(colours, alphas[:, None])[np.asarray(image)]
    assert np.abs(read(tmp_path / "x.png") - wanted).max() <= 1


def test_inks_become_light(tmp_path):
    ink = RANDOM.integers(0, 256, (H, W, 4)).astype(np.uint8)
    Image.fromarray(ink, "CMYK").save(tmp_path / "x.tif")
    wanted = (255.0 - ink[..., :3]) * (255.0 - ink[..., 3:]) / 255
    assert np.abs(read(tmp_path / "x.tif") - wanted).max() <= 1
    flat = np.broadcast_to(ink[0, 0], (H, W, 4))
    Image.fromarray(np.ascontiguousarray(flat), "CMYK").save(tmp_path / "x.jpg", quality=100)
    assert np.abs(read(tmp_path / "x.jpg") - wanted[0, 0]).max() <= 3


@pytest.mark.parametrize("name", ["x.gif", "x.png", "x.webp", "x.tif"])
def test_the_first_picture_of_an_animation(tmp_path, name):
    first, *others = (Image.fromarray(np.roll(RGB, i, axis=1)) for i in range(3))
    options = {"lossless": True} if name == "x.webp" else {}
    first.save(tmp_path / name, save_all=True, append_images=others, **options)
    with Image.open(tmp_path / name) as image:
        assert image.n_frames == 3
    if name == "x.gif":
        first = first.quantize(256)  # as many colours as there are pixels
    assert np.abs(read(tmp_path / name).astype(int) - np.asarray(first.convert("RGB"))).max() <= 1


def test_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 8  # to be turned a quarter to the left
    Image.fromarray(np.ascontiguousarray(np.rot90(RGB, -1))).save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(read(tmp_path / "x.png"), RGB)


@pytest.mark.parametrize("turned", range(1, 9))
@pytest.mark.parametrize("mode", ["L", "I;16", "RGB", "RGBA", "CMYK"])
def test_turned_tiffs_that_are_not_compressed(tmp_path, mode, turned):
    values = DEEP if mode == "I;16" else RANDOM.integers(0, 256, (W, H, len(mode))).astype(np.uint8)
    values = values.reshape(W, H, -1).squeeze()
    image = Image.fromarray(values, mode) if mode == "CMYK" else Image.fromarray(values)
    image.save(tmp_path / "x.tif", tiffinfo={274: turned})
    image.save(tmp_path / "packed.tif", tiffinfo={274: turned}, compression="tiff_lzw")
    assert np.array_equal(read(tmp_path / "x.tif"), read(tmp_path / "packed.tif"))


def test_an_orientation_that_cannot_be_read_is_none(tmp_path):
    for damaged in (b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff"):
        Image.fromarray(RGB).save(tmp_path / "x.png", exif=damaged)
        assert np.array_equal(read(tmp_path / "x.png"), RGB)


# --- names and kinds of files


def as_format(form: str) -> bytes:
    """``RGB`` in the format ``form``, without loss where it can."""
    stream = io.BytesIO()
    Image.fromarray(RGB).save(stream, form, **({"lossless": True} if form == "WEBP" else {}))
    return stream.getvalue()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["x.jpg", "x.txt", "x", "x.PNG"])
def test_the_content_tells_and_not_the_name(tmp_path, form, name):
    (tmp_path / name).write_bytes(as_format(form))
    with Image.open(tmp_path / name) as image:
        assert image.format == form
        wanted = np.asarray(image.convert("RGB"))
    assert np.array_equal(read(tmp_path / name), wanted)
    if form not in ("JPEG", "GIF"):
        assert np.array_equal(wanted, RGB)


def test_large_pictures_are_scaled_as_they_are_read(tmp_path):
    large = Image.new("RGB", (40 * W, 40 * H), (10, 200, 30))
    ImageDraw.Draw(large).rectangle((0, 0, 20 * W, 40 * H), (200, 10, 30))
    large.save(tmp_path / "x.jpg", quality=95)
    seen = read(tmp_path / "x.jpg").astype(int)
    assert np.abs(seen[:, : W // 2] - (200, 10, 30)).max() <= 4
    assert np.abs(seen[:, W // 2 + 1 :] - (10, 200, 30)).max() <= 4


def test_decoding_imports_no_torch():
    code = f"import sys; import {decoding.__name__}; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, timeout=60, check=True)
