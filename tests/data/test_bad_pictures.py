"""Bad files in a folder: all found before training, refused together or left out and counted."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from compact_vit.cli import main
from compact_vit.data import packing
from compact_vit.data.datasets import load_dataset
from compact_vit.data.packing import BadPicturesError
from compact_vit.errors import UsageError
from compact_vit.train.config import TrainConfig
from compact_vit.train.inputs import load_splits

NONE = "no whole JPEG, PNG, WEBP, GIF, BMP, TIFF or PPM"
#: what is wrong with which file, and how it is said
BAD = {
    "train/blue/01.jpg": (b"", "it is empty"),
    "train/green/notes.txt": (b"remember the milk", NONE),
    "train/green/zz.png": (b"GIF89a", NONE),
    "train/red/09.png": (None, "a link to nowhere"),
    "test/red/00.png": (b"P6 60000 60000 255\n", "it declares more than 134,217,728 pixels"),
    "test/red/03.png": (b"P6 32 32 255\n123", "image file is truncated"),
}
THEN = "repair or remove what is bad, or train with --on-bad-picture skip to leave it out"


def spoil(folder: Path) -> None:
    for name, (content, _) in BAD.items():
        path = folder / name
        path.unlink(missing_ok=True)
        path.symlink_to("elsewhere.png") if content is None else path.write_bytes(content)


def refusal(folder: Path, on_bad_picture: str = "refuse") -> str:
    with pytest.raises(UsageError) as caught:
        load_dataset("folder", data_dir=folder, on_bad_picture=on_bad_picture)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def skipping(folder: Path):
    return load_dataset("folder", data_dir=folder, on_bad_picture="skip")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- refused


def test_all_are_found_at_once(picture_folder, cache, decoded):
    spoil(picture_folder)
    said = refusal(picture_folder)
    assert said.startswith("cannot read 6 of 50 pictures: ")
    for name, (_, why) in list(BAD.items())[:3]:
        assert f"{picture_folder / name} ({why})" in said
    assert said.endswith(f" and 3 more: {THEN}")
    assert len(decoded) == 50
    assert contents(cache) == {}


def test_one_is_named(picture_folder, cache):
    broken = picture_folder / "train" / "red" / "09.png"
    broken.write_bytes(broken.read_bytes()[:300])
    said = refusal(picture_folder)
    assert said.startswith(f"cannot read the picture {broken}: image file is truncated")
    assert said.endswith(f": {THEN}")
    # the part that is whole is kept, the other is not
    assert len(contents(cache)) == 2
    assert len(np.load(next(cache.glob("*.npy")))) == 12


def test_every_path_can_be_asked_for(picture_folder):
    spoil(picture_folder)
    with pytest.raises(BadPicturesError) as caught:
        load_dataset("folder", data_dir=picture_folder)
    names = [os.path.relpath(path, picture_folder) for path, _ in caught.value.found]
    assert names == list(BAD)
    assert caught.value.total == 50


def test_unknown_choice():
    with pytest.raises(UsageError, match="unknown on_bad_picture 'skp': did you mean 'skip'"):
        load_dataset("digits", on_bad_picture="skp")
    with pytest.raises(UsageError, match="unknown on_bad_picture 'True': choose from refuse"):
        TrainConfig(on_bad_picture=True)


# --- left out


def test_skipped_pictures_leave_no_trace(picture_folder, tmp_path, caplog):
    """The rest is what a folder without them gives, to the bit."""
    spoil(picture_folder)
    seen = skipping(picture_folder)
    (record,) = caplog.records
    assert record.getMessage().startswith("warning: cannot read 6 of 50 pictures: ")
    assert record.getMessage().endswith(" and 3 more: left out")
    drawn = load_dataset("folder", data_dir=picture_folder / "train", on_bad_picture="skip",
                         test_fraction=0.25)  # fmt: skip
    said = caplog.records[-1].getMessage()
    assert said.endswith(": left out; keep them there, for the test pictures are drawn among them")
    for name in BAD:
        (picture_folder / name).unlink()
    wanted = load_dataset("folder", data_dir=picture_folder)
    assert (seen.skipped, wanted.skipped) == (6, 0)
    for part in ("train", "test"):
        assert torch.equal(getattr(seen, part).images, getattr(wanted, part).images)
        assert torch.equal(getattr(seen, part).labels, getattr(wanted, part).labels)
    assert (seen.mean, seen.std, seen.classes) == (wanted.mean, wanted.std, wanted.classes)
    assert wanted.divided_as(seen.marks())  # so a run can be tested and go on without them
    assert len(drawn.train) + len(drawn.test) == 34
    assert len(seen.train) == 34  # two of 36 are bad, and two more files that never were good
    assert len(seen.test) == 10


@pytest.mark.parametrize("workers", [1, 2])
def test_skipping_does_not_depend_on_the_number_of_workers(
    picture_folder, cache, monkeypatch, workers
):
    spoil(picture_folder)
    wanted = skipping(picture_folder)
    kept = contents(cache)
    packing.clear_cache()
    started = []

    class Spy(packing.Decoder):
        def __init__(self, store: Path) -> None:
            super().__init__(store)
            started.append(store)

    monkeypatch.setattr(packing, "Decoder", Spy)
    monkeypatch.setattr(packing, "usable_cores", lambda: workers)
    monkeypatch.setattr(packing, "_MANY", 1)
    monkeypatch.setattr(packing, "_CHUNK", 5)
    seen = skipping(picture_folder)
    assert len(started) == (0 if workers == 1 else 2 * workers)
    assert torch.equal(seen.train.images, wanted.train.images)
    assert (seen.mean, seen.skipped) == (wanted.mean, wanted.skipped)
    assert contents(cache) == kept
    packing.clear_cache()
    assert refusal(picture_folder).startswith("cannot read 6 of 50 pictures: ")


def test_a_pack_knows_what_it_leaves_out(picture_folder, cache, decoded, caplog):
    spoil(picture_folder)
    first = skipping(picture_folder)
    kept = contents(cache)
    assert len(decoded) == 50
    again = skipping(picture_folder)
    assert torch.equal(first.train.images, again.train.images)
    assert torch.equal(first.train.labels, again.train.labels)
    assert again.skipped == 6
    assert len(caplog.records) == 2
    assert caplog.records[0].getMessage() == caplog.records[1].getMessage()
    assert refusal(picture_folder).startswith("cannot read 6 of 50 pictures: ")
    assert len(decoded) == 50
    assert contents(cache) == kept


def test_a_repaired_picture_is_noticed(picture_folder, decoded):
    spoil(picture_folder)
    assert skipping(picture_folder).skipped == 6
    Image.new("RGB", (32, 32), (1, 2, 3)).save(picture_folder / "train" / "blue" / "01.jpg")
    assert skipping(picture_folder).skipped == 5
    Image.new("RGB", (32, 32), (4, 5, 6)).save(picture_folder / "train" / "red" / "elsewhere.png")
    splits = skipping(picture_folder)
    assert splits.skipped == 4
    assert len(splits.train) == 34 + 1 + 2  # the link, and what it leads to
    for name in list(BAD)[1:3] + list(BAD)[4:]:
        (picture_folder / name).unlink()
    before = len(decoded)
    assert load_dataset("folder", data_dir=picture_folder).skipped == 0
    assert len(decoded) == before + 37 + 10


def test_nothing_bad_is_one_pack_for_both(picture_folder, decoded, caplog):
    skipping(picture_folder)
    assert load_dataset("folder", data_dir=picture_folder).skipped == 0
    assert len(decoded) == 48
    assert not caplog.records


def test_nowhere_to_keep_a_pack(picture_folder, tmp_path, monkeypatch):
    spoil(picture_folder)
    wanted = skipping(picture_folder)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COMPACT_VIT_CACHE", str(tmp_path / "file" / "cache"))
    seen = skipping(picture_folder)
    assert torch.equal(seen.train.images, wanted.train.images)
    assert (seen.mean, seen.std, seen.skipped) == (wanted.mean, wanted.std, wanted.skipped)
    assert refusal(picture_folder).startswith("cannot read 6 of 50 pictures: ")


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_class_that_nothing_is_left_of(picture_folder, part):
    for path in (picture_folder / part / "green").iterdir():
        path.write_bytes(b"")
    said = refusal(picture_folder, "skip")
    assert f"class folder {picture_folder / part / 'green'}: wanted pictures, and none" in said
    assert f"none of its {12 if part == 'train' else 4} files" in said


def test_nothing_left(picture_folder, cache):
    for path in picture_folder.glob("train/*/*"):
        path.write_bytes(b"")
    said = refusal(picture_folder, "skip")
    assert said.startswith("cannot read 36 of 48 pictures: ")
    assert said.endswith(" and 33 more: repair or remove what is bad")
    assert len(contents(cache)) == 2  # the test part's


# --- by the command


def test_a_run(picture_folder, tmp_path, capsys):
    spoil(picture_folder)
    run = tmp_path / "run"
    words = f"train --dataset folder --data-dir {picture_folder} --model cvt_2_8 --img-size 16"
    words += f" --epochs 1 --device cpu --quiet --output {run}"
    assert main(words.split()) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert shown.err.startswith("error: cannot read 6 of 50 pictures: ")
    assert not run.exists()
    assert main([*words.split(), "--on-bad-picture", "skip"]) == 0
    summary = json.loads((run / "summary.json").read_text())
    assert summary["skipped_pictures"] == 6
    assert summary["train_pictures"] == 34
    assert summary["final"]["n"] == 10
    assert main(["evaluate", str(run)]) == 0
    config = TrainConfig.from_dict(json.loads((run / "config.json").read_text()))
    assert load_splits(config).skipped == 6
