"""Rankings of runs: which are one row, which are left out and why."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

from compact_vit.score import Result, main, ranked, read_runs
from compact_vit.scoring import score_interval
from compact_vit.train import train
from compact_vit.train.checkpoint import load_checkpoint, save_checkpoint
from compact_vit.train.config import TrainConfig


def result(name: str, accuracy: float | None, parameters: int | None) -> Result:
    return Result(
        name=name, origin="run", accuracy=accuracy, parameters=parameters, counted="without"
    )


def test_ties_and_missing_values() -> None:
    results = [
        result("below", 60.0, 1_000_000),
        result("unknown", None, 1_000_000),
        result("tie", 71.0, 500_000),
        result("best", 80.0, 1_000_000),
        result("other tie", 71.0, 500_000),
        result("sizeless", 90.0, None),
        result("zero", 70.0, 400_000),
        result("below too", 60.0, 2_000_000),
    ]
    rows = ranked(results, 70.0)
    assert [(row.rank, row.result.name, row.score) for row in rows] == [
        (1, "best", 1000.0),
        (2, "tie", 200.0),
        (2, "other tie", 200.0),
        (4, "zero", 0.0),  # where scores tie, the accuracy decides
        (5, "below", 0.0),
        (5, "below too", 0.0),
        (None, "unknown", None),
        (None, "sizeless", None),
    ]
    assert [row.result.name for row in rows if row.front] == ["best", "tie", "other tie", "zero"]
    assert all(row.interval is None for row in rows)  # n is not known


def test_an_untrained_run_is_no_fraction() -> None:
    (row,) = ranked([result("untrained", 0.9, 1_000_000)], 0.0)
    assert row.score == pytest.approx(90)


def test_seeds_are_one_row(printed, rows_of, write_run, tmp_path) -> None:
    runs = [
        write_run(tmp_path / f"{seed}", accuracy, seed=seed, config={"device": f"cuda:{seed}"})
        for seed, accuracy in enumerate((85.0, 86.0, 84.0))
    ]
    other = write_run(tmp_path / "other", 84.0, config={"lr": 0.002})
    rows = rows_of("--runs", *runs, other)
    figures = [(row["accuracy"], row["deviation"], row["seeds"]) for row in rows]
    assert figures == [(85.0, pytest.approx(1.0), 3), (84.0, None, 1)]
    assert rows[0]["score"] == pytest.approx(100 * 15 / 0.275531)
    assert rows[0]["interval"] == pytest.approx(list(score_interval(85.0, 275_531, 10_000)))
    assert rows[0]["source"] == " + ".join(map(str, runs))
    assert (rows[0]["n"], rows[0]["split"], rows[0]["epochs"]) == (10_000, "test", 3)
    text = printed("--runs", *runs, other)
    assert "85.000  1.00      3" in text
    assert "cifar10 (10 classes, 10,000 test pictures), the last epoch" in text


def test_a_run_given_twice_counts_once(printed, write_run, tmp_path) -> None:
    run = write_run(tmp_path / "run", 85.0)
    copy = shutil.copytree(run, tmp_path / "copy")
    text = printed("--runs", run, run, copy)
    assert f"left out: '{copy}' repeats '{run}': the same configuration and seed" in text
    assert text.count("left out") == 1


def test_positions_and_floor(rows_of, write_run, tmp_path) -> None:
    run = write_run(tmp_path / "run", 85.0)
    (row,) = rows_of("--runs", run, "--positions", "with", "--floor", "50")
    assert (row["parameters"], row["counted"], row["floor"]) == (283_723, "with positions", 50)
    assert row["score"] == pytest.approx(3500 / 0.283723)


def test_other_pictures_are_left_out(write_run, tmp_path) -> None:
    kept = [write_run(tmp_path / f"kept{i}", 85.0, seed=i) for i in range(2)]
    others = [
        write_run(tmp_path / "digits", 99.0, dataset="digits", n=360),
        write_run(tmp_path / "fewer", 99.0, n=5000),
        write_run(tmp_path / "folder", 99.0, dataset="folder", config={"data_dir": "a"}),
    ]
    results, left_out, pictures = read_runs([others[0], *kept, *others[1:]])
    assert [r.seeds for r in results] == [2]
    assert str(pictures) == "cifar10 (10 classes, 10,000 test pictures)"
    assert {Path(entry.run): entry.reason for entry in left_out} == {
        others[0]: f"is of digits (10 classes, 360 test pictures), not of {pictures}",
        others[1]: f"is of cifar10 (10 classes, 5,000 test pictures), not of {pictures}",
        others[2]: f"is of folder at 'a' (10 classes, 10,000 test pictures), not of {pictures}",
    }


def test_what_changes_nothing_makes_no_other_result(write_run, tmp_path) -> None:
    told = [{}, {"track": ["tensorboard"]}, {"deterministic": True}, {"accumulation": 2}]
    runs = [write_run(tmp_path / f"{i}", 85.0, seed=i, config=c) for i, c in enumerate(told)]
    assert [r.seeds for r in read_runs(runs)[0]] == [4]


@pytest.mark.parametrize("decided", [{"precision": "bf16"}, {"attention_dropout": 0.0}])
def test_what_the_machine_decided_makes_another_result(write_run, tmp_path, decided) -> None:
    asked = {"config": {"precision": "auto", "attention_dropout": 0.1}}
    gpu = {"precision": "fp32", "attention_dropout": 0.1}
    said = [gpu, gpu, gpu | decided, {}]  # the last before summaries said so
    runs = [write_run(tmp_path / f"{i}", 85.0, seed=i, **asked, **s) for i, s in enumerate(said)]
    assert [r.seeds for r in read_runs(runs)[0]] == [2, 1, 1]
    named = {"config": {"precision": "fp32", "attention_dropout": 0.1}}  # what auto had chosen
    runs.append(write_run(tmp_path / "named", 85.0, seed=9, **named, **gpu))
    assert [r.seeds for r in read_runs(runs)[0]] == [3, 1, 1]


def test_seeds_of_an_older_version_are_of_the_same_configuration(write_run, tmp_path) -> None:
    """It has written nothing of fields that it did not have, which a newer one leaves alone."""
    told = [{}, {"class_weight": "none", "layer_decay": 1.0}, {"class_weight": "balanced"}]
    runs = [
        write_run(tmp_path / str(seed), 75.0, seed=seed, config=config)
        for seed, config in enumerate(told)
    ]
    assert [r.seeds for r in read_runs(runs)[0]] == [2, 1]


@pytest.mark.parametrize(("model", "seeds"), [("cct_2_3x2", [4]), ("cct2_2_3x2", [2, 2])])
def test_parts_of_a_batch_matter_to_batch_norms(write_run, tmp_path, model, seeds) -> None:
    runs = [
        write_run(tmp_path / f"{i}", 85.0, seed=i, model=model, config={"accumulation": a}, parts=p)
        for i, (a, p) in enumerate([("auto", 1), (1, 1), (4, 4), (4, 4)])
    ]
    assert [r.seeds for r in read_runs(runs)[0]] == seeds


def test_a_result_knows_the_model_as_it_was_configured(write_run, tmp_path) -> None:
    options = {"residual": "pre_norm", "model_options": {"tokenizer_norm": True}}
    results, _, _ = read_runs([write_run(tmp_path / "run", 85.0, config=options)])
    config = results[0].config
    assert (config.residual, config.tokenizer_norm, config.mlp_kernel) == ("pre_norm", True, 0)


def test_folders_of_pictures_are_told_apart(rows_of, write_run, tmp_path) -> None:
    runs = [
        write_run(tmp_path / f"{i}", 85.0, dataset="folder", seed=i, config={"data_dir": where})
        for i, where in enumerate(("a", "./a/", "b"))
    ]
    rows = rows_of("--runs", *runs)
    assert [row["seeds"] for row in rows] == [2]


def test_what_was_learnt_by_heart_is_no_result(write_run, rows_of, tmp_path, capsys) -> None:
    heart = {"split": "train", "n": 10_000, "epoch": 3, "accuracy": 100.0}
    learnt = write_run(tmp_path / "learnt", 100.0, final=heart)
    runs = [write_run(tmp_path / f"{i}", 85.0, seed=i) for i in range(2)]
    assert [row["accuracy"] for row in rows_of("--runs", learnt, *runs)] == [85.0]
    for words in (["--published"], ["--published", "cifar10"]):
        assert main(["--runs", str(learnt), *words]) == 2
        assert "10,000 train pictures" in capsys.readouterr().err
    rows = rows_of("--runs", learnt, *runs, "--published", "cifar10")
    assert 100.0 not in [row["accuracy"] for row in rows]


def test_epochs_are_those_that_ran(write_run, rows_of, tmp_path) -> None:
    final = {"split": "test", "n": 10_000, "epoch": 2, "accuracy": 85.0}
    (row,) = rows_of("--runs", write_run(tmp_path / "early", 85.0, final=final, epochs=9))
    assert row["epochs"] == 2


def test_seeds_that_ran_for_other_lengths_have_no_length(write_run, rows_of, tmp_path) -> None:
    def run(seed: int, epoch: int) -> Path:
        final = {"split": "test", "n": 10_000, "epoch": epoch, "accuracy": 85.0}
        return write_run(tmp_path / f"{seed}-{epoch}", 85.0, seed=seed, final=final, epochs=9)

    (row,) = rows_of("--runs", run(0, 2), run(1, 4))
    assert (row["seeds"], row["epochs"]) == (2, None)
    (row,) = rows_of("--runs", run(0, 3), run(1, 3))
    assert (row["seeds"], row["epochs"]) == (2, 3)


def test_what_each_seed_holds_out_is_its_own(write_run, printed, tmp_path) -> None:
    final = {"split": "val", "n": 144, "epoch": 3, "accuracy": 85.0}
    drawn, kept = (
        [
            write_run(tmp_path / f"{seed}-{share}", 85.0, seed=seed, final=final, config=config)
            for seed in (0, 1)
        ]
        for share in (0.1, 0)
        for config in [{"val_fraction": share}]
    )
    assert "144 val pictures, each seed's own)" in printed("--runs", *drawn)
    assert "144 val pictures)" in printed("--runs", *kept)  # a folder's val/
    (_, left_out, _) = read_runs([*drawn, kept[0]])
    assert [out.run for out in left_out] == [str(kept[0])]


def damage(write_run, tmp_path: Path) -> dict[str, tuple[Path, str]]:
    """Runs that cannot be ranked, and what is said of each."""
    folders = {}
    for name in ("unfinished", "cut", "list", "nan", "text", "fraction", "epoch", "options"):
        folders[name] = write_run(tmp_path / name, 85.0)
    (folders["unfinished"] / "summary.json").unlink()
    whole = (folders["cut"] / "summary.json").read_text()
    (folders["cut"] / "summary.json").write_text(whole[:100])
    (folders["list"] / "summary.json").write_text("[]")
    for name, value in (("nan", "NaN"), ("text", '"85"'), ("fraction", "850")):
        (folders[name] / "summary.json").write_text(whole.replace("85.0", value))
    final = {"split": "test", "n": 10_000, "epoch": "two", "accuracy": 85.0}
    summary = json.loads(whole) | {"final": final}
    (folders["epoch"] / "summary.json").write_text(json.dumps(summary))
    config = json.loads((folders["options"] / "config.json").read_text())
    (folders["options"] / "config.json").write_text(json.dumps(config | {"model_options": None}))
    (tmp_path / "empty").mkdir()
    said = {
        "epoch": "in its summary.json final.epoch is 'two'",
        "options": "in its config.json model_options is None",
        "unfinished": "has no summary.json: its run has not finished",
        "cut": "is not JSON",
        "list": "must hold an object, got []",
        "nan": "in its summary.json final.accuracy is nan",
        "text": "in its summary.json final.accuracy is '85'",
        "fraction": "in its summary.json final.accuracy is 850",
    }
    folders |= {"empty": tmp_path / "empty", "nowhere": tmp_path / "nowhere"}
    said |= dict.fromkeys(("empty", "nowhere"), "is not the folder of a run")
    return {name: (folders[name], said[name]) for name in folders}


def test_what_cannot_be_ranked_is_left_out_aloud(capsys, printed, write_run, tmp_path) -> None:
    damaged = damage(write_run, tmp_path)
    runs = [write_run(tmp_path / "fine", 85.0), *(folder for folder, _ in damaged.values())]
    told = printed("--runs", *runs)
    notes = json.loads(printed("--runs", *runs, "--format", "json"))["notes"]
    assert main(["--runs", *map(str, runs), "--format", "csv"]) == 0
    aside = capsys.readouterr().err
    for folder, reason in damaged.values():
        for lines in (told.splitlines(), notes, aside.splitlines()):
            (line,) = [line for line in lines if line.startswith(f"left out: '{folder}' ")]
            assert reason in line


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Path:
    """A run that training itself has finished."""
    folder = tmp_path_factory.mktemp("runs") / "real"
    train(TrainConfig(model="cvt_2_8", epochs=1, device="cpu"), output=folder, quiet=True)
    return folder


def test_a_real_run(rows_of, real) -> None:
    summary = json.loads((real / "summary.json").read_text())
    (row,) = rows_of("--runs", real, "--floor", "5")
    assert row["accuracy"] == summary["final"]["accuracy"]
    assert row["parameters"] == summary["parameters_without_positions"]
    assert (row["macs"], row["n"], row["seeds"]) == (summary["macs"], 360, 1)
    (row,) = rows_of("--runs", real, "--effective")
    assert row["counted"] == "bytes / 4, positions too"
    assert row["parameters"] == summary["parameters"]  # float32, as training leaves them
    content = load_checkpoint(real / "last.pt")
    content["weights"] = {name: tensor.half() for name, tensor in content["weights"].items()}
    half = shutil.copytree(real, real.parent / "half")
    save_checkpoint(half / "last.pt", content)
    (row,) = rows_of("--runs", half, "--effective")
    assert row["parameters"] == math.ceil(summary["parameters"] / 2)
