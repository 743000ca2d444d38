"""``benchmarks/accuracy.py`` and ``check_weights.py``: what they train, measure and refuse."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from compact_vit.data.pictures import DataSplits, Pictures
from compact_vit.models import CompactTransformer, create_model, shipped as in_the_package
from compact_vit.train.config import TrainConfig


def words(folder: Path, output: Path) -> list[str]:
    text = f"--dataset folder --data-dir {folder} --epochs 1 --batch-size 12 --img-size 16"
    text += f" --device cpu --cores 1 --quiet --output {output} --rows cct_2_3x2"
    return [*text.split(), "--copy", "noise in three colours"]


def cells(text: str) -> list[dict[str, str]]:
    """The rows of the first table in Markdown."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def test_rows_and_seeds(script, picture_folder, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    accuracy, output = script("accuracy"), tmp_path / "out"
    asked = words(picture_folder, output)
    assert accuracy.main([*asked, "--seeds", "0", "1"]) == 0
    text = capsys.readouterr().out.strip()
    title, _, written = (output / "ACCURACY.md").read_text().partition("\n\n")
    # nothing is published on pictures of other classes
    assert (title, written.strip()) == ("# Accuracies, measured", text)
    assert "published:" not in text
    summaries = [
        json.loads((output / f"cct_2_3x2-published-200-seed{seed}/summary.json").read_text())
        for seed in (0, 1)
    ]
    (row,) = cells(text)
    reached = [summary["final"]["accuracy"] for summary in summaries]
    mean = sum(reached) / 2
    assert (row["model"], row["recipe"]) == ("cct_2_3x2", "published-200")
    assert "published, 200 epochs, best of several" not in row
    assert row["measured, mean"] == f"{mean:.2f}"
    assert row["±"] == f"{abs(reached[0] - reached[1]) / 2**0.5:.2f}"
    assert "difference" not in row  # of 1 epoch to 200
    assert (row["runs"], row["epochs"], row["test pictures"]) == ("2", "1", "12")
    assert row["parameters"] == f"{summaries[0]['parameters']:,}"
    minutes = sum(summary["seconds"] for summary in summaries) / 120
    assert row["minutes a run"] == f"{minutes:,.1f}"
    for said in (
        "the pictures are a copy (noise in three colours)",
        f"on: {summaries[0]['hardware']}",
        "--data-dir FOLDER",
    ):
        assert said in text
    assert str(tmp_path) not in text

    config = TrainConfig.from_dict(
        json.loads((output / "cct_2_3x2-published-200-seed1" / "config.json").read_text())
    )
    assert (config.recipe, config.seed, config.epochs) == ("published-200", 1, 1)
    checkpoints = {path: path.read_bytes() for path in output.glob("*/last.pt")}
    assert accuracy.main([*asked, "--seeds", "0", "1", "--markdown", "here.md"]) == 0
    assert {path: path.read_bytes() for path in output.glob("*/last.pt")} == checkpoints
    assert cells(Path("here.md").read_text()) == cells(text)
    alike = SimpleNamespace(num_classes=summaries[0]["num_classes"])
    monkeypatch.setattr(accuracy, "dataset_info", lambda name: alike)
    assert accuracy.main([*asked, "--seeds", "0", "1"]) == 0
    text = (output / "ACCURACY.md").read_text()
    assert text.startswith("# The published table, measured again\n")
    assert "- published: cifar10, arXiv 2104.05704; measured:" in text
    (row,) = cells(text)
    assert row["published, 200 epochs, best of several"] == "89.17"
    assert "difference" not in row  # of 1 epoch to 200
    monkeypatch.setattr(accuracy, "_train", lambda *args: 1)
    assert accuracy.main([*asked, "--seeds", "0", "1"]) == 1
    assert f"1 runs have not finished: why is in {output}/table.md" in capsys.readouterr().err


