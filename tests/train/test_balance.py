"""Classes of unequal size: their weights, in parts, in processes, by a teacher, and the line."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from compact_vit.data.pictures import Pictures
from compact_vit.errors import Stopped, UsageError
from compact_vit.layers import LabelSmoothingCrossEntropy
from compact_vit.train import epoch, resume, train
from compact_vit.train.balance import class_weights, told_of_unequal
from compact_vit.train.inputs import build_train_batch, load_splits
from compact_vit.train.objective import Classification
from compact_vit.train.state import build_state
from compact_vit.train.step import train_step

CPU = torch.device("cpu")


@pytest.fixture
def unequal(tiny, picture_folder):
    """The tiny configuration on 12 pictures of one class, 6 of another and 3 of the third."""
    for name, kept in (("green", 6), ("red", 3)):
        for path in sorted((picture_folder / "train" / name).iterdir())[kept:]:
            path.unlink()
    return lambda **values: tiny(**{"class_weight": "balanced", "batch_size": 7, **values})


def of_labels(labels: list[int], classes: int, **values) -> tuple[SimpleNamespace, SimpleNamespace]:
    """What of a configuration and of a data set weights depend on."""
    pictures = Pictures(torch.zeros(len(labels), 1, 1, 1, dtype=torch.uint8), torch.tensor(labels))
    config = {"class_weight": "balanced", "objective": "classify", "overfit": 0, **values}
    names = tuple("abcdefghij"[:classes])
    return SimpleNamespace(**config), SimpleNamespace(train=pictures, classes=names)


@pytest.mark.parametrize("counts", [[5, 5], [300, 60, 7], [1, 2, 3, 4, 1000]])
def test_weights_are_scikit_learns(counts) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    weights = class_weights(*of_labels(labels.tolist(), len(counts)))
    theirs = compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels)
    assert weights.tolist() == pytest.approx(theirs.tolist())
    assert weights[torch.from_numpy(labels)].mean().item() == pytest.approx(1)
    assert class_weights(*of_labels(labels.tolist(), len(counts), class_weight="none")) is None


def test_weights_are_of_what_trains(unequal) -> None:
    """After the validation part and the pictures that are not used are taken away."""
    for values in ({}, {"val_fraction": 0.35}, {"train_pictures": 12, "test_fraction": 0.0}):
        config = unequal(**values)
        splits = load_splits(config)
        labels = splits.train.labels.numpy()
        theirs = compute_class_weight("balanced", classes=np.arange(3), y=labels)
        weight = build_state(config, splits, CPU).objective.criterion.weight
        assert weight.tolist() == pytest.approx(theirs.tolist())


def test_a_class_that_no_picture_is_left_of(unequal, tmp_path) -> None:
    said = "class_weight must be 'none' where a class has no training pictures, got 'balanced', and"
    with pytest.raises(UsageError, match=f"{said} none is of class '.*': take more train_pictures"):
        train(unequal(train_pictures=2, batch_size=2), output=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_parts_of_a_batch_add_up(unequal) -> None:
    """To the gradient and the loss of the whole, however the rare are spread over them."""
    ends = []
    for parts in (1, 3, 7):
        config = unequal(accumulation=parts, optimizer="sgd", lr=0.1, clip_grad=0.0)
        splits = load_splits(config)
        state = build_state(config, splits, CPU)
        state.module.double()
        state.objective.criterion.double()
        x = build_train_batch(config, splits).normalize(splits.train.images)[:21:3].double()
        labels = splits.train.labels[:21:3]
        assert len(labels.unique()) == 3
        loss, _, seen = train_step(state, config, state.module, x, labels).tolist()
        ends.append((loss / seen, state.module.state_dict()))
    said = build_state(config, splits, CPU).module.double()(x)
    weight = state.objective.criterion.weight
    entropies = -said.log_softmax(dim=1)
    each = 0.9 * entropies[torch.arange(7), labels] + 0.1 * entropies.mean(dim=1)
    assert ends[0][0] == pytest.approx((each * weight[labels]).mean().item(), rel=1e-5)
    for loss, weights in ends[1:]:
        assert loss == pytest.approx(ends[0][0], rel=1e-6)
        for name, value in weights.items():
            torch.testing.assert_close(value, ends[0][1][name], rtol=0, atol=1e-9)


@pytest.mark.parametrize("mixed", [False, True])
def test_a_teachers_part_counts_as_the_picture_does(mixed) -> None:
    generator = torch.Generator().manual_seed(0)
    said, wanted = torch.randn(2, 5, 3, generator=generator)
    weight, share, temperature = torch.tensor([0.5, 4.0, 1.5]), 0.3, 2.5
    labels = torch.tensor([0, 1, 2, 1, 0])
    targets = torch.rand(5, 3, generator=generator).softmax(dim=1) if mixed else labels
    learnt = Classification(
        LabelSmoothingCrossEntropy(0.0, weight), lambda x: wanted, share, temperature
    )
    loss = learnt.loss(said, torch.zeros(5, 1), targets).item()
    t, s = ((logits / temperature).softmax(dim=1).double() for logits in (wanted, said))
    apart = (t * (t / s).log()).sum(dim=1)
    counts = targets.double() @ weight.double() if mixed else weight[labels].double()
    entropy = nn.CrossEntropyLoss(weight=weight, reduction="sum")(said, targets) / 5
    by_hand = (1 - share) * entropy + share * temperature**2 * (apart * counts).mean()
    assert loss == pytest.approx(by_hand.item(), rel=1e-5)


def test_a_weighted_run_goes_on_bit_for_bit(
    unequal, everything, tmp_path, monkeypatch, assert_same_run
) -> None:
    config = everything(class_weight="balanced", batch_size=4, val_fraction=0.35, epochs=2)
    whole = train(config, output=tmp_path / "whole", quiet=True)
    written = json.loads((tmp_path / "whole" / "config.json").read_text())
    assert written["class_weight"] == "balanced"
    plain = dataclasses.replace(config, class_weight="none")
    plain = train(plain, output=tmp_path / "plain", quiet=True)
    assert plain.history[0]["train_loss"] != whole.history[0]["train_loss"]
    original, calls = epoch.train_step, []

    def counted(*args):
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*args)

    monkeypatch.setattr(epoch, "train_step", counted)
    with pytest.raises(Stopped):
        train(config, output=tmp_path / "stopped", quiet=True)
    monkeypatch.setattr(epoch, "train_step", original)
    assert_same_run(whole, resume(tmp_path / "stopped", quiet=True))


def test_the_test_loss_is_not_weighted(unequal, tmp_path) -> None:
    result = train(unequal(epochs=1), output=tmp_path / "run", quiet=True)
    splits = load_splits(result.config)
    normalize = build_train_batch(result.config, splits).normalize
    with torch.no_grad():
        said = result.model(normalize(splits.test.images))
    expected = nn.functional.cross_entropy(said, splits.test.labels).item()
    assert result.history[-1]["test_loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("values", "counts", "said"),
    [
        ({}, [60, 6, 30], True),
        ({}, [59, 6, 30], False),
        ({}, [60, 0, 30], False),  # which balanced would refuse
        ({"class_weight": "balanced"}, [60, 6, 30], False),
        ({"objective": "mae"}, [60, 6, 30], False),
        ({"overfit": 96}, [60, 6, 30], False),
    ],
)
def test_very_unequal_classes_are_said(values, counts, said) -> None:
    labels = np.repeat(np.arange(3), counts).tolist()
    lines = told_of_unequal(*of_labels(labels, 3, **{"class_weight": "none", **values}))
    line = "class 'a' has 60 training pictures and 'b' 6: --class-weight balanced makes all classes"
    assert lines == [f"{line} count alike"] * said


def test_the_line_is_said_at_the_start(unequal, picture_folder, tmp_path, capsys) -> None:
    for path in sorted((picture_folder / "train" / "red").iterdir())[1:]:
        path.unlink()
    train(unequal(class_weight="none", epochs=1), output=tmp_path / "run")
    lines = capsys.readouterr().err.splitlines()
    (line,) = (number for number, line in enumerate(lines) if "--class-weight balanced" in line)
    said = "class 'blue' has 12 training pictures and 'red' 1: --class-weight balanced makes all"
    assert lines[line].endswith(f"{said} classes count alike")
    assert line < next(number for number, line in enumerate(lines) if "epoch 1" in line)
