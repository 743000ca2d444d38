"""Baselines through the same doors as the transformers: train, evaluate, predict, report, bench."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from compact_vit import UsageError, bench
from compact_vit.baselines import CifarResNetConfig, MLPConfig
from compact_vit.evaluate import evaluate_run
from compact_vit.report import cli as report
from compact_vit.train import TrainConfig, cli, resume, train
from compact_vit.train.choices import choose, rehearse
from compact_vit.train.inputs import load_splits
from compact_vit.train.model import build_model, model_config
from compact_vit.train.state import build_state
from compact_vit.train.step import train_step
from compact_vit.train.trained import load_model

CPU = torch.device("cpu")


def config(**options: Any) -> TrainConfig:
    values = {"model": "resnet_8_cifar", "epochs": 1, "device": "cpu", **options}
    return TrainConfig(**values)


def test_what_is_of_transformers_has_no_value() -> None:
    found = config(recipe="student-200", drop_path=None)
    assert found.drop_path is found.attention_dropout is found.residual is None
    assert found.positional_embedding is found.dropout is None
    assert found.lr == TrainConfig(recipe="student-200").lr
    again = TrainConfig.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again == found
    assert config(overfit=20).dropout == 0.0
    assert TrainConfig().residual == "published"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop_path": 0.1}, "drop_path must be left out with model 'resnet_8_cifar', got 0.1: it"),
        ({"residual": "published"}, "residual must be left out with model 'resnet_8_cifar'"),
        ({"attention_dropout": 0.0}, "attention_dropout must be left out with model"),
        ({"positional_embedding": "sine"}, "positional_embedding must be left out with model"),
        ({"dropout": 1.0}, r"dropout must be a number in \[0, 1\), got 1.0"),
        ({"model_options": {"shortct": 1}}, "unknown model option 'shortct': did you mean 'short"),
        (
            {"model_options": {"dropout": 0.1}},
            "model_options must not hold 'dropout': it is an opt",
        ),
        ({"model_options": {"num_classes": 3}}, "model_options must not hold 'num_classes'"),
        ({"model": "resnet_9_cifar"}, "depth must be 6n"),
        ({"model": "resnet_8_cifr"}, "unknown model 'resnet_8_cifr': did you mean"),
    ],
)
def test_what_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        config(**options)


def test_what_reaches_the_model() -> None:
    found = config(model_options={"shortcut": "projection"}, dropout=0.2, img_size=16)
    assert model_config(found, 7, 1) == CifarResNetConfig(
        depth=8, shortcut="projection", dropout=0.2, img_size=16, in_chans=1, num_classes=7
    )
    found = config(model="mlp_naive", model_options={"widths": [5, 4]})
    described = model_config(found, 10, 1)
    assert isinstance(described, MLPConfig)
    assert (described.widths, described.dropout) == ((5, 4), 0.3)
    assert TrainConfig.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    transformer = TrainConfig(model="cct_2_3x2", model_options={"mlp_ratio": 3.0})
    assert model_config(transformer).mlp_ratio == 3.0


def test_a_runs_pretrained_weights_are_not_fetched_again() -> None:
    found = config(model="timm/test_resnet", model_options={"pretrained": "nowhere.pth"})
    with pytest.raises(UsageError, match="pretrained must be a file of weights"):
        build_model(found, 10, 1)
    assert build_model(found, 10, 1, fetch=False).num_classes == 10


def test_a_batch_is_taken_whole() -> None:
    chosen = choose(config(img_size=224), 3, CPU, 512, 10)
    assert (chosen.parts, chosen.attention, chosen.attention_dropout) == (1, "unknown", None)
    assert not chosen.notes
    chosen = choose(config(accumulation=4, batch_size=64), 3, CPU, 64, 10)
    assert chosen.parts == 4
    assert any("batch normalisation" in note for note in chosen.notes)


def test_so_it_is_for_transformers_with_batch_norms() -> None:
    for name, parts in (("cct_2_3x2", 2), ("cct2_2_3x2", 1)):
        found = config(model=name, img_size=32, batch_size=128)
        assert choose(found, 3, CPU, 128, 10).parts == parts
        found = dataclasses.replace(found, accumulation=4)
        notes = choose(found, 3, CPU, 128, 10).notes
        assert any("batch normalisation" in note for note in notes) == (parts == 1)


def test_a_rehearsal_leaves_the_norms_as_they_were() -> None:
    model = build_model(config(), 10, 1).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert rehearse(model, torch.randn(4, 1, 8, 8), "fp32") == ""
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = config(epochs=2, ema=0.9, val_fraction=0.2)
    return train(found, output=tmp_path_factory.mktemp("runs") / "run", quiet=True).output


def test_a_trained_baseline_is_loaded_and_evaluated(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    # one channel in place of three
    assert summary["parameters"] == summary["parameters_without_positions"] == 75_290 - 2 * 144
    assert summary["attention"] == "unknown"
    trained, evaluation = evaluate_run(run, checkpoint="last", device="cpu")
    assert evaluation.accuracy == summary["final"]["accuracy"] > 50
    assert trained.config == TrainConfig.from_dict(json.loads((run / "config.json").read_text()))
    assert resume(run, quiet=True).summary == summary


def test_a_run_starts_from_another(run: Path, tmp_path: Path) -> None:
    found = config(init_from=str(run), lr=1e-9, warmup_lr=0.0, min_lr=0.0, epochs=1)
    result = train(found, output=tmp_path / "next", quiet=True)
    weights, before = result.model.state_dict(), load_model(run).model.state_dict()
    torch.testing.assert_close(weights["body.0.weight"], before["body.0.weight"])
    for other in ("resnet_14_cifar", "cct_2_3x2"):
        with pytest.raises(UsageError, match="init_from must be a run of this model, got"):
            train(
                dataclasses.replace(TrainConfig(model=other, epochs=1), init_from=str(run)),
                output=tmp_path / other,
                quiet=True,
            )


def test_the_command_lines(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = "--model mlp --model-options widths=16,8 batch_norm=true activation=gelu --dropout 0.1"
    rest = ["--epochs", "1", "--quiet", "--device", "cpu", "--output", str(tmp_path / "run")]
    assert cli.main([*words.split(), *rest]) == 0
    model = load_model(tmp_path / "run").model
    assert model.config == MLPConfig(
        widths=(16, 8), batch_norm=True, activation="gelu", dropout=0.1, img_size=16, in_chans=1
    )
    capsys.readouterr()
    assert report.main(["resnet_20_cifar", "mlp_naive", "--json"]) == 0
    resnet, mlp = json.loads(capsys.readouterr().out)
    assert (resnet["parameters"], mlp["parameters"]) == (269_722, 1_315_594)
    # by hand: 3x3 convolutions at 32, 16 and 8 pixels, and the head
    by_hand = 1024 * (432 + 6 * 2304) + 256 * (4608 + 5 * 9216) + 64 * (18432 + 5 * 36864) + 640
    assert resnet["macs"] == by_hand
    for model in (resnet, mlp):
        for group in ("kinds", "modules"):
            for quantity in ("parameters", "macs", "activation_megabytes"):
                total = sum(cost[quantity] for cost in model[group].values())
                assert total == pytest.approx(model[quantity])
    assert report.main(["rn_1", "cct_2_3x2"]) == 0
    assert report.main(["rn_1"]) == 0
    assert "Conv2d" in capsys.readouterr().out
    assert (
        bench.main(["mlp_naive", "cct_2_8x1", "--rounds", "1", "--batch-size", "2", "--json"]) == 0
    )
    entries = json.loads(capsys.readouterr().out)["models"]
    assert entries[0]["config"]["widths"] == [256] * 9


def test_a_bad_batch_leaves_the_running_statistics() -> None:
    found = config(batch_size=8, ema=0.9)
    state = build_state(found, load_splits(found), CPU)
    norm = next(m for m in state.module.modules() if isinstance(m, torch.nn.BatchNorm2d))
    averaged = next(m for m in state.evaluated.modules() if isinstance(m, torch.nn.BatchNorm2d))
    x, labels = torch.rand(8, 1, 8, 8), torch.arange(8)
    before = norm.running_mean.clone()
    # of the second step's average 2/11 are of the first
    for worst, same, new in ((float("nan"), True, 1.0), (0.0, False, 9 / 11)):
        x[0, 0, 0, 0] = worst
        train_step(state, found, state.module.train(), x, labels)
        assert norm.running_mean.equal(before) == same
        assert averaged.running_mean.allclose(before.lerp(norm.running_mean, new))
        assert norm.running_mean.isfinite().all()
    assert state.health.skipped == 1
