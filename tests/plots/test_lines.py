"""The learning rate's picture, and the reliability diagram."""

from __future__ import annotations

import pytest

from compact_vit.errors import UsageError
from compact_vit.plots import plot_reliability, plot_schedule


def test_schedule() -> None:
    figure = plot_schedule([0, 0.5, 1, 1.5], [0.0, 0.1, 0.05, 0.01], "quick on digits")
    (axes,) = figure.axes
    (line,) = axes.get_lines()
    assert list(line.get_xdata()) == [0, 0.5, 1, 1.5]
    assert list(line.get_ydata()) == [0.0, 0.1, 0.05, 0.01]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "learning rate")
    assert axes.get_ylim()[0] == 0
    assert figure.get_suptitle() == "quick on digits"


def test_reliability() -> None:
    # 4 bins: empty, 1 picture, empty, 3 pictures
    figure = plot_reliability([0, 1, 0, 3], [0, 40, 0, 90], [0, 100, 0, 60], "cct")
    above, below = figure.axes
    assert figure.get_suptitle() == "cct"
    # (1 * |40 - 100| + 3 * |90 - 60|) / 4
    assert above.get_title() == "expected calibration error 37.50%"
    assert (above.get_ylabel(), below.get_ylabel()) == ("accuracy (%)", "pictures (%)")
    assert below.get_xlabel() == "confidence (%)"
    accuracy, gap = above.containers
    boxes = [(bar.get_x(), bar.get_width(), bar.get_y(), bar.get_height()) for bar in accuracy]
    assert boxes == [(25, 25, 0, 100), (75, 25, 0, 60)]
    # from the accuracy to the confidence, up or down
    assert [(bar.get_y(), bar.get_height()) for bar in gap] == [(100, -60), (60, 30)]
    (shares,) = below.containers
    assert [(bar.get_x(), bar.get_height()) for bar in shares] == [(25, 25), (75, 75)]
    (diagonal,) = above.get_lines()
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [0, 100]
    assert (above.get_xlim(), above.get_ylim()) == ((0, 100), (0, 100))
    with pytest.raises(UsageError, match="needs pictures, got none"):
        plot_reliability([0, 0], [0, 0], [0, 0])


def test_the_key_of_reliability_hides_nothing() -> None:
    figure = plot_reliability([5] * 10, [10 * i + 5 for i in range(10)], [99.0] * 10, "cct")
    figure.draw_without_rendering()
    (key,) = figure.legends
    assert {text.get_text() for text in key.get_texts()} == {
        "accuracy", "gap to the mean confidence"
    }  # fmt: skip
    box = key.get_window_extent()
    assert not any(box.overlaps(axes.get_tightbbox()) for axes in figure.axes)
    assert figure.bbox.contains(box.x0, box.y0)
    assert figure.bbox.contains(box.x1, box.y1)
