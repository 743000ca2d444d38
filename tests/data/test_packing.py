"""Packing by processes, packs that replace each other, and the way to be rid of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from compact_vit.data import decoding, packing
from compact_vit.data.datasets import load_dataset
from compact_vit.data.packing import PictureFile, clear_cache, pack
from compact_vit.errors import UsageError

ROOT = Path(__file__).parents[2]
SIZE = (8, 12)


@pytest.fixture
def files(tmp_path) -> list[PictureFile]:
    """A hundred JPEGs and PNGs of many shapes, one of them with a name that is not UTF-8."""
    random = np.random.default_rng(0)
    paths = [tmp_path / f"{i:03d}.{('png', 'jpg')[i % 2]}" for i in range(100)]
    paths[7] = tmp_path / os.fsdecode(b"\xff 007.jpg")
    for i, path in enumerate(paths):
        pixels = random.integers(0, 256, (10 + i % 5, 14 + i % 3, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(path)
    return [PictureFile.of(str(path), path.name, path.stat()) for path in paths]


def one_by_one(files: list[PictureFile]) -> torch.Tensor:
    """What PIL makes of ``files`` [N,3,H,W], without any of the package's code."""
    pictures = []
    for file in files:
        with Image.open(file.path) as image:
            fitted = ImageOps.fit(image, SIZE[::-1], Image.Resampling.BILINEAR)
            pictures.append(torch.from_numpy(np.asarray(fitted).copy()).permute(2, 0, 1))
    return torch.stack(pictures)


@pytest.fixture
def started(monkeypatch) -> list[subprocess.Popen[bytes]]:
    """The decoding processes so far: 2 cores, and a hundred pictures count as many."""
    processes = []

    class Spy(packing.Decoder):
        def __init__(self, store: Path) -> None:
            super().__init__(store)
            processes.append(self._process)

    monkeypatch.setattr(packing, "Decoder", Spy)
    monkeypatch.setattr(packing, "usable_cores", lambda: 2)
    monkeypatch.setattr(packing, "_MANY", 100)
    return processes


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- by processes


def test_the_pack_does_not_depend_on_the_number_of_workers(files, cache, started, monkeypatch):
    packs = []
    for workers, processes in ((1, 0), (2, 2), (3, 3)):
        monkeypatch.setattr(packing, "usable_cores", lambda workers=workers: workers)
        started.clear()
        packed = pack(files, SIZE, "test")
        assert len(started) == processes
        assert all(process.returncode == 0 for process in started)
        assert torch.equal(packed.images, one_by_one(files))
        values = packed.images.double() / 255
        assert packed.mean == pytest.approx(values.mean((0, 2, 3)).tolist(), abs=1e-9)
        assert packed.std == pytest.approx(values.std((0, 2, 3), correction=0).tolist(), abs=1e-9)
        packs.append(contents(cache))
        clear_cache()
    assert packs[0] == packs[1] == packs[2]


def test_few_pictures_start_no_process(files, started):
    pack(files[:99], SIZE, "test")
    assert not started


def test_broken_pictures_are_named_in_their_order(files, cache, started):
    for i in (90, 7, 40):
        Path(files[i].path).write_bytes(b"no picture")
    with pytest.raises(UsageError) as caught:
        pack(files, SIZE, "test")
    said = str(caught.value)
    assert said.startswith("cannot read 3 of 100 pictures: ")
    names = (r"\udcff 007.jpg", "040.png", "090.png")
    places = [said.index(f"{name} (no whole JPEG") for name in names]
    assert places == sorted(places)
    assert len(said.splitlines()) == 1
    assert len(started) == 2
    assert all(process.returncode == 0 for process in started)
    assert not contents(cache)


