"""Figures show the numbers they are given, under the right names."""

from __future__ import annotations

from pathlib import Path

import pytest

from compact_vit.errors import UsageError
from compact_vit.plots import check_picture, plot_confusion, plot_curves

HISTORY = [
    {
        "epoch": epoch,
        "train_loss": 2.0 / epoch,
        "train_accuracy": 10.0 * epoch,
        "test_loss": 3.0 / epoch,
        "test_accuracy": 9.0 * epoch,
        "test_top5": 50.0,
        "lr": 1e-3,
    }
    for epoch in (1, 2, 3)
]


def test_curves() -> None:
    figure = plot_curves(HISTORY, title="cct_2_3x2 on cifar10")
    assert figure.get_suptitle() == "cct_2_3x2 on cifar10"
    loss, accuracy = figure.axes
    for axes, quantity, unit in ((loss, "loss", "nats"), (accuracy, "accuracy", "%")):
        assert axes.get_xlabel() == "epoch"
        assert axes.get_ylabel() == f"{quantity} ({unit})"
        lines = {line.get_label(): line for line in axes.get_lines()}
        assert list(lines) == ["train", "test"]
        for split, line in lines.items():
            assert list(line.get_xdata()) == [1, 2, 3]
            assert list(line.get_ydata()) == [row[f"{split}_{quantity}"] for row in HISTORY]
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["train", "test"]
    colours = [line.get_color() for line in loss.get_lines()]
    assert colours == [line.get_color() for line in accuracy.get_lines()]
    assert len(set(colours)) == 2


def test_curves_of_a_validation_split() -> None:
    history = [{k.replace("test", "val"): v for k, v in row.items()} for row in HISTORY]
    loss, _ = plot_curves(history).axes
    assert [line.get_label() for line in loss.get_lines()] == ["train", "val"]


def test_confusion() -> None:
    matrix = [[8, 2, 0], [0, 5, 0], [1, 0, 0]]
    figure = plot_confusion(matrix, ["blue", "green", "red"])
    axes, colorbar = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert [label.get_text() for label in axes.get_xticklabels()] == ["blue", "green", "red"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["blue", "green", "red"]
    assert colorbar.get_ylabel() == "share of the true class (%)"
    shown = axes.images[0].get_array()  # each row's shares
    assert shown.tolist() == [[80, 20, 0], [0, 100, 0], [100, 0, 0]]
    # a count at (x, y) = (predicted, true), none where it is 0
    counts = {text.get_position(): text.get_text() for text in axes.texts}
    assert counts == {(0, 0): "8", (1, 0): "2", (1, 1): "5", (0, 2): "1"}
    assert axes.get_title() == "confusion: 81.25% of 16 right"


def test_confusion_of_many_classes_is_not_crowded() -> None:
    names = [f"class {i}" for i in range(60)]
    matrix = [[int(i == j) for j in range(60)] for i in range(60)]
    axes = plot_confusion(matrix, names).axes[0]
    assert not axes.texts
    assert not any(label.get_text().startswith("class") for label in axes.get_yticklabels())


def test_a_class_without_pictures_is_no_division_by_zero() -> None:
    axes = plot_confusion([[0, 0], [1, 3]], ["a", "b"]).axes[0]
    assert axes.images[0].get_array().tolist() == [[0, 0], [25, 75]]


@pytest.mark.parametrize(
    ("name", "start"), [("a.png", b"\x89PNG"), ("a.pdf", b"%PDF"), ("a.svg", b"<?xml")]
)
def test_kinds_of_files(tmp_path, name, start) -> None:
    check_picture(tmp_path / name)
    plot_curves(HISTORY).savefig(tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize("name", ["matrix", "matrix.doc", "matrix.png.txt", ".png"])
def test_other_kinds_are_refused(name) -> None:
    with pytest.raises(UsageError, match=r"output must end in \.png, \.pdf or \.svg, got"):
        check_picture(Path(name))
