"""Which parameters decay, and the learning rate of every step against its closed formula."""

from __future__ import annotations

import math

import pytest
import torch

from compact_vit import create_model
from compact_vit.train.config import TrainConfig
from compact_vit.train.optim import build_optimizer, build_schedule, parameter_groups


@pytest.mark.parametrize(
    ("name", "options", "matrices"),
    [  # qkv, projection and two of the MLP a layer, the tokenizer's, the pooling's, the head's
        ("vit_lite_2_4", {}, 2 * 4 + 1 + 0 + 1),
        ("cvt_2_4", {}, 2 * 4 + 1 + 1 + 1),
        ("cct_2_3x2", {}, 2 * 4 + 2 + 1 + 1),
        ("cct_4_3x1", {"positional_embedding": "sine"}, 4 * 4 + 1 + 1 + 1),
        ("cct_2_3x2", {"positional_embedding": "none"}, 2 * 4 + 2 + 1 + 1),
    ],
)
def test_only_matrices_decay(name, options, matrices) -> None:
    model = create_model(name, **options)
    names = {id(p): n for n, p in model.named_parameters()}
    decayed, kept = parameter_groups(model, 0.05)
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.05, 0.0)
    with_decay = {names[id(p)] for p in decayed["params"]}
    without = {names[id(p)] for p in kept["params"]}
    trainable = {n for n, p in model.named_parameters() if p.requires_grad}
    assert with_decay | without == trainable
    assert not with_decay & without
    for part in with_decay:
        assert part.endswith("weight")
        assert "norm" not in part
        assert "position" not in part
    assert len(with_decay) == matrices
    assert {"positions.table", "class_token.token"} & with_decay == set()
    learnable = options.get("positional_embedding", "learnable") == "learnable"
    assert ("positions.table" in without) == learnable
    assert ("class_token.token" in without) == name.startswith("vit")


def test_decay_moves_weights_and_nothing_else() -> None:
    """AdamW with zero gradients: a decayed weight shrinks by 1 - lr * decay, others stay."""
    config = TrainConfig(model="vit_lite_2_4", lr=0.1, weight_decay=0.5)
    model = create_model("vit_lite_2_4")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
            parameter.grad = torch.zeros_like(parameter)
    build_optimizer(model, config).step()
    for name, parameter in model.named_parameters():
        matrix = parameter.ndim > 1 and name not in ("positions.table", "class_token.token")
        assert torch.allclose(parameter, torch.tensor(0.95 if matrix else 1.0)), name


def rates(config: TrainConfig, steps_per_epoch: int) -> list[float]:
    """The learning rate that each step of a run is taken with."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.lr)
    schedule = build_schedule(optimizer, config, steps_per_epoch)
    found = []
    for _ in range(config.epochs * steps_per_epoch):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def formula(config: TrainConfig, steps_per_epoch: int) -> list[float]:
    total = config.epochs * steps_per_epoch
    warmup, cooldown = round(config.warmup_ratio * total), round(config.cooldown_ratio * total)
    expected = []
    for step in range(total):
        if step < warmup:
            share = step / warmup
            expected.append(config.warmup_lr * (1 - share) + config.lr * share)
        elif step < total - cooldown:
            angle = math.pi * (step - warmup) / (total - warmup - cooldown)
            expected.append(config.min_lr + (config.lr - config.min_lr) * (1 + math.cos(angle)) / 2)
        else:
            expected.append(config.min_lr)
    return expected


@pytest.mark.parametrize(
    ("values", "steps_per_epoch"),
    [
        ({"epochs": 20, "warmup_ratio": 0.1}, 7),
        ({"epochs": 10, "warmup_ratio": 0.1, "warmup_lr": 1e-4, "min_lr": 0.0}, 3),
        ({"epochs": 31, "warmup_ratio": 1 / 31, "cooldown_ratio": 1 / 31}, 11),
        ({"epochs": 6, "warmup_ratio": 0.0, "cooldown_ratio": 0.5}, 4),
        ({"epochs": 6, "warmup_ratio": 0.0}, 5),
        ({"epochs": 1, "warmup_ratio": 0.1}, 40),
        ({"epochs": 1, "warmup_ratio": 0.1}, 1),
        ({"epochs": 5, "warmup_ratio": 0.4, "warmup_lr": 0.0}, 5),
        ({"epochs": 5, "warmup_ratio": 0.2, "warmup_lr": 1e-3, "min_lr": 1e-3}, 5),
        ({"epochs": 8, "min_lr": 0.0, "cooldown_ratio": 0.25}, 4),
    ],
)
def test_every_step_has_the_rate_of_the_formula(values, steps_per_epoch) -> None:
    config = TrainConfig(**{"lr": 1e-3} | values)
    got = rates(config, steps_per_epoch)
    assert got == pytest.approx(formula(config, steps_per_epoch), rel=1e-7, abs=1e-13)


def test_first_peak_and_last() -> None:
    config = TrainConfig(dataset="cifar100", recipe="published-300", epochs=31)
    got = rates(config, 10)
    assert got[0] == pytest.approx(1e-6)
    assert max(got) == got[10] == pytest.approx(6e-4)
    assert got[-10:] == pytest.approx([1e-5] * 10)
    assert got[-11] > 1.0001e-5
    assert got[10:] == sorted(got[10:], reverse=True)
