"""Curves show the numbers of their runs, under the right names, with the best marked."""

from __future__ import annotations

import itertools
from io import BytesIO

import numpy as np
import pytest

from compact_vit.errors import UsageError
from compact_vit.plots import compare_curves, plot_curves
from compact_vit.plots.curves import spread
from compact_vit.train.config import TrainConfig
from compact_vit.train.summary import draw_curves, training_loss, write_curves

HISTORY = [
    {
        "epoch": epoch,
        "train_loss": 2.0 / epoch,
        "train_accuracy": 10.0 * epoch,
        "test_loss": 3.0 / epoch,
        "test_accuracy": accuracy,
        "test_top5": 50.0,
        "lr": 1e-3,
    }
    for epoch, accuracy in ((1, 9.0), (2, 37.125), (3, 27.0))
]
ON_VAL = [{k.replace("test", "val"): v for k, v in row.items()} for row in HISTORY]


def lines(axes):
    """The curves by name, without the lines of the values marked."""
    return {
        line.get_label(): line for line in axes.get_lines() if not line.get_label().startswith("_")
    }


def marks(axes):
    """The heights of the horizontal lines, by colour."""
    found = [line for line in axes.get_lines() if line.get_label().startswith("_")]
    assert all(list(line.get_xdata()) == [0, 1] for line in found)  # from edge to edge
    return {line.get_color(): line.get_ydata()[0] for line in found}


def test_one_run() -> None:
    figure = plot_curves(HISTORY, title="cct_2_3x2 on cifar10")
    assert figure.get_suptitle() == "cct_2_3x2 on cifar10"
    loss, accuracy = figure.axes
    for axes, quantity, unit in ((loss, "loss", "nats"), (accuracy, "accuracy", "%")):
        assert axes.get_xlabel() == "epoch"
        assert axes.get_ylabel() == f"{quantity} ({unit})"
        assert list(lines(axes)) == ["train", "test"]
        for split, line in lines(axes).items():
            assert list(line.get_xdata()) == [1, 2, 3]
            assert list(line.get_ydata()) == [row[f"{split}_{quantity}"] for row in HISTORY]
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["train", "test"]
        assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "linear")
    colours = [line.get_color() for line in lines(loss).values()]
    assert colours == [line.get_color() for line in lines(accuracy).values()]
    assert len(set(colours)) == 2
    # the last epoch of the split held out: of the test set the best is nobody's result
    assert marks(loss) == {colours[1]: 1.0}
    assert marks(accuracy) == {colours[1]: 27.0}
    assert [text.get_text() for text in loss.texts] == ["1.00"]
    assert [text.get_text() for text in accuracy.texts] == ["27.00"]


def test_a_validation_split() -> None:
    loss, accuracy = plot_curves(ON_VAL).axes
    assert list(lines(loss)) == ["train", "val"]
    assert list(marks(loss)) == [lines(loss)["val"].get_color()]
    assert [text.get_text() for text in accuracy.texts] == ["37.12"]  # the best may be picked
    assert list(marks(loss).values()) == [1.5]  # the same epoch's, though the last has a lower one
    assert list(marks(compare_curves({"a": ON_VAL}).axes[0]).values()) == [1.5]
    pretrained = [{k: v for k, v in row.items() if "accuracy" not in k} for row in ON_VAL]
    assert list(marks(plot_curves(pretrained).axes[0]).values()) == [1.0]  # which has a loss alone


def test_a_training_loss_of_its_own_is_told() -> None:
    assert training_loss(TrainConfig(label_smoothing=0.0)) == ""
    config = TrainConfig(label_smoothing=0.2, class_weight="balanced", teacher="timm/resnet18")
    told = "against targets smoothed by 0.2, weighted by class, also of a teacher's answers"
    assert training_loss(config) == told
    title = draw_curves(HISTORY, config, title="Mine").get_suptitle()
    assert " ".join(title.split()) == f"Mine; the training loss is {told}"


def test_what_is_learnt_by_heart_is_not_called_test() -> None:
    learnt = [{key.replace("test_", "learnt_"): row[key] for key in row} for row in HISTORY]
    figure = draw_curves(learnt, TrainConfig(overfit=20))
    for axes, quantity in zip(figure.axes, ("loss", "accuracy"), strict=True):
        assert list(lines(axes)) == ["train", "learnt"]
        drawn = list(lines(axes)["learnt"].get_ydata())
        assert drawn == [row[f"test_{quantity}"] for row in HISTORY]
    loss, _ = compare_curves({"a": learnt, "b": HISTORY}).axes
    assert list(lines(loss)) == ["a (learnt)", "b (test)"]


