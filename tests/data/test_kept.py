"""Where packs are kept: what they take is said, and a file in use stays where it is."""

from __future__ import annotations

import errno
import gc
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from compact_vit.data import packing
from compact_vit.data.datasets import load_dataset
from compact_vit.data.packing import BadPicturesError
from compact_vit.data.prefetch import is_mapped
from compact_vit.errors import UsageError

MAPS = Path("/proc/self/maps")


def pictures(folder: Path) -> torch.Tensor:
    return load_dataset("folder", data_dir=folder).train.images


@pytest.fixture
def wanted(picture_folder, cache) -> torch.Tensor:
    """The pictures, of which nothing is kept yet."""
    images = pictures(picture_folder).clone()
    packing.clear_cache()
    return images


def test_what_is_written_into_pictures_is_not_written_into_their_file(picture_folder, cache):
    pictures(picture_folder)
    before = {path: path.read_bytes() for path in cache.iterdir()}
    images = pictures(picture_folder)
    assert is_mapped(images) == MAPS.exists()
    wanted = images.clone()
    images[0].fill_(7)
    assert (images[0] == 7).all()
    assert {path: path.read_bytes() for path in cache.iterdir()} == before
    assert torch.equal(pictures(picture_folder), wanted)


def test_a_file_that_memory_has_no_room_for_is_mapped_to_be_read(
    picture_folder, cache, wanted, monkeypatch
):
    load, modes = np.load, []

    def without_room(path, mmap_mode, **options):
        modes.append(mmap_mode)
        if mmap_mode == "c":
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        return load(path, mmap_mode, **options)

    monkeypatch.setattr(np, "load", without_room)
    for _ in range(2):
        assert torch.equal(pictures(picture_folder), wanted)
    assert modes[-2:] == ["c", "r"]


# --- Windows, which neither moves nor deletes a file that is mapped


@pytest.fixture
def windows(monkeypatch) -> Iterator[None]:
    """Its rule here; what is mapped no longer must not wait for a collection to be let go of."""
    if not MAPS.exists():
        pytest.skip("no /proc here")

    def refusing(original):
        def call(path, *args, **options):
            for name in (path, *args):
                if str(name) in MAPS.read_text():
                    raise PermissionError(errno.EACCES, "Access is denied", str(name))
            return original(path, *args, **options)

        return call

    for name in ("replace", "unlink"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))
    monkeypatch.setattr(Path, "unlink", refusing(Path.unlink))
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_the_rule_that_the_others_are_tested_by(wanted, picture_folder, cache, windows):
    images = pictures(picture_folder)
    (path,) = (path for path in cache.glob("*.npy") if str(path) in MAPS.read_text())
    for act in (path.unlink, lambda: os.unlink(path), lambda: os.replace(path, f"{path}.new")):
        with pytest.raises(PermissionError, match="Access is denied"):
            act()
    del images
    path.unlink()


@pytest.mark.parametrize("many", [False, True])
def test_a_pack_is_kept(wanted, picture_folder, cache, windows, caplog, monkeypatch, many):
    if many:  # are decoded by processes
        monkeypatch.setattr(packing, "_MANY", 1)
        monkeypatch.setattr(packing, "_CHUNK", 5)
        monkeypatch.setattr(packing, "usable_cores", lambda: 2)
    assert torch.equal(pictures(picture_folder), wanted)
    assert sorted(path.suffix for path in cache.iterdir()) == [".json", ".json", ".npy", ".npy"]
    assert not caplog.records


def test_nothing_is_left_of_what_was_refused(wanted, picture_folder, cache, windows):
    for part in ("train", "test"):
        (picture_folder / part / "red" / "00.png").write_bytes(b"no picture")
    with pytest.raises(BadPicturesError):
        pictures(picture_folder)
    assert list(cache.iterdir()) == []


def test_an_interruption_is_not_hidden(wanted, picture_folder, cache, windows, monkeypatch):
    """By the refusal to delete what was begun: its frames have that mapped still."""

    def interrupt(array):
        raise KeyboardInterrupt

    monkeypatch.setattr(packing, "channel_sums", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pictures(picture_folder)
    gc.collect()
    packing.clear_cache()
    assert list(cache.iterdir()) == []


def test_pictures_whose_pack_is_in_another_s_way(
    wanted, picture_folder, cache, windows, monkeypatch, caplog
):
    """They are read from where they were decoded to."""
    replace = os.replace

    def refuse(source, target):
        if str(target).endswith(".npy"):
            raise PermissionError(errno.EACCES, "Access is denied", str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    images = pictures(picture_folder)
    assert torch.equal(images, wanted)
    (record,) = caplog.records
    assert record.getMessage().endswith(f"cannot be kept in {cache}: Access is denied")
    assert len(list(cache.glob("*.tmp"))) == 2
    packing.clear_cache()
    (left,) = cache.iterdir()  # the test part is used no longer
    assert str(left) in MAPS.read_text()
    del images
    packing.clear_cache()
    assert list(cache.iterdir()) == []


# --- what it takes


def test_a_large_pack_is_told_of_once(wanted, picture_folder, cache, monkeypatch, caplog):
    monkeypatch.setattr(packing, "_LARGE", 36 * 3 * 32 * 32 - 1)  # the test part has 12 pictures
    for _ in range(2):
        assert torch.equal(pictures(picture_folder), wanted)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    title = f"{picture_folder.name}/train"
    assert record.getMessage() == f"the decoded pictures of {title} take 0.0 GB in {cache}"


def test_a_pack_of_a_size_that_is_not_worth_a_word():
    assert packing._LARGE == 2**30
    assert packing._gigabytes(1_281_167 * 3 * 224 * 224) == "192.9 GB"


@pytest.mark.parametrize("when", ["at first", "cleared"])
def test_pictures_that_fit_nowhere(wanted, picture_folder, cache, monkeypatch, caplog, when):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    sums = packing.channel_sums

    def cleared(array):
        packing.clear_cache()
        return sums(array)

    if when == "cleared":
        monkeypatch.setattr(packing, "channel_sums", cleared)
        reason = os.strerror(errno.ENOENT)
    else:
        monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
        reason = "No space left on device"
    needed = 36 * 3 * 32 * 32
    monkeypatch.setattr(packing, "machine_memory", lambda: 2 * needed)
    assert torch.equal(pictures(picture_folder), wanted)
    caplog.clear()
    monkeypatch.setattr(packing, "machine_memory", lambda: 2 * needed - 1)
    with pytest.raises(UsageError) as caught:
        pictures(picture_folder)
    said = str(caught.value)
    assert len(said.splitlines()) == 1
    assert said.startswith(
        f"the decoded pictures of {picture_folder.name}/train take 0.0 GB, which neither {cache} "
        f"can keep ({reason}; "
    )
    assert said.endswith(
        " GB are free) nor half of 0.0 GB of memory: free disk, set COMPACT_VIT_CACHE to a folder "
        "with room, or choose a smaller --img-size"
    )
    assert not list(cache.glob("*.tmp"))


def test_memory_that_the_system_does_not_tell_of(wanted, picture_folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COMPACT_VIT_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(packing, "machine_memory", lambda: 0)
    with pytest.raises(UsageError, match="COMPACT_VIT_CACHE"):
        pictures(picture_folder)
    monkeypatch.setattr(packing, "machine_memory", lambda: None)
    assert torch.equal(pictures(picture_folder), wanted)
