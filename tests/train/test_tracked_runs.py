"""A run that TensorBoard and Weights & Biases are told of, from its start to after a stop."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from compact_vit.errors import UsageError
from compact_vit.train import resume, train
from compact_vit.train.cli import build_parser, main

pytest.importorskip("tensorboard")


def told(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run: name -> steps and values."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard")).Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def test_a_stopped_run_goes_on_in_the_same_curves(tiny, tmp_path) -> None:
    config = tiny(epochs=3, val_fraction=0.25, track=("tensorboard",))

    def stop(row) -> None:
        if row["epoch"] == 2:
            raise LookupError

    with pytest.raises(LookupError):
        train(config, output=tmp_path / "run", quiet=True, on_epoch=stop)
    history = resume(tmp_path / "run", quiet=True).history
    shown = told(tmp_path / "run")
    for name in ("loss", "accuracy"):
        for split in ("train", "val"):
            rows = [(row["epoch"], pytest.approx(row[f"{split}_{name}"])) for row in history]
            assert shown[f"{name}/{split}"] == rows
    before = sorted((tmp_path / "run" / "tensorboard").iterdir())
    resume(tmp_path / "run", quiet=True)  # which has finished
    assert sorted((tmp_path / "run" / "tensorboard").iterdir()) == before


def test_nothing_is_told_unless_it_is_asked_for(tiny, tmp_path) -> None:
    train(tiny(epochs=1), output=tmp_path / "run", quiet=True)
    assert not {"tensorboard", "wandb"} & {path.name for path in (tmp_path / "run").iterdir()}


def test_who_is_told_on_the_command_line(tiny, tmp_path, capsys, monkeypatch) -> None:
    words = ["--track", "tensorboard", "wandb"]
    assert build_parser().parse_args(words).track == ("tensorboard", "wandb")
    twice = ["--track", "tensorboard", "--track", "wandb"]
    assert build_parser().parse_args(twice).track == ("tensorboard", "wandb")
    assert main(["--track", "tensorbored"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: unknown track 'tensorbored': did you mean 'tensorboard'?"
    ]
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "wandb" else find(name, *a)
    )
    with pytest.raises(UsageError, match="--track wandb needs the package wandb: pip install"):
        train(tiny(track=("wandb",)), output=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_head_is_a_model_option() -> None:
    words = ["--model-options", "pretrained=w.pth", "--head", "1024,256,64,16"]
    found = build_parser().parse_args(words).model_options
    assert found == {"pretrained": "w.pth", "head": (1024, 256, 64, 16)}
    assert build_parser().parse_args(["--head", "64"]).model_options == {"head": (64,)}


def test_pretrained_models_of_timm_see_pictures_as_they_were_trained(tiny, monkeypatch) -> None:
    from compact_vit.train.inputs import load_splits

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
    model = {"model": "timm/resnet10t", "img_size": 32}
    splits = load_splits(tiny(**model, model_options={"pretrained": True}))
    assert (splits.mean, splits.std) == (mean, std)
    assert load_splits(tiny(**model)).mean == load_splits(tiny(img_size=32)).mean != mean
