"""``compact-vit score``: the published table, rankings of runs, and how it refuses."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from compact_vit.cli import main as program
from compact_vit.errors import UsageError
from compact_vit.models.config import config_from_name
from compact_vit.models.zoo import create_model
from compact_vit.plots.ranking import Mark, plot_ranking
from compact_vit.score import Result, main, published_results, ranked, read_runs
from compact_vit.scoring import pareto_front, score_interval, size_accuracy_score
from compact_vit.train import train
from compact_vit.train.checkpoint import load_checkpoint, save_checkpoint
from compact_vit.train.config import TrainConfig

# name, accuracy in percent, score: the student report's table, its own result last
TWELVE = [
    ("ViT-S (pretrained)", 89.7, 88.739),
    ("ViT-B (pretrained)", 91.67, 25.198),
    ("ViT-B (pretrained)", 91.97, 25.547),
    ("ViT-L (pretrained)", 93.44, 7.635),
    ("CVT-7/4", 73.01, 80.979),
    ("CVT-6/4", 72.25, 70.533),
    ("CCT-4/3x2", 70.46, 95.436),
    ("CCT-6/3x1", 76.71, 211.806),
    ("CCT-6/3x2", 74.47, 134.355),
    ("CCT-7/3x1", 77.05, 187.500),
    ("CCT-7/3x2", 74.92, 127.693),
    ("CCT-6/3x1", 75.145, 161.215),
]

# name, CIFAR-10, CIFAR-100, millions, epochs: as the paper has them
PAPER = [
    ("ViT-Lite-7/4", 91.38, 69.75, 3.717, 200),
    ("ViT-Lite-6/4", 90.94, 69.20, 3.191, 200),
    ("CVT-7/4", 92.43, 73.01, 3.717, 200),
    ("CVT-6/4", 92.58, 72.25, 3.190, 200),
    ("CCT-2/3x2", 89.17, 66.90, 0.284, 200),
    ("CCT-4/3x2", 91.45, 70.46, 0.482, 200),
    ("CCT-6/3x2", 93.56, 74.47, 3.327, 200),
    ("CCT-7/3x2", 93.83, 74.92, 3.853, 200),
    ("CCT-7/3x1", 94.78, 77.05, 3.760, 200),
    ("CCT-6/3x1", 94.81, 76.71, 3.168, 200),
    ("CCT-6/3x1", 95.29, 77.31, 3.168, 500),
    ("CCT-7/3x1", 96.53, 80.92, 3.760, 300),
    ("CCT-7/3x1", 97.48, 82.72, 3.760, 1500),
    ("CCT-7/3x1", 98.00, 82.87, 3.760, 5000),
]


def write_run(
    folder: Path,
    accuracy: float,
    *,
    model: str = "cct_2_3x2",
    seed: int = 0,
    dataset: str = "cifar10",
    n: int = 10_000,
    classes: int = 10,
    config: dict | None = None,
    **summary: object,
) -> Path:
    """What a finished run leaves of itself in JSON."""
    folder.mkdir(parents=True)
    built = create_model(model, num_classes=classes)
    whole = sum(p.numel() for p in built.parameters())
    said = {
        "model": model,
        "dataset": dataset,
        "num_classes": classes,
        "epochs": 3,
        "final": {"split": "test", "n": n, "epoch": 3, "accuracy": accuracy},
        "parameters": whole,
        "parameters_without_positions": whole - built.positions.table.numel(),
        "macs": 35_341_568,
        "seed": seed,
        **summary,
    }
    chosen = {"dataset": dataset, "model": model, "seed": seed, "img_size": 32, "lr": 0.001}
    (folder / "summary.json").write_text(json.dumps(said))
    (folder / "config.json").write_text(json.dumps({**chosen, **(config or {})}))
    return folder


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Path:
    """A run that training itself has finished."""
    folder = tmp_path_factory.mktemp("runs") / "real"
    train(TrainConfig(model="cvt_2_8", epochs=1, device="cpu"), output=folder, quiet=True)
    return folder


def printed(capsys, *words: object, err: bool = False) -> str:
    status = main([str(word) for word in words])
    captured = capsys.readouterr()
    assert (status, bool(captured.err)) == (0, err)
    return captured.out


def rows_of(capsys, *words: object) -> list[dict]:
    return json.loads(printed(capsys, *words, "--format", "json"))["rows"]


# the published results


def test_the_twelve_rows_of_the_score_table() -> None:
    kept = published_results("cifar100")
    for name, accuracy, score in TWELVE:
        (row,) = [r for r in kept if (r.name, r.accuracy) == (name, accuracy)]
        assert round(size_accuracy_score(row.accuracy, row.parameters), 3) == score


def test_the_twelve_rows_as_the_command_prints_them(capsys) -> None:
    text = printed(capsys, "--published", "cifar100", "--as-published")
    lines = [line for line in text.splitlines() if line[:4].strip().isdigit()]
    for name, accuracy, score in TWELVE:
        (line,) = [line for line in lines if name in line and f"{accuracy:.3f}" in line]
        assert f" {score:.3f} " in line
    for name, score in (("DenseNet-BC-100", "1,101.250"), ("MicroNet", "2,165.973")):
        assert any(name in line and score in line for line in lines)


@pytest.mark.parametrize(("dataset", "column"), [("cifar10", 1), ("cifar100", 2)])
def test_the_papers_results(dataset, column) -> None:
    source = "arXiv 2104.05704, Escaping the Big Data Paradigm with Compact Transformers"
    kept = [r for r in published_results(dataset) if r.source == source]
    got = {(r.name, r.accuracy, r.parameters, r.epochs) for r in kept}
    assert got == {(row[0], row[column], round(row[3] * 1e6), row[4]) for row in PAPER}
    assert len(kept) == len(PAPER)
    for result in kept:
        assert (result.split, result.n) == ("test", 10_000)
        assert result.selection == ("best of several runs" if result.epochs == 200 else "not said")


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_what_sources_count_is_what_the_file_says(dataset) -> None:
    """The models themselves tell: most of the paper's counts have the positions in them."""
    for result in published_results(dataset):
        if result.model is None:
            continue
        positions, _, classes = result.counted.partition(" positions, ")
        model = create_model(result.model, num_classes=int(classes.removesuffix(" classes")))
        count = sum(p.numel() for p in model.parameters())
        if positions == "without":
            count -= model.positions.table.numel()
        assert result.parameters in (count, round(count, -3))


