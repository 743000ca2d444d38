"""``python -m compact_vit.export``: a run's weights, tested as they are written."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from compact_vit import CompactTransformer
from compact_vit.data import load_dataset
from compact_vit.errors import UsageError
from compact_vit.evaluate import evaluate_pictures
from compact_vit.export import command_of, export_run, main
from compact_vit.report import summarize
from compact_vit.train import load_model, resume, train
from compact_vit.train.cli import build_parser
from compact_vit.train.config import TrainConfig


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A finished run on the digits, with a best epoch beside the last."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    chosen = {"val_fraction": 0.2, "seed": 3, "attention_dropout": 0.1}
    chosen |= {"cpu_attention_dropout": False, "precision": "fp32"}
    config = TrainConfig(model="cvt_2_8", epochs=3, device="cpu", **chosen)
    train(config, output=folder, quiet=True)
    return folder


@pytest.fixture(scope="module")
def baseline(tmp_path_factory) -> Path:
    """A finished run of a model that is no transformer."""
    folder = tmp_path_factory.mktemp("runs") / "baseline"
    config = TrainConfig(model="mlp_naive", epochs=1, device="cpu")
    train(config, output=folder, quiet=True)
    return folder


def right(model: CompactTransformer) -> int:
    """Test digits that ``model`` gets right, step by step."""
    test = load_dataset("digits").test
    mean, std = model.pretrained_cfg["mean"][0], model.pretrained_cfg["std"][0]
    with torch.no_grad():
        said = model((test.images.float() / 255 - mean) / std).argmax(dim=1)
    return int((said == test.labels).sum())


@pytest.mark.skipif(sys.platform != "linux", reason="file names are UTF-8 here")
def test_names_that_are_not_utf8(run, tmp_path) -> None:
    """Of the folder of pictures, which is what the data set is called, and of the output."""
    out = tmp_path / os.fsdecode(b"out \xe9")
    card = export_run(run, out, dataset=os.fsdecode(b"d\xe9"), device="cpu")
    assert card["training"]["dataset"] == r"d\udce9"
    assert r"out \udce9" in (out / "README.md").read_text()
    CompactTransformer.from_pretrained(out)


@pytest.mark.parametrize("half", [False, True])
def test_what_is_written(run, half, tmp_path) -> None:
    card = export_run(run, tmp_path / "out", half=half, checkpoint="last", copy="8 grey",
                      credit="NIST", license="mit", device="cpu")  # fmt: skip
    assert card == json.loads((tmp_path / "out" / "config.json").read_text())
    trained = load_model(run, "last")
    stored = load_file(tmp_path / "out" / "model.safetensors")
    for name, tensor in trained.model.state_dict().items():
        assert torch.equal(stored[name], tensor.half() if half else tensor)
    model = CompactTransformer.from_pretrained(tmp_path / "out")
    assert card["results"]["accuracy"] == pytest.approx(100 * right(model) / 360)
    assert (card["results"]["n"], card["results"]["split"]) == (360, "test")
    written, test = dataclasses.replace(trained, model=model), load_dataset("digits").test
    figures = evaluate_pictures(written, test, "cpu").figures()
    assert {name: card["results"][name] for name in figures} == figures
    assert model.config == trained.model.config
    assert model.pretrained_cfg["label_names"] == trained.classes
    assert (model.transforms().mean, model.transforms().std) == (trained.mean, trained.std)
    known = ("tag", "license", "description")
    said = [model.pretrained_cfg[key] for key in known]
    assert said == ["digits", "mit", "cvt_2_8, trained on digits."]
    summary = json.loads((run / "summary.json").read_text())
    training = card["training"]
    for name in ("recipe", "epochs", "seed", "seconds", "hardware", "versions", "train_pictures"):
        assert training[name] == summary[name]
    assert (training["epoch"], training["seed"]) == (3, 3)
    assert (training["dataset"], training["copy"], training["credit"]) == (
        "digits", "8 grey", "NIST",
    )  # fmt: skip
    size = summarize(model, (1, 16, 16))
    for name in ("parameters", "parameters_without_positions", "macs"):
        assert card["size"][name] == getattr(size, name)
    over = card["results"]["accuracy"] - 70
    expected = max(0, 100 * over / (size.parameters_without_positions / 1e6))
    assert card["size"]["score"]["value"] == pytest.approx(expected)
    if not half:
        for figure in ("accuracy", "top5", "loss"):
            assert card["results"][figure] == pytest.approx(summary["final"][figure])


def test_the_attention_dropout_that_acted_is_told(run, tmp_path) -> None:
    """It is left out on a CPU: the model has it, its training had not."""
    card = export_run(run, tmp_path / "out", test=False)
    assert card["model_args"]["attention_dropout"] == 0.1
    decided = {"precision": "fp32", "attention": "fused", "attention_dropout": 0.0}
    assert decided.items() <= card["training"].items()
    shutil.copytree(run, tmp_path / "older")
    summary = json.loads((run / "summary.json").read_text())
    whole = {name: value for name, value in summary.items() if name not in decided}
    (tmp_path / "older" / "summary.json").write_text(json.dumps(whole))
    card = export_run(tmp_path / "older", tmp_path / "again", test=False)
    assert not decided.keys() & card["training"].keys()
    assert ", fp32, attention dropout 0, " in (tmp_path / "out" / "README.md").read_text()


def test_the_best_epoch_is_the_default(run, tmp_path) -> None:
    card = export_run(run, tmp_path / "out", test=False)
    best = torch.load(run / "best.pt", weights_only=True, map_location="cpu")
    assert card["training"]["epoch"] == best["epoch"]
    model = CompactTransformer.from_pretrained(tmp_path / "out")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, best["weights"][name])
    assert "results" not in card
    assert "score" not in card["size"]
    assert "accuracy" not in (tmp_path / "out" / "README.md").read_text()


def test_a_score_says_of_which_accuracy_it_is(picked, tmp_path) -> None:
    summary = json.loads((picked / "summary.json").read_text())
    assert summary["best"]["epoch"] < summary["final"]["epoch"]
    for checkpoint, figures, said in (
        (None, "best", ", of the epoch picked on the validation split"),
        ("best", "best", ", of the epoch picked on the validation split"),
        ("last", "final", ""),
    ):
        card = export_run(picked, tmp_path / "out", checkpoint=checkpoint, device="cpu")
        assert card["size"]["score"]["accuracy"] == figures
        assert card["results"]["accuracy"] == pytest.approx(summary[figures]["accuracy"])
        assert f"without positions{said} |" in (tmp_path / "out" / "README.md").read_text()


def test_without_a_picked_epoch_the_score_is_the_final_one(tmp_path) -> None:
    train(TrainConfig(model="cvt_2_8", epochs=1, device="cpu"), output=tmp_path / "run", quiet=True)
    card = export_run(tmp_path / "run", tmp_path / "out", device="cpu")
    assert card["size"]["score"]["accuracy"] == "final"


def test_weights_are_tested_in_float32(run, tmp_path, monkeypatch) -> None:
    """Whatever the run computed in: whoever uses them does so."""
    from sklearn.metrics import balanced_accuracy_score

    shutil.copytree(run, tmp_path / "run")
    for name in ("config.json", "summary.json"):
        path = tmp_path / "run" / name
        path.write_text(json.dumps(json.loads(path.read_text()) | {"precision": "bf16"}))
    monkeypatch.setattr("compact_vit.train.machine.multiplies_bf16", lambda device: True)
    card = export_run(tmp_path / "run", tmp_path / "out", device="cpu")
    results = card["results"]
    assert (results["precision"], card["training"]["precision"]) == ("fp32", "bf16")
    model = CompactTransformer.from_pretrained(tmp_path / "out")
    test = load_dataset("digits").test
    mean, std = model.pretrained_cfg["mean"][0], model.pretrained_cfg["std"][0]
    with torch.no_grad():
        logits = model((test.images.float() / 255 - mean) / std)
    loss = torch.nn.functional.cross_entropy(logits.double(), test.labels)
    assert results["loss"] == pytest.approx(loss.item(), rel=1e-5)  # bf16 would keep two digits
    balanced = 100 * balanced_accuracy_score(test.labels, logits.argmax(dim=1))
    assert results["balanced_accuracy"] == pytest.approx(balanced)
    text = (tmp_path / "out" / "README.md").read_text()
    assert f"stored here, computed in fp32; balanced over the classes {balanced:.2f}% |" in text


def test_no_path_of_this_machine_is_told(picture_folder, tmp_path) -> None:
    config = TrainConfig(
        dataset="folder", data_dir=str(picture_folder), model="cvt_2_8", epochs=1, device="cpu"
    )
    train(config, output=tmp_path / "run", quiet=True)
    card = export_run(tmp_path / "run", tmp_path / "out", dataset="colours", device="cpu")
    assert card["training"]["dataset"] == card["pretrained_cfg"]["tag"] == "colours"
    assert card["pretrained_cfg"]["label_names"] == ["blue", "green", "red"]
    for path in (tmp_path / "out").iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()
    shutil.move(picture_folder, tmp_path / "moved")
    with pytest.raises(UsageError, match="does not exist"):
        export_run(tmp_path / "run", tmp_path / "again", device="cpu")
    assert not (tmp_path / "again").exists()
    moved = export_run(tmp_path / "run", tmp_path / "again", data_dir=str(tmp_path / "moved"))
    assert moved["results"] == card["results"]
    assert moved["training"]["dataset"] == "pictures"  # the folder's own name


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dataset": "cifar100", "recipe": "published-300", "model": "cct_6_3x1"},
        {"dataset": "folder", "data_dir": "/x", "img_size": (24, 40), "flip": 0.0},
        {"model": "mlp_naive", "model_options": {"widths": (5, 6), "batch_norm": True}},
        {"attention_dropout": 0.1, "decay_epochs": (2, 3), "schedule": "multistep"},
        {"dataset": "cifar10", "download": False, "compile": "on", "seed": 7, "ema": 0.99},
        {"dataset": "cifar10", "objective": "mae"},
        {"dataset": "cifar10", "objective": "mae", "attention_dropout": 0.0},
        {"dataset": "cifar10", "attention_dropout": 0.1},  # as the recipe has it
        {"dataset": "cifar10", "cpu_attention_dropout": True},
        {"lr": 5e-6},
        {"dataset": "cifar10", "recipe": "best-200", "optimizer": "adamw", "lr": 4e-3},
        {"dataset": "cifar10", "recipe": "best-200", "optimizer": "adamw"},
        {"overfit": 8, "optimizer": "sgd", "lr": 5e-6},
    ],
)
def test_the_command_is_that_configuration(options) -> None:
    config = TrainConfig(**options)
    words = shlex.split(command_of(config))
    assert words[:3] == ["python", "-m", "compact_vit.train"]
    given = vars(build_parser().parse_args(words[3:]))
    fields = TrainConfig.__dataclass_fields__
    again = TrainConfig(**{name: value for name, value in given.items() if name in fields})
    expected = config.to_dict() | ({"data_dir": "PICTURES"} if config.data_dir else {})
    assert json.dumps(again.to_dict()) == json.dumps(expected)  # as config.json holds them


def test_who_was_told_is_not_in_the_command() -> None:
    assert "track" not in command_of(TrainConfig(track=("tensorboard", "wandb")))


def test_other_runs_have_no_path_in_the_command() -> None:
    words = command_of(TrainConfig(init_from="/home/somebody/run"))
    assert "--init-from RUN " in words
    assert "somebody" not in words
    words = command_of(TrainConfig(model="cct_2_3x3", init_from="cct_2_3x3"))
    assert "--init-from cct_2_3x3 " in words  # of the package, where everybody has them
    assert "--teacher timm/vgg11 " in command_of(TrainConfig(teacher="timm/vgg11"))
    assert "--teacher RUN " in command_of(TrainConfig(teacher="/home/somebody/run"))


def test_a_run_that_stopped_early_says_how_many_epochs_it_took(run, tmp_path) -> None:
    stopped = shutil.copytree(run, tmp_path / "stopped")
    config = json.loads((run / "config.json").read_text())
    (stopped / "config.json").write_text(json.dumps(config | {"epochs": 40}))
    for path, epochs in ((run, "3 epochs"), (stopped, "3 epochs of 40 planned")):
        card = export_run(path, tmp_path / "out", test=False, device="cpu")
        assert card["training"]["epochs"] == 3
        text = (tmp_path / "out" / "README.md").read_text()
        assert f"{config['recipe']}, {epochs}, seed 3; these are of epoch" in text


def test_the_command_line(run, tmp_path, capsys) -> None:
    words = [str(run), "--output", str(tmp_path / "out"), "--half", "--device", "cpu"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    size = (tmp_path / "out" / "model.safetensors").stat().st_size / 1e6
    assert lines[0].endswith(f"parameters in float16, {size:.2f} MB")
    epoch = load_model(run).epoch
    assert f"of 360 test pictures by epoch {epoch}, computed in fp32, score" in lines[1]
    assert lines[2] == f"everything is in {tmp_path / 'out'}"
    assert main([*words, "--json"]) == 0  # over what it wrote itself
    card = json.loads(capsys.readouterr().out)
    assert card == json.loads((tmp_path / "out" / "config.json").read_text())
    assert main([*words[:3], "--no-test"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def refused(words: list[str], capsys) -> str:
    """The one line that the command fails with."""
    try:
        status = main(words)
    except SystemExit as leaving:
        status = leaving.code
    captured = capsys.readouterr()
    assert (status, captured.out, captured.err.count("\n")) == (2, "", 1)
    return captured.err


def test_what_is_refused(run, baseline, tmp_path, capsys) -> None:
    out = str(tmp_path / "out")
    assert "arguments are required: RUN" in refused(["--output", out], capsys)
    assert "arguments are required: --output" in refused([str(run)], capsys)
    nowhere = refused([str(tmp_path / "nowhere"), "--output", out], capsys)
    assert "is not the folder of a run" in nowhere
    said = refused([str(baseline), "--output", out], capsys)
    assert f"transformer, got mlp_naive: hand on torch.load('{baseline}/best.pt')['w" in said
    assert torch.load(baseline / "best.pt")["weights"].keys() == (
        load_model(baseline).model.state_dict().keys()
    )
    said = refused([str(run), "--output", out, "--checkpoint", "worst"], capsys)
    assert "unknown checkpoint 'worst'" in said
    assert "got 'tpu'" in refused([str(run), "--output", out, "--device", "tpu"], capsys)
    before = (run / "config.json").read_bytes()
    said = refused([str(run), "--output", str(run), "--device", "cpu"], capsys)
    assert f"output '{run}' is the folder of a run, or of something else" in said
    assert "would be overwritten: choose another" in said
    assert (run / "config.json").read_bytes() == before
    assert not (run / "model.safetensors").exists()
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "config.json").write_text('{"model_type": "vit"}')
    said = refused([str(run), "--output", str(tmp_path / "theirs"), "--no-test"], capsys)
    assert "theirs' is the folder of a run, or of something else with a config.json" in said
    (tmp_path / "note.txt").touch()
    said = refused([str(run), "--output", str(tmp_path / "note.txt"), "--no-test"], capsys)
    assert "output must be a folder" in said
    theirs = {"config.json": '{"architecture": "resnet18", "model_args": {}}'}
    for name, content in (theirs | {"model.safetensors": "of another"}).items():
        folder = tmp_path / f"another-{name}"
        folder.mkdir()
        (folder / name).write_text(content)
        said = refused([str(run), "--output", str(folder), "--no-test"], capsys)
        assert f"something else with a {name}" in said
        assert (folder / name).read_text() == content
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("mine")
    said = refused([str(run), "--output", str(tmp_path / "mine"), "--no-test"], capsys)
    assert "with a README.md, which would be overwritten" in said
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["README.md"]
    unfinished = tmp_path / "unfinished"
    shutil.copytree(run, unfinished)
    (unfinished / "summary.json").unlink()
    said = refused([str(unfinished), "--output", out], capsys)
    assert f"its run has not finished, go on with --resume {unfinished}\n" in said
    assert not Path(out).exists()


@pytest.mark.parametrize("ending", [".onnx", ".pt", ".pth", ".safetensors", ".PT2"])
def test_a_file_of_another_form(run, tmp_path, capsys, ending) -> None:
    output = tmp_path / f"x{ending}"
    said = refused([str(run), "--output", str(output), "--no-test"], capsys)
    assert f"must be a folder, for weights, config.json and a card, got '{output}': leave" in said
    assert (
        "out the ending; for ONNX, torch.export and TorchScript see Weights in the README" in said
    )
    assert not output.exists()
    output.mkdir()  # whoever calls a folder so may have it
    export_run(run, output, test=False)
    export_run(run, tmp_path / "v1.2", test=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [("best", 3), ("seconds", "x"), ("versions", None), ("hardware", 3), ("seconds", None)],
)
def test_a_damaged_summary(run, tmp_path, capsys, name, value) -> None:
    shutil.copytree(run, tmp_path / "run")
    summary = json.loads((run / "summary.json").read_text())
    (tmp_path / "run" / "summary.json").write_text(json.dumps(summary | {name: value}))
    said = refused([str(tmp_path / "run"), "--output", str(tmp_path / "out"), "--no-test"], capsys)
    assert f"damaged: in its summary.json {name} is {value!r}" in said
    assert not (tmp_path / "out").exists()


def test_what_was_learnt_by_heart_is_no_result(tmp_path, capsys) -> None:
    config = TrainConfig(model="cvt_2_8", epochs=1, overfit=8, device="cpu")
    train(config, output=tmp_path / "run", quiet=True)
    said = refused([str(tmp_path / "run"), "--output", str(tmp_path / "out")], capsys)
    assert "has learnt a few pictures by heart, to train and to test on" in said
    assert not (tmp_path / "out").exists()


def test_an_exported_folder_is_no_run(run, tmp_path) -> None:
    export_run(run, tmp_path / "out", test=False)
    said = "out' is weights and not a run: .*predict --pretrained, to train --init-from, and to ev"
    for opened in (load_model, resume, lambda folder: export_run(folder, tmp_path / "again")):
        with pytest.raises(UsageError, match=said):
            opened(tmp_path / "out")
    assert not (tmp_path / "again").exists()


def test_a_runs_model_knows_its_input(run) -> None:
    trained = load_model(run)
    assert trained.model.pretrained_cfg["label_names"] == trained.classes
    image = load_dataset("digits").test.images[0]
    expected = (image / 255 - trained.mean[0]) / trained.std[0]
    torch.testing.assert_close(trained.model.transforms()(image), expected)
    trained.model.reset_classifier(3)
    assert trained.model(expected[None]).shape == (1, 3)
