"""Accuracy against cost: what is drawn of a ranking, and which names have room."""

from __future__ import annotations

import pytest
from matplotlib.transforms import Bbox

from compact_vit.plots.ranking import Mark, plot_ranking


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


def test_a_front_of_one_result_is_no_line() -> None:
    (axes,) = plot_ranking([Mark("a", 1.0, 80.0), Mark("b", 2.0, 75.0)], "costs").axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["measured"]
    assert {text.get_text() for text in axes.texts} == {"a", "b"}


def test_names_do_not_overlap() -> None:
    marks = [Mark(f"model number {i}", 1 + i % 3 / 50, 80 + i / 20) for i in range(90)]
    figure = plot_ranking(marks, "parameters (millions)")
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert 3 <= len(boxes) < 90
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


LEVELS = (82.87, 82.72, 77.31, 77.05, 76.71, 75.145, 74.92, 74.47, 73.01, 72.25)
APART = [Mark(f"model {a}", 3.7 if i % 2 else 3.2, a) for i, a in enumerate(LEVELS)]
CROWD = [Mark(f"model {i}", 1 + i % 4 / 30, 80 + i / 7) for i in range(60)]


@pytest.mark.parametrize(("marks", "least"), [(APART, 7), (CROWD, 4)], ids=["apart", "crowd"])
def test_a_name_stands_clearly_nearest_to_its_own_point(marks, least) -> None:
    marks = [*marks, Mark("left", 0.3, 66.9), Mark("right", 300.0, 93.4)]
    (axes,) = plot_ranking(marks, "parameters (millions)").axes
    points = {mark.name: axes.transData.transform((mark.cost, mark.accuracy)) for mark in marks}
    assert len(axes.texts) >= least
    for text in axes.texts:
        box = text.get_window_extent()
        gaps = {
            name: max(box.x0 - x, 0, x - box.x1) ** 2 + max(box.y0 - y, 0, y - box.y1) ** 2
            for name, (x, y) in points.items()
        }
        own = gaps.pop(text.get_text())
        assert 1.3**2 * own <= min(gaps.values())


def test_no_name_stands_on_a_deviation() -> None:
    marks = [Mark(f"model {i}", 1 + i * 7 % 10 / 10, 80 + i, 1.0) for i in range(10)]
    (axes,) = plot_ranking(marks, "parameters (millions)").axes
    assert len(axes.texts) > 4
    bars = [[(m.cost, m.accuracy + sign) for sign in (-1, 1)] for m in marks]
    boxes = [Bbox(axes.transData.transform(ends)) for ends in bars]
    for text in axes.texts:
        assert not any(text.get_window_extent().overlaps(box) for box in boxes)


def test_no_tick_is_below_nothing() -> None:
    (axes,) = plot_ranking([Mark("a", 1.0, 2.0, 3.0), Mark("b", 2.0, 4.0)], "costs").axes
    assert axes.get_ylim()[0] < -1
    assert min(axes.get_yticks()) == 0