def test_published_results_are_counted_alike(capsys) -> None:
    without = {r["name"]: r for r in rows_of(capsys, "--published", "cifar100")}
    assert without["CCT-6/3x1"]["parameters"] == 3_191_397
    assert without["CCT-6/3x2"]["parameters"] == 3_333_669
    assert without["CCT-6/3x2"]["counted"] == "without positions"
    assert without["MicroNet entry"]["parameters"] == 464_918
    assert without["MicroNet entry"]["counted"] == "not said (its source)"
    for words in (["--positions", "with"], ["--effective"]):
        rows = {r["name"]: r for r in rows_of(capsys, "--published", "cifar10", *words)}
        assert rows["CCT-7/3x1"]["parameters"] == 3_760_139
        assert rows["CVT-7/4"]["parameters"] == 3_716_619


# one score


def test_one_score_says_its_convention(capsys) -> None:
    text = printed(capsys, "--accuracy", "75.145", "--parameters", "3191397")
    assert text == (
        "score 161.215 = 100 x (75.145 - 70) / 3.191397\n"
        "accuracy in percent, floor 70%, millions of parameters; 3,191,397 counted without "
        "positions (assumed: --positions says)\n"
    )
    words = "--accuracy 80 --parameters 500k --floor 60 --positions with --n 1000"
    text = printed(capsys, *words.split())
    low, high = score_interval(80.0, 500_000, 1000, 60.0)
    assert text == (
        "score 4,000.000 = 100 x (80 - 60) / 0.5\n"
        "accuracy in percent, floor 60%, millions of parameters; 500,000 counted with positions\n"
        f"95%, for having tested on 1,000 pictures only: {low:,.3f} to {high:,.3f} (Wilson)\n"
    )
    assert "score 0.000 = 100 x (65 - 70) / 3.19, 0 below 70%" in printed(
        capsys, "--accuracy", "65", "--parameters", "3.19M"
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("3191397", 3_191_397),
        ("3,191,397", 3_191_397),
        ("3.19M", 3_190_000),
        ("3.191397m", 3_191_397),
        ("500k", 500_000),
        ("0.5K", 500),
        ("1.5G", 1_500_000_000),
        ("2e6", 2_000_000),
    ],
)
def test_sizes_as_people_write_them(capsys, text, wanted) -> None:
    (row,) = rows_of(capsys, "--accuracy", "75", "--parameters", text)
    assert row["parameters"] == wanted
    assert row["score"] == pytest.approx(5e8 / wanted)


