"""Label smoothing by hand: hard and soft targets."""

from __future__ import annotations

import math

import pytest
import torch

from compact_vit.layers import LabelSmoothingCrossEntropy

LOGITS = [[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]]


def by_hand(targets: list[list[float]], smoothing: float) -> float:
    total = 0.0
    for row, target in zip(LOGITS, targets, strict=True):
        log_sum = math.log(sum(math.exp(v) for v in row))
        for logit, t in zip(row, target, strict=True):
            total -= ((1 - smoothing) * t + smoothing / 3) * (logit - log_sum)
    return total / len(LOGITS)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_hard_targets(smoothing: float) -> None:
    loss = LabelSmoothingCrossEntropy(smoothing)(torch.tensor(LOGITS), torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(by_hand([[1, 0, 0], [0, 1, 0]], smoothing), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_soft_targets(smoothing: float) -> None:
    targets = [[0.7, 0.3, 0.0], [0.25, 0.25, 0.5]]
    loss = LabelSmoothingCrossEntropy(smoothing)(torch.tensor(LOGITS), torch.tensor(targets))
    assert loss.item() == pytest.approx(by_hand(targets, smoothing), rel=1e-6)


def test_smoothing_is_a_tenth_unless_said() -> None:
    loss = LabelSmoothingCrossEntropy()(torch.tensor(LOGITS), torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(by_hand([[1, 0, 0], [0, 1, 0]], 0.1), rel=1e-6)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_impossible_smoothing(smoothing: float) -> None:
    with pytest.raises(ValueError, match=rf"must be in \[0, 1\), got {smoothing}"):
        LabelSmoothingCrossEntropy(smoothing)
