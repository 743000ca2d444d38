"""Averaged weights are torch's own average, bit for bit, and so is what batch norms remember."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from compact_vit.train.step import _follow


def test_the_average_is_torchs_with_a_warm_up() -> None:
    """After n steps (1 + n) / (10 + n) is kept, 2/11 after the first, until that is the decay."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model[0].bias.requires_grad_(False)
    ours, theirs = (AveragedModel(model, use_buffers=True) for _ in "ab")
    for decay in (0.0, 2 / 11, 3 / 12, 0.3, 0.3):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += torch.randn_like(parameter)
            model(torch.randn(5, 3))  # which the batch norm remembers
        _follow(ours, model, 0.3)
        theirs.multi_avg_fn = get_ema_multi_avg_fn(decay)
        theirs.update_parameters(model)
        count = model[1].num_batches_tracked  # which torch would average, in whole numbers
        assert ours.module[1].num_batches_tracked == count
        theirs.module[1].num_batches_tracked.copy_(count)
        for (name, own), (_, other) in zip(
            ours.state_dict().items(), theirs.state_dict().items(), strict=True
        ):
            assert torch.equal(own, other), name
    assert int(ours.n_averaged) == 5
