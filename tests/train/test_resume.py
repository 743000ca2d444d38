"""A run that was stopped and goes on is the run that was not stopped, bit for bit."""

from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image

from compact_vit.errors import UsageError
from compact_vit.evaluate import evaluate_run
from compact_vit.train import load_model, loop, resume, save, train
from compact_vit.train.checkpoint import load_checkpoint, save_checkpoint
from compact_vit.train.cli import main
from compact_vit.train.progress import Progress
from compact_vit.train.run import RunFolder


class PowerError(Exception):
    """The machine goes off."""


def stop_when(monkeypatch, owner: object, name: str, call: int) -> None:
    """Make the ``call``-th call of ``owner.name`` stop the run before it does anything."""
    original, calls = getattr(owner, name), []

    def counted(*args, **options):
        calls.append(1)
        if len(calls) == call:
            raise PowerError
        return original(*args, **options)

    monkeypatch.setattr(owner, name, counted)


#: where the run is stopped, and how many epochs its last checkpoint has
STOPS = {
    "after an epoch": (Progress, "end_epoch", 2, 2),
    "within an epoch": (Progress, "advance", 3 * 3 + 2, 3),
    "before the line of an epoch": (RunFolder, "append_metrics", 3, 2),
    "after the line, before the checkpoint": (save, "save_checkpoint", 3, 2),
    "before the summary": (RunFolder, "write_json", 2, 4),
}


def stopped_and_resumed(config, folder, stop) -> loop.TrainResult:
    owner, name, call, epochs = stop
    with pytest.MonkeyPatch.context() as patch:
        stop_when(patch, owner, name, call)
        with pytest.raises(PowerError):
            train(config, output=folder, quiet=True)
    assert load_checkpoint(folder / "last.pt")["epoch"] == epochs
    assert not (folder / "summary.json").exists()
    return resume(folder, quiet=True)


def without_clock(summary: dict) -> dict:
    return {k: v for k, v in summary.items() if k not in ("seconds", "pictures_per_second")}


@pytest.mark.parametrize("where", STOPS)
def test_the_same_run(everything, tmp_path, timeless, same, where) -> None:
    config = everything()
    whole = train(config, output=tmp_path / "whole", quiet=True)
    result = stopped_and_resumed(config, tmp_path / "stopped", STOPS[where])
    assert same(result.model.state_dict(), whole.model.state_dict())
    last, wanted = (load_checkpoint(tmp_path / f / "last.pt") for f in ("stopped", "whole"))
    assert same(last, wanted)  # weights, averages, optimiser, schedule, generators
    assert timeless(result.history) == timeless(whole.history)
    rows = [json.loads(line) for line in (tmp_path / "stopped" / "metrics.jsonl").open()]
    assert rows == result.history
    assert without_clock(result.summary) == without_clock(whole.summary)
    names = [sorted(p.name for p in (tmp_path / f).iterdir()) for f in ("stopped", "whole")]
    assert names[0] == names[1]


@pytest.mark.parametrize("values", [{"val_fraction": 0.25}, {"precision": "fp16", "ema": 0.0}])
def test_with_a_validation_split_and_with_a_scaler(everything, tmp_path, same, values) -> None:
    config = everything(**values)
    whole = train(config, output=tmp_path / "whole", quiet=True)
    result = stopped_and_resumed(config, tmp_path / "stopped", STOPS["after an epoch"])
    assert without_clock(result.summary) == without_clock(whole.summary)
    for name in ("last.pt", "best.pt"):
        one, other = (load_checkpoint(tmp_path / f / name) for f in ("stopped", "whole"))
        assert same(one, other)


def test_another_machine_may_need_another_precision(everything, tmp_path) -> None:
    """Stopped where bf16 is fast, it goes on where fp16 is, whose scaler begins then."""
    with pytest.MonkeyPatch.context() as patch:
        stop_when(patch, Progress, "end_epoch", 2)
        with pytest.raises(PowerError):
            train(everything(precision="bf16", ema=0.0), output=tmp_path / "run", quiet=True)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert load_checkpoint(tmp_path / "run" / "last.pt")["training"]["scaler"] == {}
    (tmp_path / "run" / "config.json").write_text(json.dumps(config | {"precision": "fp16"}))
    assert resume(tmp_path / "run", quiet=True).summary["precision"] == "fp16"
    assert load_checkpoint(tmp_path / "run" / "last.pt")["training"]["scaler"]["scale"] > 0


def test_a_finished_run_comes_back_as_it_is(everything, tmp_path, same) -> None:
    first = train(everything(val_fraction=0.25), output=tmp_path / "run", quiet=True)
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir() if p.suffix != ".png"}
    again = resume(tmp_path / "run", quiet=True)
    assert again.summary == first.summary
    assert again.history == first.history
    assert same(again.model.state_dict(), first.model.state_dict())
    for name, content in before.items():
        assert (tmp_path / "run" / name).read_bytes() == content


def test_the_record_of_a_finished_run_is_not_taken_anew(run) -> None:
    elsewhere = json.loads((run / "summary.json").read_text()) | {"hardware": "another machine"}
    (run / "summary.json").write_text(json.dumps(elsewhere))
    assert resume(run, quiet=True).summary["hardware"] == "another machine"


@pytest.fixture
def run(tiny, tmp_path):
    train(tiny(), output=tmp_path / "run", quiet=True)
    return tmp_path / "run"


