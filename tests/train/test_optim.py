"""Which parameters decay, and what every optimiser does to them, against its published formula."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from compact_vit import create_model
from compact_vit.errors import UsageError
from compact_vit.train import resume, train
from compact_vit.train.checkpoint import load_checkpoint, save_checkpoint
from compact_vit.train.config import TrainConfig
from compact_vit.train.inputs import build_train_batch, load_splits
from compact_vit.train.optim import build_optimizer, parameter_groups
from compact_vit.train.rules import OPTIMIZERS, SCHEDULES
from compact_vit.train.schedule import build_schedule
from compact_vit.train.state import TrainState, build_state
from compact_vit.train.step import train_step


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


class Small(nn.Module):
    """A matrix that decays, and a bias and positions that do not; float64."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        for name, shape in (("weight", (6, 5)), ("bias", (6,)), ("positions", (1, 6, 5))):
            values = torch.randn(shape, generator=generator, dtype=torch.float64)
            setattr(self, name, nn.Parameter(values))

    def no_weight_decay(self) -> set[str]:
        return {"positions"}


LR, DECAY, MOMENTUM = 0.1, 0.3, 0.7


def sgd(p: Tensor, g: Tensor, s: dict, decay: float) -> Tensor:
    return p - LR * (g + decay * p)


def momentum(p: Tensor, g: Tensor, s: dict, decay: float) -> Tensor:
    s["v"] = MOMENTUM * s.get("v", 0) + g + decay * p
    return p - LR * s["v"]


def nesterov(p: Tensor, g: Tensor, s: dict, decay: float) -> Tensor:
    g = g + decay * p
    s["v"] = MOMENTUM * s.get("v", 0) + g
    return p - LR * (g + MOMENTUM * s["v"])


def rmsprop(p: Tensor, g: Tensor, s: dict, decay: float) -> Tensor:
    g = g + decay * p
    s["square"] = 0.9 * s.get("square", 0) + 0.1 * g**2
    return p - LR * g / s["square"].sqrt()


def adagrad(p: Tensor, g: Tensor, s: dict, decay: float) -> Tensor:
    g = g + decay * p
    s["sum"] = s.get("sum", 0) + g**2
    return p - LR * g / s["sum"].sqrt()


def adadelta(p: Tensor, g: Tensor, s: dict, decay: float) -> Tensor:
    g, eps = g + decay * p, 1e-6
    s["square"] = 0.9 * s.get("square", 0) + 0.1 * g**2
    moved = s.get("moved", torch.zeros_like(p))
    step = ((moved + eps) / (s["square"] + eps)).sqrt() * g
    s["moved"] = 0.9 * moved + 0.1 * step**2
    return p - LR * step


def adam(p: Tensor, g: Tensor, s: dict, decay: float) -> Tensor:
    g = g + decay * p
    s["t"] = s.get("t", 0) + 1
    s["mean"] = 0.9 * s.get("mean", 0) + 0.1 * g
    s["square"] = 0.999 * s.get("square", 0) + 0.001 * g**2
    mean, square = s["mean"] / (1 - 0.9 ** s["t"]), s["square"] / (1 - 0.999 ** s["t"])
    return p - LR * mean / square.sqrt()


def adamw(p: Tensor, g: Tensor, s: dict, decay: float) -> Tensor:
    return adam(p, g, s, 0.0) - LR * decay * p


#: all but muon, whose steps are not exact
FORMULAS = (sgd, momentum, nesterov, rmsprop, adagrad, adadelta, adam, adamw)


def configured(name: str) -> TrainConfig:
    moving = {"momentum": MOMENTUM} if name in ("momentum", "nesterov", "muon") else {}
    return TrainConfig(optimizer=name, lr=LR, weight_decay=DECAY, **moving)


@pytest.mark.parametrize("formula", FORMULAS, ids=lambda formula: formula.__name__)
def test_three_steps_by_the_formula(formula) -> None:
    model = Small()
    optimizer = build_optimizer(model, configured(formula.__name__))
    expected = {name: p.detach().clone() for name, p in model.named_parameters()}
    states: dict[str, dict] = {name: {} for name in expected}
    generator = torch.Generator().manual_seed(4)
    for _ in range(3):
        for name, p in model.named_parameters():
            p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)
            decay = DECAY if name == "weight" else 0.0
            expected[name] = formula(expected[name], p.grad, states[name], decay)
        optimizer.step()
    for name, p in model.named_parameters():
        assert torch.allclose(p, expected[name], rtol=1e-6, atol=1e-6), name