def test_the_systems_trouble_ends_the_packing(files, cache, started, tmp_path, monkeypatch):
    """A process hands it on: what the disk does not give may be whole, and is not left out."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import errno, PIL.Image\n"
        "def fail(path, **_): raise OSError(errno.EIO, 'Input/output error', path)\n"
        "PIL.Image.open = fail\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    with pytest.raises(UsageError) as caught:
        pack(files, SIZE, "test", skip=True)
    assert str(caught.value) == f"cannot read the picture {files[0].path}: Input/output error"
    assert len(started) == 2
    assert not contents(cache)


@pytest.mark.parametrize("while_it", ["reads", "answers"])
def test_a_process_that_dies_is_not_waited_for(files, cache, started, monkeypatch, while_it):
    class Mortal(packing.Decoder):
        def decode(self, start, paths):
            if start:
                self._process.kill()
                if while_it == "reads":  # nobody does, once it is gone
                    self._process.wait()
            return super().decode(start, paths)

    monkeypatch.setattr(packing, "Decoder", Mortal)
    with pytest.raises(UsageError, match=r"cannot read the pictures .* ended with status -9"):
        pack(files, SIZE, "test")
    assert not contents(cache)


def test_an_interruption_leaves_nothing(files, cache, started, monkeypatch):
    once = iter([True])
    sums = packing.channel_sums

    def interrupted(array):
        if next(once, False):
            os.kill(os.getpid(), signal.SIGINT)
        return sums(array)

    monkeypatch.setattr(packing, "channel_sums", interrupted)
    # what a shell starts in the background ignores it
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            pack(files, SIZE, "test")
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(started) == 2
    assert all(process.returncode == 0 for process in started)
    assert not contents(cache)


def test_decoders_are_not_interrupted_by_the_terminal(files, cache, started):
    pack(files, SIZE, "test")
    array = np.load(next(cache.glob("*.npy")), mmap_mode="r")
    with decoding.Decoder(Path(array.filename)) as decoder:
        assert os.getsid(decoder._process.pid) != os.getsid(0)
        assert os.getpgid(decoder._process.pid) != os.getpgid(0)


def test_a_decoder_ends_with_its_parent(files, tmp_path):
    np.save(tmp_path / "array.npy", np.zeros((1, 3, *SIZE), np.uint8))
    script = (
        "import os; from pathlib import Path; from compact_vit.data.decoding import Decoder\n"
        f"decoder = Decoder(Path({str(tmp_path / 'array.npy')!r}))\n"
        f"decoder._process.stdin.write(b'[0, {json.dumps(files[0].path)}]\\n')\n"
        "decoder._process.stdin.flush()\n"
        "os.kill(os.getpid(), 9)"  # before it can have answered
    )
    # the decoder inherits standard error: that is closed, and the call over, when both are gone
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (-9, b"")
    assert torch.equal(torch.from_numpy(np.load(tmp_path / "array.npy")), one_by_one(files[:1]))


def test_a_script_without_a_main_guard_packs(files, cache):
    """What ``multiprocessing`` would start runs the script again, and refuses to."""
    script = Path(files[0].path).with_name("script.py")
    script.write_text(
        "import os, sys; sys.path.insert(0, sys.argv[1]); print('started', flush=True)\n"
        "from compact_vit.data import decoding, packing\n"
        "packing._MANY, packing.usable_cores = 1, lambda: 2\n"
        "paths = sys.argv[2:]\n"
        "files = [packing.PictureFile.of(p, p, os.stat(p)) for p in paths]\n"
        "print(packing.pack(files, (8, 12), 'test').images.sum().item())\n"
    )
    paths = [os.fsencode(file.path) for file in files]
    done = subprocess.run(
        [sys.executable, script, ROOT, *paths],
        cwd=script.parent,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == [b"started", b"%d" % one_by_one(files).sum()]


# --- what is kept, and what is not


def test_a_changed_folder_replaces_its_own_packs_only(picture_folder, cache):
    load_dataset("folder", data_dir=picture_folder)
    load_dataset("folder", data_dir=picture_folder, img_size=16)
    other = picture_folder.with_name("other")
    for part in ("train", "test"):
        for name in "ab":
            (other / part / name).mkdir(parents=True)
            Image.new("RGB", (32, 32)).save(other / part / name / "x.png")
    load_dataset("folder", data_dir=other)
    before = contents(cache)
    assert len(before) == 2 * 6

    (picture_folder / "test" / "red" / "00.png").unlink()
    assert len(load_dataset("folder", data_dir=picture_folder).test) == 11
    after = contents(cache)
    lost, new = before.keys() - after.keys(), after.keys() - before.keys()
    assert len(lost) == len(new) == 2  # the test part's of 32x32, and its notes
    assert len({name.split(".")[0] for name in lost}) == 1
    assert [len(before[name]) for name in lost if name.endswith("npy")] == [128 + 12 * 3072]


def test_another_machines_packs_of_the_same_path_stay(picture_folder, cache, monkeypatch):
    for name in ("one", "other"):
        monkeypatch.setattr("platform.node", lambda name=name: name)
        load_dataset("folder", data_dir=picture_folder)
        for path in picture_folder.rglob("*.png"):  # as if unpacked there anew
            path.touch()
    assert len(list(cache.glob("*.npy"))) == 4


def test_a_pack_that_another_process_has_kept_meanwhile_stays(picture_folder, cache, monkeypatch):
    """That one may be reading it already, from another machine even."""
    decode = packing._decode_to

    def slower(*given):
        monkeypatch.setattr(packing, "_decode_to", decode)
        load_dataset("folder", data_dir=picture_folder)
        first.extend(path.stat().st_ino for path in sorted(cache.glob("*.npy")))
        return decode(*given)

    first: list[int] = []
    monkeypatch.setattr(packing, "_decode_to", slower)
    load_dataset("folder", data_dir=picture_folder)
    assert [path.stat().st_ino for path in sorted(cache.glob("*.npy"))] == first
    assert len(first) == 2
    assert not list(cache.glob("*.tmp"))


def test_a_link_to_the_folder_is_the_folder(picture_folder, cache):
    link = picture_folder.with_name("link")
    link.symlink_to(picture_folder)
    load_dataset("folder", data_dir=link)
    (picture_folder / "test" / "red" / "00.png").unlink()
    load_dataset("folder", data_dir=picture_folder)
    assert len(contents(cache)) == 4


def test_notes_of_others_are_no_obstacle(picture_folder, cache):
    (cache / "mine.json").write_text("mine")
    (cache / f"{'0' * 32}.json").write_text("[]")
    (cache / f"{'1' * 32}.json").write_text("{")
    load_dataset("folder", data_dir=picture_folder)
    assert len(contents(cache)) == 3 + 4


def test_a_pack_in_use_outlives_its_file(picture_folder):
    splits = load_dataset("folder", data_dir=picture_folder)
    wanted = splits.train.images.clone()
    clear_cache()
    assert torch.equal(splits.train.images, wanted)


def test_clear_cache_deletes_packs_and_nothing_else(picture_folder, cache):
    load_dataset("folder", data_dir=picture_folder)
    key = next(cache.glob("*.npy")).stem
    (cache / f"{key}.123.tmp").write_bytes(b"half a pack")
    (cache / f"{key}.123.json.tmp").write_bytes(b"half")
    size = sum(map(len, contents(cache).values()))
    kept = {"mine.npy": b"1", "data.json": b"2", f"{key}.npy.bak": b"3"}
    for name, data in kept.items():
        (cache / name).write_bytes(data)
    (cache / "data").mkdir()
    assert clear_cache() == size
    (cache / "data").rmdir()
    assert contents(cache) == kept
    assert clear_cache() == 0


def test_what_a_killed_process_left_is_deleted_after_a_day(picture_folder, cache):
    cache.mkdir(exist_ok=True)
    left = {cache / f"{'0' * 32}.{age}.tmp": age for age in (1, 23 * 3600, 25 * 3600)}
    for path, age in left.items():
        path.write_bytes(b"half a pack")
        os.utime(path, (time.time() - age,) * 2)
    load_dataset("folder", data_dir=picture_folder)
    assert [path.exists() for path in left] == [True, True, False]


def test_clearing_a_cache_that_never_was(monkeypatch, tmp_path):
    monkeypatch.setenv("COMPACT_VIT_CACHE", str(tmp_path / "nowhere"))
    assert clear_cache() == 0


def test_a_cache_cleared_while_it_is_packed_into(files, cache, caplog, monkeypatch):
    sums = packing.channel_sums
    monkeypatch.setattr(packing, "channel_sums", lambda array: (clear_cache(), sums(array))[1])
    packed = pack(files, SIZE, "test")
    assert torch.equal(packed.images, one_by_one(files))
    assert len(caplog.records) == 1
    assert not contents(cache)
