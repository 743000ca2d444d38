"""Expected calibration error, by hand and against torchmetrics."""

from __future__ import annotations

import pytest
import torch

from compact_vit.train.calibration import calibrate


def test_by_hand() -> None:
    probabilities = torch.tensor(
        [
            [0.5, 0.5],  # the edge of two bins belongs to the lower; the first class is said
            [0.3, 0.7],
            [0.9, 0.1],
            [0.2, 0.8],
            [1.0, 0.0],
        ]
    )
    labels = torch.tensor([0, 1, 1, 1, 0])
    found = calibrate(probabilities, labels, bins=4)
    assert found.counts == (0, 1, 1, 3)  # (0.25, 0.5], (0.5, 0.75], (0.75, 1]
    assert found.confidences == pytest.approx((0, 50, 70, 90))
    assert found.accuracies == pytest.approx((0, 100, 100, 200 / 3))
    # (|50 - 100| + |70 - 100| + 3 |90 - 66.67|) / 5
    assert found.error == pytest.approx((50 + 30 + 70) / 5)


def test_a_model_that_is_as_good_as_it_says() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    assert calibrate(torch.tensor([[0.75, 0.25]]).expand(4, 2), labels).error == 0
    sure = torch.tensor([[1.0, 0.0]]).expand(4, 2)
    assert calibrate(sure, labels).error == pytest.approx(25)
    assert calibrate(sure, labels).counts == (*[0] * 14, 4)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_against_torchmetrics(classes) -> None:
    metrics = pytest.importorskip("torchmetrics.functional.classification")
    generator = torch.Generator().manual_seed(classes)
    logits = 3 * torch.randn(2000, classes, generator=generator)
    probabilities = logits.softmax(dim=1)
    right = torch.rand(2000, generator=generator) < 0.6
    other = torch.randint(classes, (2000,), generator=generator)
    labels = torch.where(right, logits.argmax(dim=1), other)
    wanted = metrics.multiclass_calibration_error(
        probabilities, labels, num_classes=classes, n_bins=15, norm="l1"
    )
    found = calibrate(probabilities, labels)
    assert sum(found.counts) == 2000
    assert found.error == pytest.approx(100 * wanted.item(), rel=1e-4)
    assert found.error > 1
