"""Expected calibration error, by hand and against torchmetrics."""

from __future__ import annotations

import pytest
import torch

from compact_vit.train.calibration import calibrate


def test_by_hand() -> None:
    probabilities = torch.tensor(
        [
            [0.6, 0.4],  # 9/15: the edge of two bins belongs to the lower
            [0.35, 0.65],
            [0.98, 0.02],
            [0.04, 0.96],
            [1.0, 0.0],
            [0.5, 0.5],  # the first class is said
        ],
        dtype=torch.float64,
    )
    labels = torch.tensor([0, 1, 1, 1, 0, 0])
    found = calibrate(probabilities, labels)
    # 0.5 in (7/15, 8/15], 0.6 in (8/15, 9/15], 0.65 in (9/15, 10/15], the others above 14/15
    assert found.counts == (*[0] * 7, 1, 1, 1, *[0] * 4, 3)
    assert found.confidences == pytest.approx((*[0] * 7, 50, 60, 65, *[0] * 4, 98))
    assert found.accuracies == pytest.approx((*[0] * 7, 100, 100, 100, *[0] * 4, 200 / 3))
    # (|50 - 100| + |60 - 100| + |65 - 100| + 3 |98 - 66.67|) / 6
    assert found.error == pytest.approx((50 + 40 + 35 + 94) / 6)


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
