"""A run that starts from another run's weights: which of them, what is new, and going on."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from compact_vit.errors import UsageError
from compact_vit.layers import resize_positions
from compact_vit.train import load_model, resume, train
from compact_vit.train.cli import main
from compact_vit.train.inputs import load_splits
from compact_vit.train.progress import Progress
from compact_vit.train.run import RunFolder
from compact_vit.train.start import start_from
from compact_vit.train.state import TrainState, build_state


@pytest.fixture
def source(tiny, tmp_path) -> Path:
    """A run of two epochs, best after one of them, by its validation split."""
    train(tiny(val_fraction=0.25), output=tmp_path / "source", quiet=True)
    return tmp_path / "source"


@pytest.fixture
def state(tiny):
    """The state before the first step of a configuration."""

    def built(**values) -> TrainState:
        config = tiny(**values)
        return build_state(config, load_splits(config), torch.device("cpu"))

    return built


def test_the_weights_are_the_runs(source, state, same) -> None:
    started = state(seed=5)
    kept = load_model(source).model.state_dict()
    assert not same(started.model.state_dict(), kept)
    start_from(started, str(source))
    assert same(started.model.state_dict(), kept)
    epoch = load_model(source).epoch
    assert started.choices.notes[-1] == f"starting from epoch {epoch} of {source}"
    shutil.copy(source / "last.pt", source / "best.pt")
    last = load_model(source, "last").model.state_dict()
    start_from(started, str(source))
    assert same(started.model.state_dict(), last)


def test_a_head_for_other_classes_is_new(source, state, picture_folder) -> None:
    for split in ("train", "test"):
        shutil.rmtree(picture_folder / split / "red")
    started = state()
    head = {k: v.clone() for k, v in started.model.state_dict().items() if k.startswith("head")}
    start_from(started, str(source))
    kept = load_model(source).model.state_dict()
    for name, value in started.model.state_dict().items():
        assert torch.equal(value, head.get(name, kept[name])), name
    assert head["head.weight"].shape == (2, 128)
    assert started.choices.notes[-1].endswith("; a new head for 2 classes, not 3")


@pytest.mark.parametrize(("before", "after"), [(16, 32), ((16, 32), (24, 16))])
def test_positions_of_another_grid_are_resized(tiny, tmp_path, state, before, after) -> None:
    train(tiny(img_size=before, epochs=1), output=tmp_path / "source", quiet=True)
    started = state(img_size=after)
    start_from(started, str(tmp_path / "source"))
    kept = load_model(tmp_path / "source").model.state_dict()
    grids = [
        tuple(side // 8 for side in ((size, size) if isinstance(size, int) else size))
        for size in (before, after)
    ]
    kept["positions.table"] = resize_positions(kept["positions.table"], *grids)
    for name, value in started.model.state_dict().items():
        assert torch.equal(value, kept[name]), name
    (h, w), (height, width) = grids
    said = f"; positions resized from {h}x{w} tokens to {height}x{width}"
    assert started.choices.notes[-1].endswith(said)


@pytest.mark.parametrize("model", ["cvt_4_8", "cvt_2_4", "vit_lite_2_8", "cct_2_3x1"])
def test_another_architecture_is_refused(source, tiny, tmp_path, model) -> None:
    config = tiny(model=model, init_from=source)
    said = r"^init_from must be a run of this model, got .*, of cvt_2_8: "
    with pytest.raises(UsageError, match=said) as caught:
        train(config, output=tmp_path / "run", quiet=True)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_what_is_no_finished_run(tiny, tmp_path, source) -> None:
    def refused(said: str) -> None:
        with pytest.raises(UsageError, match=said):
            train(tiny(init_from=str(source)), output=tmp_path / "run", quiet=True)
        assert not (tmp_path / "run").exists()

    (source / "best.pt").unlink()
    (source / "last.pt").write_bytes(b"nothing")
    refused("is damaged or not a checkpoint")
    (source / "last.pt").unlink()
    refused("no checkpoint at")
    shutil.rmtree(source)
    refused("is not the folder of a run")


def test_it_goes_on_without_the_first_run(source, everything, tmp_path, assert_same_run) -> None:
    """Stopped in the midst, and before the first checkpoint, when it reads the weights anew."""
    config = everything(init_from=source)
    whole = train(config, output=tmp_path / "whole", quiet=True)
    other = train(everything(), output=tmp_path / "other", quiet=True)
    assert whole.history[0]["train_loss"] != other.history[0]["train_loss"]
    began = RunFolder.create(tmp_path / "began", whole.config)
    assert_same_run(resume(began.path, quiet=True), whole)

    original, calls = Progress.end_epoch, []

    def stopped(self, row):
        calls.append(1)
        if len(calls) == 2:
            raise OSError("the machine goes off")
        original(self, row)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "end_epoch", stopped)
        with pytest.raises(OSError, match="goes off"):
            train(config, output=tmp_path / "stopped", quiet=True)
    shutil.rmtree(source)
    assert_same_run(resume(tmp_path / "stopped", quiet=True), whole)


def test_from_the_command_line(source, picture_folder, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    words = [
        "--dataset",
        "folder",
        "--data-dir",
        str(picture_folder),
        "--model",
        "cvt_2_8",
        "--img-size",
        "16",
        "--epochs",
        "1",
        "--device",
        "cpu",
        "--batch-size",
        "12",
    ]
    assert main([*words, "--init-from", "source", "--output", "run"]) == 0
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if "starting from" in line] == [
        f"starting from epoch {load_model(source).epoch} of source"
    ]
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["init_from"] == os.path.abspath("source")
    assert main(["--resume", "run"]) == 0
    assert "starting from" not in capsys.readouterr().err
    assert main([*words, "--init-from", "sauce", "--output", "other"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "other").exists()