def test_a_model_with_a_slash(script, picture_folder, tmp_path, capsys, monkeypatch) -> None:
    """Its runs are found again in the folders that the experiment named."""
    monkeypatch.chdir(tmp_path)
    asked = words(picture_folder, tmp_path / "out")
    asked[asked.index("cct_2_3x2")] = "timm/test_resnet"
    assert script("accuracy").main([*asked, "--seeds", "3"]) == 0
    (summary,) = (tmp_path / "out").glob("*/summary.json")
    (row,) = cells(capsys.readouterr().out)
    assert (row["model"], row["runs"]) == ("timm/test_resnet", "1")
    reached = json.loads(summary.read_text())["final"]["accuracy"]
    assert row["measured, mean"] == f"{reached:.2f}"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("--rows cct_2_3z1", "unknown model 'cct_2_3z1': did you mean 'cct_2_3x1'"),
        ("--rows cct_2_3x2:best", "unknown recipe 'best': did you mean 'best-200'"),
        ("--rows cct_2_3x2:", "unknown recipe '': choose from published-200"),
        ("--published cifar", "unknown data set with published results 'cifar': did you mean"),
        ("--dataset folder --data-dir nowhere", "data_dir must be a folder that is there"),
        ("--dataset digits --rows mlp --recipe quik", "unknown recipe 'quik'"),
        ("--epochs 0 --dataset digits --rows mlp", "epochs must be a whole number of at least 1"),
        ("--objective mae", "unknown argument '--objective'"),
        ("--workers 0", "--workers"),
    ],
)
def test_what_is_refused(script, asked, message, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        status = script("accuracy").main(asked.split())
    except SystemExit as leaving:
        status = leaving.code
    captured = capsys.readouterr()
    assert (status, captured.out, captured.err.count("\n")) == (2, "", 1)
    assert message in captured.err
    assert not list(tmp_path.iterdir())


def test_the_table_is_the_published_one(script) -> None:
    published_table = script("accuracy").published_table
    for dataset, best in (("cifar10", 94.81), ("cifar100", 76.71)):
        table = published_table(dataset)
        assert len(table) == 10
        assert table["cct_6_3x1"].accuracy == best
        assert all(create_model(name) for name in list(table)[:1])


def test_the_command_is_told_without_this_machines_folders(script) -> None:
    told = script("accuracy")._anywhere
    assert told(["--data-dir", "/home/me", "--copy", "a=b", "--markdown=/home/t.md"]) == [
        "--data-dir", "FOLDER", "--copy", "a=b", "--markdown", "FILE"
    ]  # fmt: skip
    assert told(["--data-dir=/home/me"]) == ["--data-dir", "FOLDER"]


def test_a_table_that_cannot_be_written_is_refused_before_any_run(
    script, picture_folder, tmp_path, capsys
) -> None:
    (tmp_path / "file").touch()
    for where in (tmp_path, tmp_path / "file" / "t.md"):
        asked = words(picture_folder, tmp_path / "out")
        assert script("accuracy").main([*asked, "--markdown", str(where)]) == 2
        said = capsys.readouterr().err
        assert "file" in said
        assert said.count("\n") == 1
        assert not (tmp_path / "out").exists()


def test_a_row_of_which_nothing_has_finished(script) -> None:
    accuracy = script("accuracy")
    (row,) = accuracy.rows_of(["cct_4_3x2"], "published-200", "cifar10")
    told = accuracy.record(row, [])
    assert (told["published"], told["runs"], told["accuracy"]) == (91.45, 0, None)


def test_rows_by_other_recipes_and_of_models_that_are_not_published(script) -> None:
    asked = ["cct_2_3x2", "cct2_2_3x2:best-200", "cct_2_3x2:quick", "cct_2_3x2:published-200"]
    rows = script("accuracy").rows_of(asked, "published-200", "cifar10")
    assert [row[:2] for row in rows] == [
        ("cct_2_3x2", "published-200"),
        ("cct2_2_3x2", "best-200"),
        ("cct_2_3x2", "quick"),
    ]
    assert [row.published and row.published.accuracy for row in rows] == [89.17, None, 89.17]
    told = [script("accuracy").record(row, [finished(90.0)]) for row in rows]
    assert [row["difference"] for row in told] == [pytest.approx(0.83), None, pytest.approx(0.83)]


def finished(accuracy: float, **changes: object) -> dict:
    """The summary of a run of 200 epochs."""
    return {
        "num_classes": 10,
        "final": {"accuracy": accuracy, "epoch": 200, "n": 10},
        "parameters": 90_000,
        "parameters_without_positions": 80_000,
        "score": {"value": max(0.0, 100 * (accuracy - 70) / 0.08)},
        "seconds": 60.0,
        "pictures_per_second": 5.0,
        **changes,
    }


def test_other_classes_are_not_set_against_the_published(script) -> None:
    """Nor is another data set than a folder set beside CIFAR-10's by itself."""
    module = script("accuracy")
    (row,) = module.rows_of(["cct_2_3x2"], "published-200", "cifar10")
    told = module.record(row, [finished(90.0, num_classes=3)])
    assert (told["published"], told["difference"]) == (None, None)
    assert module.record(row, [])["published"] == 89.17
    (row,) = module.rows_of(["cct_2_3x2"], "published-200", None)
    assert module.record(row, [finished(90.0)])["published"] is None


def test_the_digits_have_nothing_published(script, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["--dataset", "digits", "--rows", "mlp:quick", "--epochs", "1"]
    asked += ["--device", "cpu", "--cores", "1", "--quiet"]
    assert script("accuracy").main(asked) == 0
    text = capsys.readouterr().out
    assert "published" not in text
    assert Path("runs/accuracy/ACCURACY.md").read_text().startswith("# Accuracies, measured\n")
    assert script("accuracy").main([*asked[:2]]) == 2
    assert "--rows must name models, as nothing is published" in capsys.readouterr().err


def test_the_score_is_that_of_the_mean_accuracy(script) -> None:
    (row,) = script("accuracy").rows_of(["cct_2_3x2"], "published-200", "cifar10")
    told = script("accuracy").record(row, [finished(66.0), finished(76.0)])
    assert told["accuracy"] == 71.0
    apart = [finished(66.0), finished(76.0, seconds=180.0)]
    assert script("accuracy").record(row, apart)["minutes"] == 2.0
    assert told["score"] == pytest.approx(100 * 1 / 0.08)  # not 3,750, half of the better one's


@pytest.fixture
def shipped(picture_folder, tmp_path, monkeypatch) -> Path:
    """A package with weights for the folder of pictures, and others for nothing at hand."""
    import torch

    from compact_vit.data import load_dataset

    torch.manual_seed(0)
    splits: DataSplits = load_dataset("folder", data_dir=str(picture_folder), img_size=(16, 24))
    model = create_model("cvt_2_8", img_size=(16, 24), num_classes=3).eval()
    known = {"mean": splits.mean, "std": splits.std, "label_names": splits.classes}
    model.pretrained_cfg = known
    test: Pictures = splits.test
    with torch.no_grad():
        said = model(model.transforms()(test.images)).argmax(1)
    right = 100 * (said == test.labels).double().mean().item()
    facts = {"results": {"split": "test", "n": 12, "accuracy": right}}
    model.save_pretrained(tmp_path / "package" / "cvt_2_8.colours", facts=facts)
    other: CompactTransformer = create_model("cvt_2_8", num_classes=4)
    other.pretrained_cfg = known | {"label_names": tuple("abcd")}
    other.save_pretrained(tmp_path / "package" / "cvt_2_8.letters")
    monkeypatch.setattr(in_the_package, "SHIPPED", tmp_path / "package")
    return tmp_path / "package"


def test_weights_that_are_what_they_say(script, shipped, picture_folder, capsys) -> None:
    check = script("check_weights")
    asked = ["--dataset", "folder", "--data-dir", str(picture_folder), "--device", "cpu"]
    assert check.main(asked) == 0
    (line,) = capsys.readouterr().out.splitlines()
    path = shipped / "cvt_2_8.colours" / "config.json"
    card = json.loads(path.read_text())
    said = f"{card['results']['accuracy']:.2f}% of 12"
    assert line == f"cvt_2_8.colours: says {said}, measured {said}"
    for key in ("accuracy", "n"):
        results = {**card["results"], key: card["results"][key] + 1}
        path.write_text(json.dumps(card | {"results": results}))
        assert check.main(asked) == 1
    capsys.readouterr()
    assert check.main(["--dataset", "digits", "--device", "cpu"]) == 2
    assert "no weights in the package tell the classes of digits" in capsys.readouterr().err
