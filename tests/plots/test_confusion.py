"""The confusion matrix: shares of rows, readable for a few classes and for a hundred."""

from __future__ import annotations

import itertools

import pytest

from compact_vit.plots import plot_confusion


def test_shares_of_the_true_class() -> None:
    matrix = [[8, 2, 0], [0, 5, 0], [1, 0, 0]]
    figure = plot_confusion(matrix, ["blue", "green", "red"])
    axes, colorbar = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert [label.get_text() for label in axes.get_xticklabels()] == ["blue", "green", "red"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["blue", "green", "red"]
    assert colorbar.get_ylabel() == "share of the true class (%)"
    shown = axes.images[0].get_array()  # each row's shares
    assert shown.tolist() == [[80, 20, 0], [0, 100, 0], [100, 0, 0]]
    # a share at (x, y) = (predicted, true), none where it is 0
    shares = {text.get_position(): text.get_text() for text in axes.texts}
    assert shares == {(0, 0): "80.0", (1, 0): "20.0", (1, 1): "100.0", (0, 2): "100.0"}
    assert figure.get_suptitle() == "confusion: 81.25% of 16 right"
    # dark fields carry light numbers
    colours = {text.get_position(): text.get_color() for text in axes.texts}
    assert (colours[0, 0], colours[1, 0]) == ("white", "black")


@pytest.mark.parametrize("k", [10, 100])
def test_labels_do_not_touch(k) -> None:
    names = [f"a_longer_name_{i}" for i in range(k)]
    figure = plot_confusion([[int(i == j) for j in range(k)] for i in range(k)], names)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert bool(axes.texts) == (k == 10)
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == names
        boxes = [label.get_window_extent() for label in labels]
        assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
        for box in boxes:
            assert figure.bbox.contains(box.x0, box.y0)
            assert figure.bbox.contains(box.x1, box.y1)
    assert min(figure.get_size_inches()) < 15


def test_more_classes_than_can_be_named() -> None:
    k = 130
    axes = plot_confusion([[1] * k] * k, [f"class {i}" for i in range(k)]).axes[0]
    assert not axes.texts
    assert not any(label.get_text().startswith("class") for label in axes.get_yticklabels())


def test_a_class_without_pictures_is_no_division_by_zero() -> None:
    axes = plot_confusion([[0, 0], [1, 3]], ["a", "b"]).axes[0]
    assert axes.images[0].get_array().tolist() == [[0, 0], [25, 75]]
    assert "of 0 right" in plot_confusion([[0]], ["a"]).get_suptitle()