#: X, X X'X and X X'X X'X of each iteration (Cesista, "Squeezing 1-2% efficiency gains out of Muon")
QUINTICS = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)


@pytest.mark.parametrize(("native", "within"), [(False, 1e-5), (True, 2e-2)])
def test_muon_steps_by_a_nearly_orthogonal_matrix_and_the_rest_by_adamw(
    native, within, monkeypatch
) -> None:
    """Five quintics, in bf16 or float32; 0.2 sqrt(larger side) of them (arXiv 2502.16982)."""
    monkeypatch.setattr("compact_vit.train.optim.multiplies_bf16", lambda device: native)
    model, generator = Small(), torch.Generator().manual_seed(4)
    optimizer = build_optimizer(model, configured("muon"))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)
    wanted = model.weight.grad.double() / model.weight.grad.double().norm()
    for a, b, c in QUINTICS:
        square = wanted @ wanted.T
        wanted = a * wanted + (b * square + c * square @ square) @ wanted
    optimizer.step()
    step = (before["weight"] * (1 - LR * DECAY) - model.weight) / (LR * 0.2 * 6**0.5)
    assert torch.allclose(step.double(), wanted, atol=within)
    assert torch.linalg.svdvals(step).detach() == pytest.approx(torch.ones(5), abs=0.35)
    for name in ("bias", "positions"):
        p = getattr(model, name)
        assert torch.allclose(p, adamw(before[name], p.grad, {}, 0.0), atol=1e-6), name


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_groups_are_the_librarys(name) -> None:
    model = create_model("vit_lite_2_4")
    groups = build_optimizer(model, configured(name)).param_groups
    wanted = parameter_groups(model, DECAY)
    assert [g["weight_decay"] for g in groups] == [DECAY, 0.0]
    assert [g["lr"] for g in groups] == [LR, LR]
    for group, want in zip(groups, wanted, strict=True):
        assert [id(p) for p in group["params"]] == [id(p) for p in want["params"]]
    if name in ("momentum", "nesterov", "muon"):
        assert [g["momentum"] for g in groups] == [MOMENTUM] * 2


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
def test_layers_learn_the_slower_the_lower_they_are(optimizer, schedule, monkeypatch) -> None:
    """Each step is that of the whole model's rate, times 0.5 for every layer that is above."""
    monkeypatch.setattr("compact_vit.train.optim.multiplies_bf16", lambda device: False)
    powers = {"tokenizer": 3, "class_token": 3, "positions": 3, "blocks.0": 2, "blocks.1": 1,
              "norm": 1, "head": 0}  # fmt: skip
    moved, rates = [], []
    for layer_decay in (1.0, 0.5):
        config = TrainConfig(
            optimizer=optimizer, schedule=schedule, layer_decay=layer_decay, lr=LR, epochs=8,
            val_fraction=0.5, weight_decay=DECAY, warmup_lr=LR, min_lr=0.01,
        )  # fmt: skip
        torch.manual_seed(0)
        model = create_model("vit_lite_2_4").double()
        built = build_optimizer(model, config)
        course = build_schedule(built, config, 1)
        told = []
        for step in range(6):
            generator = torch.Generator().manual_seed(step)
            for p in model.parameters():
                p.data.zero_()  # so that weight decay does nothing, and nothing else differs
                p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)
            built.step()
            told.append([group["lr"] for group in built.param_groups])
            course.step()
        moved.append({name: p.detach().clone() for name, p in model.named_parameters()})
        rates.append([lrs[0] for lrs in told])
        assert all(len(set(lrs)) == 1 for lrs in told)  # what is logged and saved is the run's
    assert rates[0] == rates[1]
    for name, whole in moved[0].items():
        power = next(n for prefix, n in powers.items() if name.startswith(prefix))
        torch.testing.assert_close(moved[1][name], 0.5**power * whole)