def test_what_cannot_go_on(run, picture_folder, tmp_path) -> None:
    def refused(said: str) -> None:
        with pytest.raises(UsageError, match=said) as caught:
            resume(run, quiet=True)
        assert len(str(caught.value).splitlines()) == 1

    last = load_checkpoint(run / "last.pt")
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "model": "cvt_4_8"}))
    refused("model was 'cvt_2_8' and is 'cvt_4_8'")
    older = {k: v for k, v in last.items() if k not in ("format", "config")}
    save_checkpoint(run / "last.pt", older)
    refused("last.pt' is not a checkpoint of this run")
    save_checkpoint(run / "last.pt", {k: v for k, v in last.items() if k != "format"})
    (run / "config.json").write_text(json.dumps({**config, "epochs": 7}))
    refused(r"config\.json of .* has changed since the run began: epochs was 2 and is 7")
    (run / "config.json").write_text(json.dumps(config))
    shutil.copy(run / "best.pt", run / "last.pt")  # has no optimiser
    refused("last.pt' is not a checkpoint of this run: 'training'")
    save_checkpoint(run / "last.pt", {k: v for k, v in last.items() if k != "format"})
    resume(run, quiet=True)
    (run / "metrics.jsonl").unlink()
    refused("metrics.jsonl' does not hold epochs 1 to 2")
    for split in ("train", "test"):
        moved = next((picture_folder / split / "red").iterdir())
        there = picture_folder / split / "blue" / f"moved{moved.suffix}"
        moved.rename(there)  # a label put right
        refused("the data set has changed .* its labels, the names")
        there.rename(moved)
    other = moved.rename(moved.with_name(f"zzz{moved.suffix}"))  # drawn in another place
    refused("the data set has changed .* names of its files or the arrays .* are others")
    other.rename(moved)
    shutil.copytree(picture_folder / "train" / "red", picture_folder / "train" / "yellow")
    refused("the data set has changed .* had 3 classes and .* now has 4")
    shutil.rmtree(picture_folder / "train" / "yellow")
    first = next((picture_folder / "train" / "red").iterdir())
    shutil.copy(first, first.with_name(f"again{first.suffix}"))
    refused("the data set has changed .* training pictures, and now has 3 and")
    shutil.copy(first, first.with_name(f"again{first.suffix}")).unlink()
    (run / "last.pt").unlink()
    (run / "last.previous.pt").unlink()
    (run / "metrics.jsonl").write_text("{}\n" * 2)  # two epochs were done
    refused("no checkpoint at")
    (run / "config.json").unlink()
    refused("is not the folder of a run")


def test_pictures_that_are_drawn_anew_are_said(tiny, picture_folder, tmp_path) -> None:
    """Not that the checkpoint is of something else: what is held out moves the mean too."""
    classes = picture_folder / "train"
    white = sorted((classes / "red").iterdir())[-4:]
    for path in white:
        Image.new("RGB", (32, 32), "white").save(path)
    config = tiny(data_dir=str(classes), test_fraction=0.25, epochs=1)
    train(config, output=tmp_path / "run", quiet=True)
    for path in white:
        path.rename(path.with_name(f"!{path.name}"))
    with pytest.raises(UsageError, match=r"data set has changed since .* was trained: its lab"):
        resume(tmp_path / "run", quiet=True)


def test_pictures_that_cannot_be_divided_any_more(tiny, picture_folder, tmp_path) -> None:
    train(tiny(val_fraction=0.25, epochs=1), output=tmp_path / "run", quiet=True)
    for path in sorted((picture_folder / "train" / "red").iterdir())[1:]:
        path.unlink()
    for again in (resume, evaluate_run):
        with pytest.raises(UsageError, match="cannot be divided any more as it was then: put the"):
            again(tmp_path / "run")


OTHERS = {
    "seed": 5, "lr": 1e-3, "batch_size": 6, "ema": 0.5, "label_smoothing": 0.0, "epochs": 7,
    "weight_decay": 0.0, "optimizer": "sgd", "dropout": 0.5, "img_size": 24, "val_fraction": 0.25,
}  # fmt: skip


def test_no_choice_changes_under_a_run(run) -> None:
    config = json.loads((run / "config.json").read_text())
    for name, value in OTHERS.items():
        (run / "config.json").write_text(json.dumps({**config, name: value}))
        with pytest.raises(UsageError, match=f"has changed since the run began: {name} was"):
            resume(run, quiet=True)


def test_where_the_pictures_have_moved(tiny, picture_folder, tmp_path, same, capsys) -> None:
    config = tiny(val_fraction=0.25)
    train(config, output=tmp_path / "whole", quiet=True)
    with pytest.MonkeyPatch.context() as patch:
        stop_when(patch, Progress, "end_epoch", 1)
        with pytest.raises(PowerError):
            train(config, output=tmp_path / "run", quiet=True)
    moved = picture_folder.rename(tmp_path / "moved")
    assert main(["--resume", str(tmp_path / "run"), "--quiet"]) == 2
    assert "if it has moved, --data-dir says where to\n" in capsys.readouterr().err
    words = ["--resume", str(tmp_path / "run"), "--data-dir", str(moved), "--quiet"]
    assert main(words) == 0
    ends = (load_checkpoint(tmp_path / name / "last.pt") for name in ("whole", "run"))
    assert same(*(end["weights"] for end in ends))
    assert RunFolder.open(tmp_path / "run").config().data_dir == str(moved)
    assert main([*words, "--epochs", "9"]) == 2
    assert (
        "leave out --epochs, or begin another run of its data set and model with --init-from"
        in capsys.readouterr().err
    )


def test_a_run_in_the_home_folder(tiny, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert train(tiny(epochs=1), output="~/run", quiet=True).output == tmp_path / "run"
    assert resume("~/run", quiet=True).output == tmp_path / "run"
    assert load_model("~/run").epoch == 1
