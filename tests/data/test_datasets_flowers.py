"""Oxford 102 Flowers: a tiny archive of its format through the real loader."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from compact_vit.data import packing
from compact_vit.data.datasets import load_dataset
from compact_vit.errors import UsageError

#: picture numbers of the official parts, and the published labels 1..102 of pictures 1..12
PARTS = {"trnid": [3, 1, 12], "valid": [2, 5], "tstid": [4, 6, 7, 8, 9, 10, 11]}
LABELS = [102, 1, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23]


@pytest.fixture
def tiny_flowers102(tmp_path, monkeypatch):
    """A data folder with 12 pictures; picture number n is painted in the grey 10n."""
    from scipy.io import savemat
    from torchvision.datasets import Flowers102

    folder = tmp_path / "flowers-102"
    folder.mkdir()
    with tarfile.open(folder / "102flowers.tgz", "w:gz") as tar:
        for number in range(1, 13):
            stream = io.BytesIO()
            Image.new("RGB", (40 + number, 32), (10 * number,) * 3).save(stream, "jpeg")
            entry = tarfile.TarInfo(f"jpg/image_{number:05d}.jpg")
            entry.size = len(stream.getvalue())
            tar.addfile(entry, io.BytesIO(stream.getvalue()))
    savemat(folder / "imagelabels.mat", {"labels": np.array([LABELS], np.uint8)})
    savemat(folder / "setid.mat", {k: np.array([v], np.uint16) for k, v in PARTS.items()})
    files = {
        role: (name, hashlib.md5((folder / name).read_bytes()).hexdigest())
        for role, (name, _) in Flowers102._file_dict.items()
    }
    monkeypatch.setattr(Flowers102, "_file_dict", files)
    monkeypatch.setattr(Flowers102, "_download_url_prefix", "http://127.0.0.1:9/")
    return tmp_path


def test_train_and_val_train(tiny_flowers102, monkeypatch):
    splits = load_dataset("flowers102", data_dir=tiny_flowers102, img_size=24)
    assert splits.train.images.shape == (5, 3, 24, 24)
    greys = splits.train.images.float().mean((1, 2, 3)) / 10
    assert greys.round().tolist() == PARTS["trnid"] + PARTS["valid"]
    assert splits.train.labels.tolist() == [4, 101, 22, 0, 8]
    assert splits.test.labels.tolist() == [LABELS[n - 1] - 1 for n in PARTS["tstid"]]
    assert len(splits.classes) == 102
    assert splits.classes[101] == "blackberry lily"
    values = splits.train.images.double() / 255
    assert splits.mean == pytest.approx(values.mean((0, 2, 3)).tolist(), abs=1e-9)

    monkeypatch.setattr(packing, "decode_into", None)  # a second start decodes nothing
    again = load_dataset("flowers102", data_dir=tiny_flowers102, img_size=24, download=False)
    assert torch.equal(again.train.images, splits.train.images)


def test_damaged_pictures_are_named(tiny_flowers102):
    """Only a folder's pictures can be skipped: here the archive has whole ones."""
    load_dataset("flowers102", data_dir=tiny_flowers102, img_size=8)
    folder = tiny_flowers102 / "flowers-102" / "jpg"
    for number in (4, 6):
        path = folder / f"image_{number:05d}.jpg"
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UsageError) as caught:
        load_dataset("flowers102", data_dir=tiny_flowers102, img_size=8, on_bad_picture="skip")
    said = str(caught.value)
    assert said.startswith(f"Oxford 102 Flowers: cannot read 2 of 7 pictures: {folder}/image_00004")
    assert said.endswith(f": delete {folder} and run again")
    shutil.rmtree(folder)
    splits = load_dataset("flowers102", data_dir=tiny_flowers102, img_size=8)
    assert (len(splits.train), len(splits.test)) == (5, 7)


@pytest.mark.parametrize("name", ["102flowers.tgz", "imagelabels.mat", "setid.mat"])
def test_wrong_checksums(tiny_flowers102, name):
    archive = tiny_flowers102 / "flowers-102" / name
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 4
    archive.write_bytes(data)
    for download in (True, False):
        with pytest.raises(UsageError) as caught:
            load_dataset("flowers102", data_dir=tiny_flowers102, img_size=8, download=download)
        assert f"{archive} is damaged or another file: its MD5 is" in str(caught.value)
        assert "delete it, or replace it by http://127.0.0.1:9/" in str(caught.value)


def test_missing_picture_is_damage(tiny_flowers102):
    load_dataset("flowers102", data_dir=tiny_flowers102, img_size=8)
    (tiny_flowers102 / "flowers-102" / "jpg" / "image_00004.jpg").unlink()
    with pytest.raises(UsageError, match="are damaged"):
        load_dataset("flowers102", data_dir=tiny_flowers102, img_size=8)
