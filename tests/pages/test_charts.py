"""Charts as places in pixels: numbers go where they belong."""

from __future__ import annotations

import math

import pytest

from compact_vit.pages import confidence_chart, curve_charts, ranking_chart, reliability_chart
from compact_vit.pages.charts import round_numbers
from compact_vit.ranking import Result, ranked
from compact_vit.scoring import pareto_front


def places(points: str) -> list[tuple[float, float]]:
    return [tuple(map(float, pair.split(","))) for pair in points.split()]


def value_at(ticks, place: float, *, log: bool = False) -> float:
    """What stands at a place, by the first and the last number on the axis."""
    first, last = ticks[0], ticks[-1]
    low, high = (math.log10(float(t.text)) if log else float(t.text) for t in (first, last))
    value = low + (place - first.place) / (last.place - first.place) * (high - low)
    return 10**value if log else value


@pytest.mark.parametrize("epochs", [1, 3, 200])
def test_curves(epochs) -> None:
    history = [
        {
            "epoch": e,
            "train_loss": 2 / e,
            "val_loss": 3 / e,
            "train_accuracy": 90 - 50 / e,
            "val_accuracy": 80 - 50 / e,
        }
        for e in range(1, epochs + 1)
    ]
    for chart, quantity in zip(curve_charts(history), ("loss", "accuracy"), strict=True):
        assert [line.name for line in chart.lines] == ["train", "val"]
        for line in chart.lines:
            got = places(line.points)
            assert len(got) == epochs
            for (x, y), row in zip(got, history, strict=True):
                wanted = row[f"{line.name}_{quantity}"]
                assert value_at(chart.y_ticks, y) == pytest.approx(wanted, abs=0.3)
                if epochs > 1:
                    assert value_at(chart.x_ticks, x) == pytest.approx(row["epoch"], abs=0.3)
                assert chart.left <= x <= chart.width - chart.right
                assert chart.top <= y <= chart.height - chart.bottom
        assert len(chart.dots) == (2 * epochs if epochs < 40 else 0)
        assert all(float(tick.text) == int(float(tick.text)) for tick in chart.x_ticks)


def test_numbers_that_are_none_leave_a_gap() -> None:
    history = [
        {"epoch": e, "train_loss": loss, "train_accuracy": 50.0, "test_loss": 1.0,
         "test_accuracy": 50.0}
        for e, loss in ((1, 1.0), (2, math.nan), (3, math.inf), (4, 2.0))
    ]  # fmt: skip
    loss, accuracy = curve_charts(history)
    assert len(places(loss.lines[0].points)) == 2
    assert len(places(accuracy.lines[0].points)) == 4
    nothing = [{"epoch": 1, "train_loss": math.nan, "train_accuracy": math.nan}]
    assert all(places(chart.lines[0].points) == [] for chart in curve_charts(nothing))


def test_reliability() -> None:
    chart = reliability_chart((0, 30, 70), (0.0, 60.0, 90.0), (0.0, 50.0, 95.0))
    right = [bar for bar in chart.bars if bar.kind == "right"]
    gaps = [bar for bar in chart.bars if bar.kind == "gap"]
    assert [value_at(chart.y_ticks, bar.y) for bar in right] == pytest.approx([50, 95], abs=0.1)
    tops = [value_at(chart.y_ticks, bar.y) for bar in gaps]
    ends = [value_at(chart.y_ticks, bar.y + bar.height) for bar in gaps]
    assert (tops, ends) == (pytest.approx([60, 95], abs=0.1), pytest.approx([50, 90], abs=0.1))
    assert value_at(chart.x_ticks, right[0].x) == pytest.approx(100 / 3, abs=0.1)
    assert right[0].said == "30 pictures: 50.0% right at a mean confidence of 60.0%"
    (line,) = chart.lines
    (x0, y0), (x1, y1) = places(line.points)
    corners = [value_at(chart.x_ticks, x0), value_at(chart.y_ticks, y0)]
    corners += [value_at(chart.x_ticks, x1), value_at(chart.y_ticks, y1)]
    assert corners == [0, 0, 100, 100]
    shares = [value_at(chart.y_ticks, bar.y) for bar in confidence_chart((0, 30, 70)).bars]
    assert shares == pytest.approx([0, 30, 70], abs=0.1)


def result(name: str, parameters: int, accuracy: float, origin: str = "published") -> Result:
    return Result(
        name=name, origin=origin, accuracy=accuracy, parameters=parameters, counted="without"
    )


def test_ranking() -> None:
    results = [
        result("mine", 312_395, 81.45, "run"),
        result("small", 275_531, 89.17),
        result("large", 3_168_267, 95.29),
        result("beaten", 3_310_539, 93.56),
        Result(name="sizeless", origin="published", accuracy=90.0, parameters=None, counted=""),
    ]
    chart = ranking_chart(ranked(results, 70.0))
    got = {
        dot.said.split(":")[0]: (
            value_at(chart.x_ticks, dot.x, log=True),
            value_at(chart.y_ticks, dot.y),
        )
        for dot in chart.dots
    }
    assert set(got) == {"mine", "small", "large", "beaten"}
    for r in results[:4]:
        millions = pytest.approx(r.parameters / 1e6, rel=0.01)
        assert got[r.name] == (millions, pytest.approx(r.accuracy, abs=0.1))
    assert chart.dots[-1].kind == "run"  # on top of the others
    assert {dot.label for dot in chart.dots} == {"", "mine", "small", "large"}
    corners = places(chart.lines[0].points)
    ends = [value_at(chart.y_ticks, y) for _, y in corners]
    assert ends == pytest.approx([89.17, 89.17, 95.29], abs=0.1)


def test_the_highest_name_is_within_the_picture() -> None:
    """It stands 7 pixels above its dot, and a letter is 13 high."""
    chart = ranking_chart(ranked([result("mine", 300_000, 98.0, "run")], 70.0))
    for dot in chart.dots:
        assert dot.y - 7 - 13 >= 0


def test_a_ranking_of_one() -> None:
    chart = ranking_chart(ranked([result("mine", 300_000, 80.0, "run")], 70.0))
    (dot,) = chart.dots
    assert chart.left < dot.x < chart.width
    assert chart.top <= dot.y <= chart.height - chart.bottom


def test_names_never_stand_on_each_other() -> None:
    results = [result(f"model number {i}", 10**6 + 10**4 * i, 80 + i / 5) for i in range(40)]
    results.append(result("mine", 1_200_000, 83.0, "run"))
    assert len(pareto_front([(r.parameters, r.accuracy) for r in results])) == 40
    chart = ranking_chart(ranked(results, 70.0))
    named = [dot for dot in chart.dots if dot.label]
    assert "mine" in [dot.label for dot in named]
    assert 3 < len(named) < 40
    for i, a in enumerate(named):
        for b in named[:i]:
            beside = a.x < b.x - 6 * len(b.label) or b.x < a.x - 6 * len(a.label)
            assert beside or abs(a.y - b.y) > 12


@pytest.mark.parametrize(
    ("low", "high", "numbers"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.31, 1.49, [0, 0.5, 1, 1.5]),
        (61, 98, [60, 70, 80, 90, 100]),
        (1, 20, [0, 5, 10, 15, 20]),
        (50, 50, [50, 60]),
        (0, 0, [0, 0.2]),
        (20.833333333333332, 20.833333333333336, [20, 25]),  # two sums of the same
    ],
)
def test_round_numbers(low, high, numbers) -> None:
    assert round_numbers(low, high) == numbers