def test_bytes_of_a_file_count_as_parameters(capsys, tmp_path) -> None:
    weights = tmp_path / "half.bin"
    weights.write_bytes(bytes(2 * 1_000_001))  # half precision; rounded up to whole parameters
    words = "--accuracy", "80", "--effective", weights
    assert "500,001 counted bytes / 4, positions too: 'half.bin'" in printed(capsys, *words)
    (row,) = rows_of(capsys, *words)
    assert row["score"] == pytest.approx(1000 / 0.500001)


def test_a_given_result_among_the_published(capsys) -> None:
    words = "--accuracy 79 --parameters 400k --published cifar100 --positions with"
    rows = rows_of(capsys, *words.split())
    (given,) = [row for row in rows if row["origin"] == "given"]
    assert (given["rank"], given["score"]) == (1, pytest.approx(2250))  # MicroNet has 2,166
    assert given["front"]
    assert {row["name"]: row["front"] for row in rows}["MicroNet entry"]
    assert given["counted"] == "with positions"


# rankings


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
    ]
    rows = ranked(results, 70.0)
    assert [(row.rank, row.result.name, row.score) for row in rows] == [
        (1, "best", 1000.0),
        (2, "tie", 200.0),
        (2, "other tie", 200.0),
        (4, "below", 0.0),
        (4, "zero", 0.0),
        (None, "unknown", None),
        (None, "sizeless", None),
    ]
    assert [row.result.name for row in rows if row.front] == ["best", "tie", "other tie", "zero"]
    assert all(row.interval is None for row in rows)  # n is not known


def test_an_untrained_run_is_no_fraction() -> None:
    (row,) = ranked([result("untrained", 0.9, 1_000_000)], 0.0)
    assert row.score == pytest.approx(90)


def test_seeds_are_one_row(capsys, tmp_path) -> None:
    runs = [
        write_run(tmp_path / f"{seed}", accuracy, seed=seed, config={"device": f"cuda:{seed}"})
        for seed, accuracy in enumerate((85.0, 86.0, 84.0))
    ]
    other = write_run(tmp_path / "other", 84.0, config={"lr": 0.002})
    rows = rows_of(capsys, "--runs", *runs, other)
    figures = [(row["accuracy"], row["deviation"], row["seeds"]) for row in rows]
    assert figures == [(85.0, pytest.approx(1.0), 3), (84.0, None, 1)]
    assert rows[0]["score"] == pytest.approx(100 * 15 / 0.275531)
    assert rows[0]["interval"] == pytest.approx(list(score_interval(85.0, 275_531, 10_000)))
    assert rows[0]["source"] == " + ".join(map(str, runs))
    assert (rows[0]["n"], rows[0]["split"], rows[0]["epochs"]) == (10_000, "test", 3)
    text = printed(capsys, "--runs", *runs, other)
    assert "85.000  1.00      3" in text
    assert "cifar10 (10 classes, 10,000 test pictures), the last epoch" in text


def test_a_run_given_twice_counts_once(capsys, tmp_path) -> None:
    run = write_run(tmp_path / "run", 85.0)
    copy = shutil.copytree(run, tmp_path / "copy")
    text = printed(capsys, "--runs", run, run, copy)
    assert f"left out: '{copy}' repeats '{run}': the same configuration and seed" in text
    assert text.count("left out") == 1


def test_positions_and_floor(capsys, tmp_path) -> None:
    run = write_run(tmp_path / "run", 85.0)
    (row,) = rows_of(capsys, "--runs", run, "--positions", "with", "--floor", "50")
    assert (row["parameters"], row["counted"], row["floor"]) == (283_723, "with positions", 50)
    assert row["score"] == pytest.approx(3500 / 0.283723)


def test_other_pictures_are_left_out(capsys, tmp_path) -> None:
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


