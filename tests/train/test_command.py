"""``python -m compact_vit.train``: the same thing as ``train(config)``, from the command line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from compact_vit.train import estimate, load_model, train
from compact_vit.train.cli import main
from compact_vit.train.config import TrainConfig
from compact_vit.train.progress import Progress
from compact_vit.train.run import RunFolder

SMALL = ["--model", "cvt_2_8", "--device", "cpu", "--batch-size", "20", "--epochs", "1"]


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_published_archives(name, request, tmp_path, capsys) -> None:
    folder = request.getfixturevalue(f"tiny_{name}")
    words = ["--dataset", name, "--data-dir", str(folder), "--output", str(tmp_path / "run")]
    assert main([*words, *SMALL, "--json", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    summary = json.loads(captured.out)
    counts = {"cifar10": (10, 200, 50), "cifar100": (100, 400, 200)}[name]
    found = summary["num_classes"], summary["train_pictures"], summary["final"]["n"]
    assert found == counts
    assert summary == json.loads((tmp_path / "run" / "summary.json").read_text())
    config = RunFolder.open(tmp_path / "run").config()
    assert (config.recipe, config.auto_augment, config.lr) == ("published-200", "cifar10", 5e-4)
    trained = load_model(tmp_path / "run")
    assert (
        trained.mean
        == {"cifar10": (0.4914, 0.4822, 0.4465), "cifar100": (0.5071, 0.4867, 0.4408)}[name]
    )
    assert len(trained.classes) == counts[0]


def test_cifar100_beyond_the_published_recipe_is_one_command(tiny_cifar100, tmp_path) -> None:
    words = ["--dataset", "cifar100", "--data-dir", str(tiny_cifar100), "--recipe", "best-200"]
    words += ["--model", "cct2_4_3x2", "--output", str(tmp_path / "run")]
    assert main([*words, "--epochs", "1", "--device", "cpu", "--quiet"]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["num_classes"], summary["final"]["n"]) == (100, 200)
    assert summary["parameters"] < 500_000
    assert summary["recipe"] == "best-200"


def test_it_is_the_same_thing_in_python(picture_folder, tmp_path, capsys, same) -> None:
    words = ["--dataset", "folder", "--data-dir", str(picture_folder), "--img-size", "16x24"]
    assert main([*words, *SMALL, "--seed", "4", "--output", str(tmp_path / "a"), "--quiet"]) == 0
    config = TrainConfig(
        dataset="folder",
        data_dir=str(picture_folder),
        img_size=(16, 24),
        model="cvt_2_8",
        device="cpu",
        batch_size=20,
        epochs=1,
        seed=4,
    )
    assert RunFolder.open(tmp_path / "a").config() == config
    result = train(config, output=tmp_path / "b", quiet=True)
    assert same(result.model.state_dict(), load_model(tmp_path / "a").model.state_dict())


def test_what_a_person_reads(tiny, tmp_path, capsys) -> None:
    words = ["--dataset", "folder", "--data-dir", tiny().data_dir, "--img-size", "16", *SMALL]
    words += ["--epochs", "3", "--batch-size", "12", "--val-fraction", "0.25"]
    assert main([*words, "--output", str(tmp_path / "run")]) == 0
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert lines[0].startswith("cvt_2_8 on pictures, recipe quick, ")
    assert lines[0].endswith(f"writing to {tmp_path / 'run'}")
    epochs = [line for line in lines if line.startswith("epoch ")]
    figure = r"loss \d\.\d{3} accuracy \d+\.\d\d%"
    for i, line in enumerate(epochs, 1):
        start = rf"epoch {i}/3: train {figure}, val {figure}, [\d,]+ pictures/s"
        assert re.fullmatch(start if i == 3 else start + r", \d+ s left", line)
    assert len(epochs) == 3
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    said = captured.out
    assert f"{summary['final']['accuracy']:.2f}% test accuracy on 12 pictures" in said
    assert f"{summary['best']['accuracy']:.2f}% test accuracy of epoch" in said
    assert f"{summary['parameters']:,} parameters" in said
    assert f"everything is in {tmp_path / 'run'}" in said


def test_the_forecast_and_what_takes_less(tiny, tmp_path, capsys, monkeypatch) -> None:
    config = tiny(model="cct_6_3x2", batch_size=6, epochs=1)
    train(config, output=tmp_path / "short")
    said = capsys.readouterr().err
    assert re.search(r"1 epoch will take about \d+ s on this machine\n", said)
    monkeypatch.setattr(estimate, "LONG", 1e-3)
    train(config, output=tmp_path / "long")
    said = capsys.readouterr().err
    forecast = next(line for line in said.splitlines() if "will take about" in line)
    assert re.search(r"; less: --model cct_4_3x2 about \d+ s, --model cct_2_3x2 about", forecast)
    assert "--epochs" not in forecast  # a single epoch cannot be fewer


@pytest.mark.parametrize(("epoch", "told"), [(0, "; less: x"), (1, "")])
def test_a_resumed_run_is_not_told_what_takes_less(tiny, monkeypatch, epoch, told) -> None:
    monkeypatch.setattr(estimate, "LONG", 1e-3)
    monkeypatch.setattr(estimate, "shorter_runs", lambda *args: ["x"])
    said = []
    loader = type("Loader", (list,), {"batch_size": 6})(range(4))
    state = SimpleNamespace(epoch=epoch, loader=loader, model=None)
    progress = SimpleNamespace(first=epoch, quiet=False, say=said.append)
    estimate.Forecast(tiny(epochs=2), state, 12, progress)._announce(1.0)
    assert [line.partition(" on this machine")[2] for line in said] == [told]


def test_the_forecast_leaves_out_what_cannot_be(tiny, tmp_path, capsys, monkeypatch) -> None:
    """A smaller model may not take the options of this one."""
    monkeypatch.setattr(estimate, "LONG", 1e-3)
    options = {"num_heads": 12}  # of 384 features, and neither smaller model's 128 can be shared
    config = tiny(model="cct_14_3x2", model_options=options, batch_size=6, epochs=1)
    train(config, output=tmp_path / "run")
    said = capsys.readouterr().err
    assert "will take about" in said
    assert "--model" not in said


def test_the_forecast_is_arithmetic() -> None:
    # 10 steps of 2 s and 60 pictures evaluated, 5 batches at a third of a step, 3 times
    assert estimate.whole_run(2.0, 10, 60, 12, 3) == pytest.approx(3 * (20 + 5 * 2 / 3))


def test_bars_on_a_terminal(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    progress = Progress(epochs=2, pictures=40)
    progress.start_epoch(1)
    progress.advance(20)
    progress.show(1.5, 50.0, 20)
    row = {"epoch": 1, "train_loss": 1.0, "train_accuracy": 60.0, "test_loss": 2.0}
    progress.end_epoch({**row, "test_accuracy": 40.0, "pictures_per_second": 1234.0})
    progress.close()
    said = capsys.readouterr().err
    for part in ("epochs", "epoch 1", "loss 1.500 accuracy 50.00%", "1,234 pictures/s", "1/2"):
        assert part in said


def test_resume(picture_folder, tmp_path, capsys, monkeypatch) -> None:
    def stop(self, row) -> None:
        raise RuntimeError("the machine goes off")

    words = ["--dataset", "folder", "--data-dir", str(picture_folder), "--img-size", "16", *SMALL]
    words += ["--epochs", "2", "--output", str(tmp_path / "run"), "--quiet"]
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "end_epoch", stop)
        with pytest.raises(RuntimeError, match="the machine goes off"):
            main(words)
    assert main(["--resume", str(tmp_path / "run"), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["final"]["epoch"] == 2
    assert "epoch 2/2" in captured.err
    assert "epoch 1/2" not in captured.err


def test_compiled(tiny, tmp_path, monkeypatch) -> None:
    """With the compiler's back end left out, which is torch's and takes a minute."""
    compilers = []

    def traced(model, *, dynamic):
        compilers.append(type(model).__name__)
        return compiler(model, backend="aot_eager", dynamic=dynamic)

    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", traced)
    plain = train(tiny(epochs=1), output=tmp_path / "plain", quiet=True)
    compiled = train(tiny(epochs=1, compile=True), output=tmp_path / "compiled", quiet=True)
    assert compilers == ["CompactTransformer"]
    assert (plain.summary["compiled"], compiled.summary["compiled"]) == (False, True)
    assert compiled.history[0]["train_loss"] == pytest.approx(
        plain.history[0]["train_loss"], rel=1e-4
    )
    weights = torch.load(tmp_path / "compiled" / "last.pt", weights_only=True)["weights"]
    assert weights.keys() == plain.model.state_dict().keys()  # no prefix of the compiler's


def test_a_compiler_that_fails_leaves_the_run_as_it_was(tiny, tmp_path, monkeypatch, capsys):
    def broken(graph, inputs):
        raise RuntimeError("no such\nback end")

    compiler = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda model, dynamic: compiler(model, backend=broken, dynamic=dynamic)
    )
    plain = train(tiny(epochs=1, dropout=0.2), output=tmp_path / "plain", quiet=True)
    config = tiny(epochs=1, dropout=0.2, compile="on")
    fallen = train(config, output=tmp_path / "fallen")
    assert re.search(r"not compiled: torch.compile fails here: .*no such", capsys.readouterr().err)
    assert fallen.summary["compiled"] is False
    for name, weight in plain.model.state_dict().items():  # bit for bit: no draw was used up
        assert torch.equal(weight, fallen.model.state_dict()[name])


@pytest.mark.parametrize("module", ["compact_vit.train", "compact_vit"])
def test_help_of_the_real_commands(module) -> None:
    command = [sys.executable, "-W", "error", "-m", module, "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    wanted = ("--label-smoothing", "published-300") if module.endswith("train") else ("predict",)
    for word in wanted:
        assert word in done.stdout


def test_the_real_command_refuses_in_one_line(tmp_path) -> None:
    command = [sys.executable, "-m", "compact_vit", "train", "--epochs", "0"]
    command += ["--output", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: epochs must be a whole number of at least 1, got 0\n"
    assert list(tmp_path.iterdir()) == []