def test_weight_decay_is_of_the_same_parameters_in_layers() -> None:
    model = create_model("cct2_2_3x2", drop_path=0.0)
    config = TrainConfig(model="cct2_2_3x2", lr=LR, weight_decay=DECAY, layer_decay=0.7)
    decayed, kept = parameter_groups(model, DECAY)
    groups = build_optimizer(model, config).param_groups
    for weight_decay, wanted in ((DECAY, decayed), (0.0, kept)):
        own = [p for g in groups if g["weight_decay"] == weight_decay for p in g["params"]]
        assert {id(p) for p in own} == {id(p) for p in wanted["params"]}
        assert len(own) == len(wanted["params"])


def test_a_run_in_layers_goes_on_bit_for_bit(everything, tmp_path, assert_same_run) -> None:
    config = everything(epochs=2, layer_decay=0.6)
    whole = train(config, output=tmp_path / "whole", quiet=True)

    def stop(row) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, output=tmp_path / "stopped", quiet=True, on_epoch=stop)
    assert_same_run(whole, resume(tmp_path / "stopped", quiet=True))
    plain = train(everything(epochs=2), output=tmp_path / "plain", quiet=True)
    assert plain.history[-1]["lr"] == whole.history[-1]["lr"]
    assert plain.history[-1]["train_loss"] != whole.history[-1]["train_loss"]


def test_muon_needs_a_timm_that_has_it(monkeypatch) -> None:
    monkeypatch.delattr(timm.optim, "Muon")
    with pytest.raises(UsageError, match=r"optimizer 'muon' needs timm 1\.0\.21 or later, and thi"):
        build_optimizer(Small(), configured("muon"))


@pytest.fixture
def stepped(tiny):
    """A state and a way to take its next step, with the first pixel of the batch as given."""

    def built(name: str) -> tuple[TrainState, object]:
        config = tiny(optimizer=name, batch_size=36, warmup_lr=1e-3, lr=1e-3, min_lr=1e-3)
        splits = load_splits(config)
        state = build_state(config, splits, torch.device("cpu"))
        batch = build_train_batch(config, splits)

        def step(pixel: float | None = None) -> None:
            ((images, labels),) = state.loader
            state.reseed()
            x, targets = batch(images, labels, 0, state.augmentation)
            if pixel is not None:
                x[0, 0, 0, 0] = pixel
            train_step(state, config, state.model, x, targets)

        return state, step

    return built


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_bad_step_leaves_no_trace(stepped, same, name) -> None:
    """Neither in the weights nor in a moment, even where it is the first."""
    state, step = stepped(name)
    fresh = [p.detach().clone() for p in state.model.parameters()]
    step(float("nan"))
    assert all(torch.equal(a, b) for a, b in zip(fresh, state.model.parameters(), strict=True))
    step()
    assert state.health.skipped == 1
    clean, clean_step = stepped(name)
    clean.health.steps = 1  # the draws are those of the second step
    next(iter(clean.loader))
    clean_step()
    assert same(clean.model.state_dict(), state.model.state_dict())
    moments = [other.optimizer.state_dict()["state"] for other in (clean, state)]
    assert same(*moments)
    assert any(not torch.equal(a, b) for a, b in zip(fresh, state.model.parameters(), strict=True))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_checkpoint_goes_on_bit_for_bit(stepped, tmp_path, same, name) -> None:
    state, step = stepped(name)
    step()
    save_checkpoint(tmp_path / "saved.pt", {"training": state.state_dict()})
    step()
    other, other_step = stepped(name)
    other.load_state_dict(load_checkpoint(tmp_path / "saved.pt")["training"], 0)
    other_step()
    assert same(other.state_dict(), state.state_dict())


def test_a_run_names_its_optimiser(tiny, tmp_path: Path) -> None:
    config = tiny(optimizer="nesterov", momentum=0.8, lr=0.05, epochs=2)
    first, second = (train(config, output=tmp_path / n, quiet=True) for n in ("a", "b"))
    other = train(tiny(epochs=2, lr=0.05), output=tmp_path / "c", quiet=True)
    assert first.history[-1]["train_loss"] == second.history[-1]["train_loss"]
    assert first.history[-1]["train_loss"] != other.history[-1]["train_loss"]
