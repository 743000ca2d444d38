"""Label smoothing by hand: hard and soft targets."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

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


WEIGHTS = [0.5, 4.0, 1.5]


def test_weights_of_classes_are_torchs_of_probabilities() -> None:
    """Every class's share counts so many times, and the sum is divided by the pictures."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.rand(7, 3, generator=generator, dtype=torch.float64).softmax(dim=1)
    weight = torch.tensor(WEIGHTS, dtype=torch.float64)
    expected = F.cross_entropy(logits, targets, weight=weight)
    loss = LabelSmoothingCrossEntropy(0.0, weight)(logits, targets)
    torch.testing.assert_close(loss, expected)
    (ours,), (theirs,) = (torch.autograd.grad(of, logits) for of in (loss, expected))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("shares", [[[0, 1, 0], [1, 0, 0]], [[0.7, 0.3, 0], [0.25, 0.25, 0.5]]])
def test_a_picture_counts_as_its_classes_weigh(smoothing: float, shares: list) -> None:
    """By hand: the smoothed loss of each class alone, times its share and its weight."""
    expected = 0.0
    for row, share in zip(LOGITS, shares, strict=True):
        log_sum = math.log(sum(math.exp(v) for v in row))
        for k, weight in enumerate(WEIGHTS):
            alone = [(1 - smoothing) * (j == k) + smoothing / 3 for j in range(3)]
            entropy = sum(a * (log_sum - v) for a, v in zip(alone, row, strict=True))
            expected += share[k] * weight * entropy / len(LOGITS)
    learnt = LabelSmoothingCrossEntropy(smoothing, torch.tensor(WEIGHTS))
    forms = [torch.tensor(shares, dtype=torch.float32)]
    if max(shares[0]) == 1:
        forms.append(forms[0].argmax(dim=1))
    for targets in forms:
        loss = learnt(torch.tensor(LOGITS), targets).item()
        assert loss == pytest.approx(expected, rel=1e-6)


def test_smoothing_does_not_ask_for_a_rare_class_everywhere() -> None:
    """Nine classes of 1,000 pictures and one of 10: the best answer is the label all the same."""
    weight = torch.tensor([0.901] * 9 + [90.1])
    logits = torch.zeros(1, 10, requires_grad=True)
    LabelSmoothingCrossEntropy(0.1, weight)(logits, torch.tensor([3])).backward()
    wanted = -logits.grad[0]
    assert wanted.argmax() == 3
    assert (wanted > 0).sum() == 1