def test_log_log_axes() -> None:
    for axes in plot_curves(HISTORY, axes="log-log").axes:
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        shown = {t for t in axes.get_xticks() if axes.get_xlim()[0] <= t <= axes.get_xlim()[1]}
        assert shown == {1, 2, 3}
    with pytest.raises(UsageError, match="unknown axes 'polar': choose from linear, log-log"):
        plot_curves(HISTORY, axes="polar")


def test_a_zero_has_no_place_on_a_log_axis() -> None:
    rows = [{**row, "test_accuracy": 0.0} for row in HISTORY]
    _, accuracy = plot_curves(rows, axes="log-log").axes
    assert not accuracy.texts
    assert accuracy.get_ylim()[0] > 0


def test_several_runs() -> None:
    better = [{**row, "test_loss": row["test_loss"] / 2, "lr": 1} for row in HISTORY[:2]]
    figure = compare_curves({"plain": HISTORY, "better": better}, "2 runs on cifar10")
    assert figure.get_suptitle() == "2 runs on cifar10"
    loss, accuracy = figure.axes
    assert loss.get_ylabel() == "test loss (nats)"
    assert accuracy.get_ylabel() == "test accuracy (%)"
    drawn = lines(loss)
    assert list(drawn["plain"].get_ydata()) == [3.0, 1.5, 1.0]
    assert list(drawn["better"].get_ydata()) == [1.5, 0.75]
    assert marks(loss) == {drawn["plain"].get_color(): 1.0, drawn["better"].get_color(): 0.75}
    assert [text.get_text() for text in loss.texts] == ["1.00", "0.750"]
    assert [text.get_color() for text in loss.texts] == list(marks(loss))
    assert loss.get_xlim()[1] > 3
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["plain", "better"]


def test_long_names_are_told_apart_within_the_picture() -> None:
    names = [f"/runs/{'x' * 150}/{end}" for end in ("high", "low")]
    figure = compare_curves(dict.fromkeys(names, HISTORY))
    figure.canvas.draw()
    (legend,) = figure.legends
    said = [text.get_text() for text in legend.get_texts()]
    assert [name.rpartition("/")[2] for name in said] == ["high", "low"]
    assert {len(name) for name in said} == {80}
    box = legend.get_window_extent()
    assert 0 < box.x0 < box.x1 < figure.bbox.x1


def test_runs_on_other_splits_say_so() -> None:
    loss, _ = compare_curves({"a": HISTORY, "b": ON_VAL}).axes
    assert list(lines(loss)) == ["a (test)", "b (val)"]
    assert loss.get_ylabel() == "loss (nats)"


def test_many_runs_are_told_apart() -> None:
    figure = compare_curves({f"run {i}": HISTORY for i in range(21)}, "many")
    looks = {
        (line.get_color(), str(line.get_linestyle())) for line in lines(figure.axes[0]).values()
    }
    assert len(looks) == 21
    figure.draw_without_rendering()
    for axes in figure.axes:
        boxes = [text.get_window_extent() for text in axes.texts]
        assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
        assert all(figure.bbox.containsx(x) for box in boxes for x in (box.x0, box.x1))
    assert figure.bbox.containsy(figure.legends[0].get_window_extent().y0)
    with pytest.raises(UsageError, match="at most 21 runs apart, got 22"):
        compare_curves({f"run {i}": HISTORY for i in range(22)})


def test_nothing_to_draw() -> None:
    with pytest.raises(UsageError, match="at least one epoch, got none"):
        plot_curves([])


def test_numbers_are_spread() -> None:
    assert spread([0.2, 0.9, 0.5], 0.1) == [0.2, 0.9, 0.5]
    assert spread([0.52, 0.5], 0.1) == pytest.approx([0.56, 0.46])
    assert spread([0.0, 1.0, 0.01], 0.1) == pytest.approx([0.0, 1.0, 0.1])
    assert spread([], 0.1) == []
    random = np.random.default_rng(0)
    for _ in range(50):
        heights = random.random(random.integers(1, 15)).tolist()
        places = spread(heights, 0.06)
        assert np.argsort(places).tolist() == np.argsort(heights).tolist()
        assert min(np.diff(sorted(places)), default=1) >= 0.06 - 1e-9
        assert -1e-9 <= min(places) <= max(places) <= 1 + 1e-9


def test_training_writes_its_curves_whole_or_not_at_all(tmp_path, monkeypatch) -> None:
    from matplotlib.figure import Figure

    path, config = tmp_path / "curves.png", TrainConfig(epochs=2)
    write_curves(path, HISTORY, config)
    whole = path.read_bytes()
    assert whole.startswith(b"\x89PNG")

    def cut(self: Figure, file: BytesIO, **options: object) -> None:
        file.write(whole[:100])
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", cut)
    with pytest.raises(OSError, match="disk full"):
        write_curves(path, HISTORY, config)
    assert path.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [path]