def test_folders_of_pictures_are_told_apart(capsys, tmp_path) -> None:
    runs = [
        write_run(tmp_path / f"{i}", 85.0, dataset="folder", seed=i, config={"data_dir": where})
        for i, where in enumerate(("a", "./a/", "b"))
    ]
    rows = rows_of(capsys, "--runs", *runs)
    assert [row["seeds"] for row in rows] == [2]


def damage(tmp_path: Path) -> dict[str, tuple[Path, str]]:
    """Runs that cannot be ranked, and what is said of each."""
    folders = {}
    for name in ("unfinished", "cut", "list", "nan", "text", "fraction"):
        folders[name] = write_run(tmp_path / name, 85.0)
    (folders["unfinished"] / "summary.json").unlink()
    whole = (folders["cut"] / "summary.json").read_text()
    (folders["cut"] / "summary.json").write_text(whole[:100])
    (folders["list"] / "summary.json").write_text("[]")
    for name, value in (("nan", "NaN"), ("text", '"85"'), ("fraction", "850")):
        (folders[name] / "summary.json").write_text(whole.replace("85.0", value))
    (tmp_path / "empty").mkdir()
    said = {
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


def test_what_cannot_be_ranked_is_left_out_aloud(capsys, tmp_path) -> None:
    damaged = damage(tmp_path)
    runs = [write_run(tmp_path / "fine", 85.0), *(folder for folder, _ in damaged.values())]
    told = printed(capsys, "--runs", *runs)
    notes = json.loads(printed(capsys, "--runs", *runs, "--format", "json"))["notes"]
    assert main(["--runs", *map(str, runs), "--format", "csv"]) == 0
    aside = capsys.readouterr().err
    for folder, reason in damaged.values():
        for lines in (told.splitlines(), notes, aside.splitlines()):
            (line,) = [line for line in lines if line.startswith(f"left out: '{folder}' ")]
            assert reason in line


def test_a_summary_without_macs_is_ranked_but_not_drawn_against_them(capsys, tmp_path) -> None:
    runs = [
        write_run(tmp_path / "old", 85.0, macs=None),
        write_run(tmp_path / "new", 86.0, model="cvt_2_4"),
    ]
    picture = tmp_path / "macs.svg"
    text = printed(capsys, "--runs", *runs, "--plot", picture, "--against", "macs")
    assert "not in the picture, macs unknown: cct_2_3x2" in text
    drawn = picture.read_text()
    assert "multiply-accumulates of one picture (millions)" in drawn
    assert "cvt_2_4" in drawn
    assert "cct_2_3x2" not in drawn


def test_a_real_run(capsys, real) -> None:
    summary = json.loads((real / "summary.json").read_text())
    (row,) = rows_of(capsys, "--runs", real, "--floor", "5")
    assert row["accuracy"] == summary["final"]["accuracy"]
    assert row["parameters"] == summary["parameters_without_positions"]
    assert (row["macs"], row["n"], row["seeds"]) == (summary["macs"], 360, 1)
    (row,) = rows_of(capsys, "--runs", real, "--effective")
    assert row["counted"] == "bytes / 4, positions too"
    assert row["parameters"] == summary["parameters"]  # float32, as training leaves them
    content = load_checkpoint(real / "last.pt")
    content["weights"] = {name: tensor.half() for name, tensor in content["weights"].items()}
    half = shutil.copytree(real, real.parent / "half")
    save_checkpoint(half / "last.pt", content)
    (row,) = rows_of(capsys, "--runs", half, "--effective")
    assert row["parameters"] == math.ceil(summary["parameters"] / 2)


# runs among the published


def test_runs_among_the_published(capsys, tmp_path) -> None:
    run = write_run(tmp_path / "run", 90.0)
    rows = rows_of(capsys, "--runs", run, "--published")
    assert len(rows) == 1 + len(PAPER)
    assert [(row["rank"], row["name"], row["origin"]) for row in rows[:2]] == [
        (1, "cct_2_3x2", "run"),
        (2, "CCT-2/3x2", "published"),
    ]
    assert rows[0]["parameters"] == rows[1]["parameters"] == 275_531
    assert rows[0]["front"]
    assert not rows[1]["front"]
    points = [(row["parameters"], row["accuracy"]) for row in rows]
    assert [i for i, row in enumerate(rows) if row["front"]] == sorted(pareto_front(points))


def test_a_folder_must_be_named_to_be_compared(capsys, tmp_path) -> None:
    folder = write_run(tmp_path / "f", 85.0, dataset="folder", config={"data_dir": "a"})
    assert main(["--runs", str(folder), "--published"]) == 2
    assert "which pictures does the folder hold? name them" in capsys.readouterr().err
    assert main(["--runs", str(folder), "--published", "cifar100"]) == 2
    wanted = "nothing to rank with the results published on cifar100"
    assert wanted in capsys.readouterr().err  # it has ten classes
    text = printed(capsys, "--runs", folder, "--published", "cifar10")
    assert "comparable as far as the folder holds the same" in text


# formats and pictures


def test_formats_say_the_same(capsys, tmp_path) -> None:
    runs = [
        write_run(tmp_path / "a|b", 85.0),
        write_run(tmp_path / "c", 75.0, model="cvt_2_4"),
    ]
    rows = rows_of(capsys, "--runs", *runs)
    main(["--runs", *map(str, runs), "--format", "csv"])
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [{k: str(v) for k, v in row.items() if v is not None} for row in rows] == [
        {k: v for k, v in row.items() if v} for row in table
    ]
    assert all(row["counted"] == "without positions" and row["floor"] == "70.0" for row in table)
    lines = printed(capsys, "--runs", *runs, "--format", "markdown").splitlines()
    assert lines[0].startswith("| rank | model | accuracy % | seeds | epochs | parameters |")
    assert lines[2].startswith("| 1 | cct_2_3x2 | 85.000 | 1 | 3 | 275,531 | without positions |")
    assert lines[2].endswith("a\\|b |")
    assert len({line.replace("\\|", "").count("|") for line in lines[:4]}) == 1
    whole = json.loads(printed(capsys, "--runs", *runs, "--format", "json"))
    assert whole["dataset"] == "cifar10"
    assert whole["floor"] == 70
    assert "100 x (accuracy in percent - 70)" in whole["conventions"][0]


def test_output_goes_to_the_file(capsys, tmp_path) -> None:
    path = tmp_path / "deep" / "table.md"
    words = "--published", "cifar10", "--format", "markdown"
    assert printed(capsys, *words, "--output", path) == ""
    assert path.read_text() == printed(capsys, *words)
    assert [entry.name for entry in path.parent.iterdir()] == ["table.md"]


@pytest.mark.parametrize(
    ("suffix", "start"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")]
)
def test_pictures_are_files_of_their_kind(capsys, tmp_path, suffix, start) -> None:
    picture = tmp_path / f"front{suffix}"
    printed(capsys, "--published", "cifar100", "--plot", picture)
    assert picture.read_bytes().startswith(start)
    assert [entry.name for entry in tmp_path.iterdir()] == [picture.name]
    if suffix == ".png":
        from PIL import Image

        with Image.open(picture) as image:
            image.load()
            assert min(image.size) > 500
    if suffix == ".svg":
        drawn = picture.read_text()
        for text in (
            "cifar100: accuracy against parameters",
            "accuracy (%)",
            "parameters (millions, counted without positions; others as published)",
            "MicroNet entry",
            "Pareto front",
        ):
            assert text in drawn


@pytest.mark.parametrize(
    ("against", "costs"),
    [("parameters", (0.275531, 3.17)), ("macs", (35.341568, 1013.84)), ("latency", (4.0, 4.0))],
)
def test_what_is_drawn_is_what_it_costs(monkeypatch, against, costs) -> None:
    from compact_vit.score import drawn

    monkeypatch.setattr(drawn, "latencies_ms", lambda configs: [4.0] * len(configs))
    config = config_from_name("cct_2_3x2")
    results = [
        Result(
            name=name,
            origin="run",
            accuracy=accuracy,
            parameters=parameters,
            counted="with positions",
            macs=macs,
            config=config,
        )
        for name, accuracy, parameters, macs in (
            ("a", 85.0, 275_531, 35_341_568),
            ("b", 90.0, 3_170_000, 1_013_840_000),
        )
    ]
    figure, missing = drawn.draw(ranked(results, 70.0), against, "cifar10")
    (axes,) = figure.axes
    (points, _, _), *_ = (c.lines for c in axes.containers)
    assert sorted(zip(*points.get_data(), strict=True)) == [(costs[0], 85), (costs[1], 90)]
    assert missing == []
    if against == "parameters":
        assert axes.get_xlabel() == "parameters (millions, counted with positions)"


def test_latency_is_measured_on_this_machine(capsys, tmp_path, monkeypatch) -> None:
    from compact_vit.score import drawn

    asked = []

    def measured(configs):
        asked.extend(configs)
        return [float(i + 1) for i in range(len(configs))]

    monkeypatch.setattr(drawn, "latencies_ms", measured)
    run = write_run(tmp_path / "run", 85.0)
    picture = tmp_path / "latency.svg"
    printed(capsys, "--runs", run, "--published", "--plot", picture, "--against", "latency")
    assert len(asked) == len(set(asked)) == 10  # each once; the run is one of the published
    assert config_from_name("cct_2_3x2") in asked
    said = picture.read_text()
    assert "latency of one picture (ms, median of 5 turns in float32)" in said
    assert "measured on this machine: " in said


def test_latency_itself() -> None:
    from compact_vit.score.latency import latencies_ms

    (taken,) = latencies_ms([config_from_name("cvt_2_16")], rounds=1)
    assert math.isfinite(taken)
    assert taken > 0


def test_the_picture_shows_the_figures() -> None:
    marks = [
        Mark("a", 1.0, 80.0, published=True),
        Mark("b", 2.0, 75.0, deviation=0.5),
        Mark("c", 4.0, 90.0, deviation=1.0),
    ]
    (axes,) = plot_ranking(marks, "parameters (millions)", "front").axes
    assert axes.get_xscale() == "log"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("parameters (millions)", "accuracy (%)")
    lines = {line.get_label(): line for line in axes.get_lines()}
    front = lines["Pareto front: none as accurate costs less"]
    assert list(zip(*front.get_data(), strict=True)) == [(1, 80), (4, 80), (4, 90)]
    drawn = {c.get_label(): c.lines for c in axes.containers}
    assert set(drawn) == {"published", "measured (± standard deviation over seeds)"}
    points, _, (bars,) = drawn["measured (± standard deviation over seeds)"]
    assert list(zip(*points.get_data(), strict=True)) == [(2, 75), (4, 90)]
    assert [list(bar[:, 1]) for bar in bars.get_segments()] == [[74.5, 75.5], [89, 91]]
    assert {text.get_text() for text in axes.texts} == {"a", "b", "c"}
    colours = {points.get_color(), drawn["published"][0].get_color()}
    assert colours == {"#0072B2", "#D55E00"}  # Okabe and Ito's


def test_names_do_not_overlap() -> None:
    marks = [Mark(f"model number {i}", 1 + i % 3 / 50, 80 + i / 20) for i in range(90)]
    figure = plot_ranking(marks, "parameters (millions)")
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert 3 <= len(boxes) < 90
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


# how it refuses


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "nothing to score: give --accuracy with --parameters, --runs, --published"),
        ("--accuracy 101 --parameters 1M", "percentage from 0 to 100, got 101.0"),
        ("--accuracy -1 --parameters 1M", "percentage from 0 to 100, got -1.0"),
        ("--accuracy nan --parameters 1M", "percentage from 0 to 100, got nan"),
        ("--accuracy 0.75 --parameters 1M", "must be in percent, got 0.75: was 75 meant?"),
        ("--accuracy 75%% --parameters 1M", "--accuracy: invalid float value"),
        ("--accuracy 75 --parameters 0", "such as 3191397, 3.19M or 500k, got '0'"),
        ("--accuracy 75 --parameters -5", "whole number of at least 1"),
        ("--accuracy 75 --parameters many", "got 'many'"),
        ("--accuracy 75 --parameters 3,19M", "got '3,19M'"),
        ("--accuracy 75 --parameters 3.17", "got '3.17'"),
        ("--accuracy 75 --parameters 0.0000001M", "got '0.0000001M'"),
        ("--accuracy 75", "--accuracy needs its size: either --parameters N or --effective FILE"),
        ("--accuracy 75 --effective", "--accuracy needs its size"),
        ("--accuracy 75 --effective f --parameters 9", "--accuracy needs its size: either"),
        ("--accuracy 75 --effective nowhere.bin", "nowhere.bin: No such file"),
        ("--accuracy 75 --effective empty.bin", "'empty.bin' is empty"),
        ("--accuracy 75 --effective run/last.pt", "use --runs 'run' --effective"),
        ("--accuracy 75 --parameters 1M --floor 170", "floor must be a percentage"),
        ("--accuracy 75 --parameters 1M --n 0", "argument --n: wanted a whole number"),
        ("--accuracy 75 --parameters 1M --positions wiht", "did you mean 'with'?"),
        ("--accuracy 75 --parameters 1M --format jsn", "did you mean 'json'?"),
        ("--accuracy 75 --parameters 1M --plot a.txt", "must end in .png, .pdf or .svg"),
        ("--accuracy 75 --parameters 1M --plot a.png --against mac", "did you mean 'macs'?"),
        ("--accuracy 75 --parameters 1M --plot a.png --against macs", "nothing to draw"),
        ("--accuracy 75 --parameters 1M --runs run", "exclude each other: a run brings its own"),
        ("--parameters 1M", "belong to --accuracy, which is missing"),
        ("--runs run --n 5", "belong to --accuracy, which is missing"),
        ("--runs run --effective f", "--effective takes a FILE with --accuracy only"),
        ("--runs run --effective --positions with", "exclude each other: bytes count everything"),
        ("--runs", "--runs: expected at least one argument"),
        ("--runs nowhere", "nothing to rank: 'nowhere' is not the folder of a run"),
        ("--runs unfinished", "'unfinished' has no summary.json: its run has not finished"),
        ("--runs run digits", "nothing comparable is left: 'digits' is of digits"),
        (
            "--runs run --effective",
            "nothing to rank: 'run' cannot be ranked: no checkpoint at 'run/last.pt'",
        ),
        ("--runs digits --published", "nothing is published here of digits, only of cifar10"),
        ("--runs run --published cifar100", "nothing to rank with the results published on"),
        ("--published", "--published needs a data set without --runs: cifar10 or cifar100"),
        ("--published cifar-10", "did you mean 'cifar10'?"),
        ("--published imagenet", "unknown data set with published results 'imagenet'"),
        ("--publishd cifar10", "did you mean '--published'?"),
    ],
)
def test_bad_input(capsys, tmp_path, monkeypatch, words, said) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(Path("run"), 85.0)
    write_run(Path("digits"), 85.0, dataset="digits", n=360)
    (write_run(Path("unfinished"), 85.0) / "summary.json").unlink()
    Path("empty.bin").touch()
    before = sorted(tmp_path.rglob("*"))
    try:
        status = main(words.split())
    except SystemExit as leaving:
        status = leaving.code
    captured = capsys.readouterr()
    assert (status, captured.out) == (2, "")
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_data_set_without_results() -> None:
    with pytest.raises(UsageError, match="choose from cifar10, cifar100"):
        published_results("mnist")


