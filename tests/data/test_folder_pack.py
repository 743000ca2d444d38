"""The pack that is kept of decoded pictures: used, renewed, done without."""

from __future__ import annotations

import errno
import json
import os

import numpy as np
import pytest
import torch

from compact_vit.data import packing
from compact_vit.data.datasets import load_dataset


def same(one, two) -> bool:
    return (
        torch.equal(one.train.images, two.train.images)
        and torch.equal(one.train.labels, two.train.labels)
        and torch.equal(one.test.images, two.test.images)
        and (one.mean, one.std, one.classes) == (two.mean, two.std, two.classes)
    )


def test_second_start_decodes_nothing(picture_folder, cache, decoded):
    first = load_dataset("folder", data_dir=picture_folder)
    assert len(decoded) == 48
    kept = {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}
    second = load_dataset("folder", data_dir=picture_folder)
    assert len(decoded) == 48
    assert same(first, second)
    assert {path.name: path.stat().st_mtime_ns for path in cache.iterdir()} == kept
    assert {name.split(".", 1)[1] for name in kept} == {"npy", "json"}


def test_another_decoder_decodes_anew(picture_folder, decoded, monkeypatch):
    """It may read what the last could not."""
    load_dataset("folder", data_dir=picture_folder)
    before = len(decoded)
    monkeypatch.setattr("PIL.__version__", "99.0")
    load_dataset("folder", data_dir=picture_folder)
    assert len(decoded) == 2 * before > 0


def test_moved_folder_is_recognised(picture_folder, decoded):
    first = load_dataset("folder", data_dir=picture_folder)
    moved = picture_folder.rename(picture_folder.with_name("elsewhere"))
    assert same(first, load_dataset("folder", data_dir=moved))
    assert len(decoded) == 48


def test_changes_are_noticed(picture_folder, decoded):
    load_dataset("folder", data_dir=picture_folder)
    # other pixels, but the same size in bytes and the same time of modification
    victim = picture_folder / "train" / "blue" / "02.bmp"
    before = victim.stat()
    victim.write_bytes(victim.read_bytes()[:-1] + b"\x55")
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    load_dataset("folder", data_dir=picture_folder)
    assert len(decoded) == 48 + 36
    (picture_folder / "test" / "red" / "00.png").unlink()
    assert len(load_dataset("folder", data_dir=picture_folder).test) == 11
    assert len(decoded) == 48 + 36 + 11
    load_dataset("folder", data_dir=picture_folder, img_size=16)
    assert len(decoded) == 48 + 36 + 11 + 47


def truncate(path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path) -> None:
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)


def empty(path) -> None:
    path.write_bytes(b"")


def forget_statistics(path) -> None:
    path.with_suffix(".json").write_text(json.dumps({"mean": None}))


def lose_notes(path) -> None:
    path.with_suffix(".json").unlink()


def replace_by_another_shape(path) -> None:
    np.save(path, np.zeros((1, 2, 3), np.uint8))


def change_statistics(path) -> None:
    notes = path.with_suffix(".json")
    notes.write_text(notes.read_text().replace("0.", "0.1", 1))


def leave_something_out(path) -> None:
    notes = path.with_suffix(".json")
    notes.write_text(notes.read_text().replace('"bad": []', '"bad": [[0, "dull"]]'))


def nest_without_end(path) -> None:
    path.with_suffix(".json").write_text("[" * 100_000)


@pytest.mark.parametrize(
    "damage",
    [truncate, flip_a_bit, empty, forget_statistics, lose_notes, replace_by_another_shape,
     change_statistics, leave_something_out, nest_without_end],
)  # fmt: skip
def test_damaged_pack_is_made_anew(picture_folder, cache, decoded, damage):
    load_dataset("folder", data_dir=picture_folder)
    whole = {path.name: path.read_bytes() for path in cache.iterdir()}
    for path in list(cache.glob("*.npy")):
        damage(path)
    load_dataset("folder", data_dir=picture_folder)
    assert len(decoded) == 96
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == whole


def test_nowhere_to_keep_a_pack(picture_folder, tmp_path, monkeypatch, caplog):
    wanted = load_dataset("folder", data_dir=picture_folder)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COMPACT_VIT_CACHE", str(tmp_path / "file" / "cache"))
    assert same(wanted, load_dataset("folder", data_dir=picture_folder))
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert str(tmp_path / "file" / "cache") in record.getMessage()


def test_disk_too_full_to_keep_a_pack(picture_folder, cache, monkeypatch, caplog):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    assert len(load_dataset("folder", data_dir=picture_folder).train) == 36
    assert [record.getMessage()[-23:] for record in caplog.records] == ["No space left on device"]
    assert list(cache.iterdir()) == []


def test_place_of_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("COMPACT_VIT_CACHE", str(tmp_path / "own"))
    assert packing.cache_dir() == tmp_path / "own"
    monkeypatch.delenv("COMPACT_VIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert packing.cache_dir() == tmp_path / "compact_vit"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert packing.cache_dir() == tmp_path / ".cache" / "compact_vit"
