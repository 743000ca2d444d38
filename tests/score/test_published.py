"""The published results, by themselves and with others among them."""

from __future__ import annotations

import pytest

from compact_vit.errors import UsageError
from compact_vit.models.zoo import create_model
from compact_vit.score import main, published_results
from compact_vit.scoring import pareto_front, size_accuracy_score

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


def test_the_twelve_rows_of_the_score_table() -> None:
    kept = published_results("cifar100")
    for name, accuracy, score in TWELVE:
        (row,) = [r for r in kept if (r.name, r.accuracy) == (name, accuracy)]
        assert round(size_accuracy_score(row.accuracy, row.parameters), 3) == score


def test_the_twelve_rows_as_the_command_prints_them(printed) -> None:
    text = printed("--published", "cifar100", "--as-published")
    lines = [line for line in text.splitlines() if line[:4].strip().isdigit()]
    for name, accuracy, score in TWELVE:
        (line,) = [line for line in lines if name in line and f"{accuracy:.3f}" in line]
        assert f" {score:.3f} " in line
    for name, score in (("DenseNet-BC-100", "1,101.250"), ("MicroNet", "2,165.973")):
        assert any(name in line and score in line for line in lines)


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


def test_published_results_are_counted_alike(rows_of) -> None:
    without = {r["name"]: r for r in rows_of("--published", "cifar100")}
    assert without["CCT-6/3x1"]["parameters"] == 3_191_397
    assert without["CCT-6/3x2"]["parameters"] == 3_333_669
    assert without["CCT-6/3x2"]["counted"] == "without positions"
    assert without["MicroNet entry"]["parameters"] == 464_918
    assert without["MicroNet entry"]["counted"] == "not said (its source)"
    for words in (["--positions", "with"], ["--effective"]):
        rows = {r["name"]: r for r in rows_of("--published", "cifar10", *words)}
        assert rows["CCT-7/3x1"]["parameters"] == 3_760_139
        assert rows["CVT-7/4"]["parameters"] == 3_716_619


def test_a_data_set_without_results() -> None:
    with pytest.raises(UsageError, match="choose from cifar10, cifar100"):
        published_results("mnist")


def test_a_given_result_among_the_published(rows_of) -> None:
    words = "--accuracy 79 --parameters 400k --published cifar100 --positions with"
    rows = rows_of(*words.split())
    (given,) = [row for row in rows if row["origin"] == "given"]
    assert (given["rank"], given["score"]) == (1, pytest.approx(2250))  # MicroNet has 2,166
    assert given["front"]
    assert {row["name"]: row["front"] for row in rows}["MicroNet entry"]
    assert given["counted"] == "with positions"


def test_runs_among_the_published(rows_of, write_run, tmp_path) -> None:
    run = write_run(tmp_path / "run", 90.0)
    rows = rows_of("--runs", run, "--published")
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


def test_a_folder_must_be_named_to_be_compared(capsys, printed, write_run, tmp_path) -> None:
    file = write_run(tmp_path / "n", 85.0, dataset="npz", config={"data_dir": "a.npz"})
    assert main(["--runs", str(file), "--published"]) == 2
    assert "which pictures does the file hold? name them" in capsys.readouterr().err
    folder = write_run(tmp_path / "f", 85.0, dataset="folder", config={"data_dir": "a"})
    assert main(["--runs", str(folder), "--published"]) == 2
    assert "which pictures does the folder hold? name them" in capsys.readouterr().err
    assert main(["--runs", str(folder), "--published", "cifar100"]) == 2
    wanted = "nothing to rank with the results published on cifar100"
    assert wanted in capsys.readouterr().err  # it has ten classes
    text = printed("--runs", folder, "--published", "cifar10")
    assert "comparable as far as the folder holds the same" in text