def test_it_needs_no_torch() -> None:
    code = (
        "import sys\nfrom compact_vit.score import main\n"
        "main(['--published', 'cifar10'])\nsys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_it_is_a_program(capsys) -> None:
    assert program(["score", "--accuracy", "71", "--parameters", "10k"]) == 0
    assert capsys.readouterr().out.startswith("score 10,000.000")


# what the documentation says

DOCS = (Path(__file__).parents[1] / "docs" / "score.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```\n*(?:```text\n(.*?)```)?", DOCS, re.DOTALL)


@pytest.mark.parametrize(
    ("code", "output"),
    [(code, output) for language, code, output in BLOCKS if language == "python"],
)
def test_documented_python_prints_what_it_says(code, output, capsys) -> None:
    exec(compile(code, "score.md", "exec"), {})
    assert capsys.readouterr().out == output


@pytest.mark.parametrize(
    ("line", "output"),
    [
        (line, output)
        for language, code, output in BLOCKS
        if language == "sh"
        for line in code.splitlines()
    ],
)
def test_documented_commands_run(line, output, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(Path("RUN"), 85.0)
    python, flag, module, *words = line.split()
    assert (python, flag) == ("python", "-m")
    assert program([module.removeprefix("compact_vit."), *words]) == 0
    said = capsys.readouterr().out
    assert said == output if output else said
    assert not any(word.endswith(".png") and not Path(word).exists() for word in words)
