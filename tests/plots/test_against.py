"""What is drawn against a varied value is what was measured, where it belongs."""

from __future__ import annotations

import pytest

from compact_vit.errors import UsageError
from compact_vit.plots import Point, plot_against


def drawn(axes):
    """The points of each line, and how far its bars reach."""
    return {
        container.get_label(): (
            list(zip(*container.lines[0].get_data(), strict=True)),
            [high - low for (_, low), (_, high) in container.lines[2][0].get_segments()],
        )
        for container in axes.containers
    }


def ticks(axes) -> dict[float, str]:
    return {
        float(place): text.get_text()
        for place, text in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
    }


def test_numbers_lie_where_they_belong() -> None:
    lines = {
        "cct_2_3x2": [Point(0.01, 70.0, 1.5), Point(0.001, 60.0, None)],
        "$mine": [Point(0.003, 65.0, 0.5)],
    }
    figure = plot_against(lines, "lr", "test accuracy (%)", "a grid")
    (axes,) = figure.axes
    assert drawn(axes) == {
        "cct_2_3x2": ([(0.001, 60.0), (0.01, 70.0)], [0.0, pytest.approx(3.0)]),
        r"\$mine": ([(0.003, 65.0)], [pytest.approx(1.0)]),
    }
    assert axes.get_xscale() == "log"
    assert ticks(axes) == {0.001: "0.001", 0.003: "0.003", 0.01: "0.01"}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("lr", "test accuracy (%)")
    assert figure.get_suptitle() == "a grid"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["cct_2_3x2", r"\$mine"]


@pytest.mark.parametrize("values", [(2, 4, 8), (0.0, 0.5, 50.0)])
def test_within_a_decade_and_at_zero_the_axis_is_linear(values) -> None:
    figure = plot_against({"all": [Point(x, 50.0, None) for x in values]}, "depth", "accuracy")
    (axes,) = figure.axes
    assert axes.get_xscale() == "linear"
    assert list(ticks(axes)) == list(values)
    assert not figure.legends  # one line needs no name


@pytest.mark.parametrize("values", [("relu", "gelu", "elu"), (256, "512-256", 128), (True, False)])
def test_names_stand_side_by_side_in_their_order(values) -> None:
    points = [Point(x, 50.0 + i, None) for i, x in enumerate(values)]
    (axes,) = plot_against({"all": points}, "activation", "accuracy").axes
    assert drawn(axes)["all"][0] == [(0, 50.0), (1, 51.0), (2, 52.0)][: len(values)]
    assert ticks(axes) == {float(i): str(x) for i, x in enumerate(values)}


def test_numbers_that_lie_close_are_not_written_over_one_another() -> None:
    values = [1e-4, 1.5e-4, 2e-4, 2.5e-4, 3e-4, 1e-3, 2e-3]
    figure = plot_against({"all": [Point(x, 50.0, None) for x in values]}, "lr", "y")
    figure.canvas.draw()
    (axes,) = figure.axes
    assert list(axes.get_xticks()) == values
    written = [label for label in axes.get_xticklabels() if label.get_text()]
    assert {"0.0001", "0.001", "0.002"} <= {label.get_text() for label in written}
    boxes = [label.get_window_extent() for label in written]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_many_words_are_turned_and_end_at_their_ticks() -> None:
    values = ["a policy of ten", "another of twenty", "one without a name", "the last of them all"]
    figure = plot_against({"all": [Point(x, 50.0, None) for x in values]}, "policy", "y")
    figure.canvas.draw()
    (axes,) = figure.axes
    for i, label in enumerate(axes.get_xticklabels()):
        place = axes.transData.transform((i, 50.0))[0]
        assert abs(label.get_window_extent().x1 - place) < 6


def test_more_lines_than_can_be_told_apart() -> None:
    lines = {str(i): [Point(1, 50.0, None)] for i in range(22)}
    with pytest.raises(UsageError, match="1 to 21 lines apart, got 22"):
        plot_against(lines, "x", "y")
    with pytest.raises(UsageError, match="got 0"):
        plot_against({}, "x", "y")
