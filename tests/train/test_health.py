"""A loss or a gradient that is not finite never reaches the weights."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from compact_vit.errors import UsageError
from compact_vit.train import epoch, loop, resume, train
from compact_vit.train.health import Health

CPU = torch.device("cpu")


def poisoned(monkeypatch, steps: set[int], value: float) -> None:
    """Put ``value`` into a pixel of the batches number ``steps``."""
    original, calls = loop.TrainBatch.__call__, []

    def batch(self, *args):
        x, targets = original(self, *args)
        calls.append(1)
        if len(calls) in steps:
            x = x.clone()
            x[0, 0, 0, 0] = value
        return x, targets

    monkeypatch.setattr(loop.TrainBatch, "__call__", batch)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("values", [{}, {"clip_grad": 1.0}, {"accumulation": 3}, {"ema": 0.9}])
def test_a_bad_step_is_left_out_and_counted(tiny, tmp_path, monkeypatch, value, values) -> None:
    poisoned(monkeypatch, {2, 4}, value)
    result = train(tiny(**values), output=tmp_path / "run", quiet=True)
    assert result.summary["skipped_steps"] == 2
    for name, weight in result.model.state_dict().items():
        assert weight.isfinite().all(), name
    assert all(row["train_loss"] < 100 for row in result.history)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_first_step_left_out_is_no_step_forgotten(tiny, tmp_path, monkeypatch, precision) -> None:
    """torch would warn of ``lr_scheduler.step()`` before ``optimizer.step()``."""
    poisoned(monkeypatch, {1}, float("nan"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = tiny(epochs=1, optimizer="rmsprop", precision=precision)  # none fused
        result = train(config, output=tmp_path / "run", quiet=True)
    assert result.summary["skipped_steps"] >= 1


def test_the_weights_are_those_before_the_bad_step(tiny, tmp_path, monkeypatch) -> None:
    """A run of one step that is bad leaves the first weights, bit for bit, moments and all."""
    config = tiny(epochs=1, batch_size=36)
    seen = []
    original = epoch.train_step

    def watched(state, *args):
        before = {k: v.clone() for k, v in state.model.state_dict().items()}
        figures = original(state, *args)
        seen.append((before, state.model.state_dict(), figures))
        return figures

    monkeypatch.setattr(epoch, "train_step", watched)
    poisoned(monkeypatch, {1}, float("nan"))
    with pytest.raises(UsageError, match="the loss of epoch 1 is not finite"):
        train(config, output=tmp_path / "run", quiet=True)  # nothing was seen
    ((before, after, figures),) = seen
    for name, weight in before.items():
        assert torch.equal(weight, after[name]), name
    assert figures.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_an_optimiser_that_cannot_be_told_is_not_called(tiny, tmp_path, monkeypatch) -> None:
    from compact_vit.train import state

    build = state.build_optimizer
    monkeypatch.setattr(
        state, "build_optimizer", lambda m, c: torch.optim.AdamW(m.parameters(), lr=c.lr)
    )
    assert build is not state.build_optimizer
    poisoned(monkeypatch, {1}, float("nan"))
    result = train(tiny(epochs=1), output=tmp_path / "run", quiet=True)
    assert result.summary["skipped_steps"] == 1
    assert all(weight.isfinite().all() for weight in result.model.state_dict().values())


def test_too_many_in_a_row_stop_the_run(tiny, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(Health, "EVERY", 2)
    monkeypatch.setattr(Health, "LIMIT", 3)
    poisoned(monkeypatch, set(range(4, 99)), float("nan"))
    said = (
        r"not finite in 3 steps in a row, up to step 6 \(epoch 2, batch 3, learning rate "
        r"[\d.e-]+, gradient norm nan\): train again with a smaller lr"
    )
    with pytest.raises(UsageError, match=said):
        train(tiny(epochs=9), output=tmp_path / "run", quiet=True)
    monkeypatch.undo()
    assert resume(tmp_path / "run", quiet=True).summary["skipped_steps"] == 0  # the one before it


def test_twenty_in_a_row_are_too_many() -> None:
    health = Health(CPU)
    for step in range(1, 20):
        health.watch(torch.tensor(True), torch.tensor(1.0))
        health.check(1e-3, 1, step)
    health.watch(torch.tensor(True), torch.tensor(1.0))
    with pytest.raises(UsageError, match="not finite in 20 steps in a row, up to step 20"):
        health.check(1e-3, 1, 20)


def test_counts_by_hand() -> None:
    health = Health(CPU)
    for broken in (False, True, True, False, True):
        health.watch(torch.tensor(broken), torch.tensor(2.5))
    assert health.figures.tolist() == [3.0, 1.0, 5.0, 2.5]
    other = Health(CPU)
    other.load_state_dict(health.state_dict())
    other.watch(torch.tensor(True), torch.tensor(float("inf")))
    assert other.figures.tolist()[:3] == [4.0, 2.0, 6.0]
    assert (other.steps, other.skipped) == (6, 4)


def test_fp16_scales_clips_and_accumulates_in_the_right_order(tiny, tmp_path) -> None:
    """The clipped gradient's norm is of the true gradient: the scale is out of it, the parts in."""
    norms = {}

    def run(name: str, **values) -> None:
        seen = []
        original = nn.utils.clip_grads_with_norm_

        def clipped(parameters, most, norm, *args):
            parameters = list(parameters)
            original(parameters, most, norm, *args)
            after = torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()
            seen.append((norm.item(), after.item()))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nn.utils, "clip_grads_with_norm_", clipped)
            config = tiny(epochs=1, clip_grad=0.5, warmup_ratio=0.0, lr=1e-5, **values)
            train(config, output=tmp_path / name, quiet=True)
        norms[name] = [pair for pair in seen if pair[0] < float("inf")]

    run("fp32", precision="fp32", accumulation=1)
    run("fp16", precision="fp16", accumulation=3)
    assert len(norms["fp16"]) >= 2
    for (before, after), (half_before, half_after) in zip(
        norms["fp32"], norms["fp16"], strict=False
    ):
        assert half_before == pytest.approx(before, rel=0.05)
        assert after <= 0.5 + 1e-4
        assert half_after == pytest.approx(after, rel=0.05)
