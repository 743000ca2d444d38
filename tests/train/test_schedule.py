"""The learning rate of every step of every schedule, against formulas computed by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from compact_vit.errors import UsageError
from compact_vit.plot import figures
from compact_vit.train.config import TrainConfig
from compact_vit.train.rules import SCHEDULES
from compact_vit.train.schedule import build_schedule, decay_steps
from compact_vit.train.state import _plain


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


#: Five epochs of warm-up in twenty, four steps an epoch: what counts begins at step 20 of 80.
BASE = {"epochs": 20, "lr": 1.0, "min_lr": 0.01, "warmup_lr": 0.1, "warmup_ratio": 0.25}


def cosine(share: float, high: float = 1.0, low: float = 0.01) -> float:
    """Half a cosine from ``high`` at 0 to ``low`` at 1."""
    return low + (high - low) * (1 + math.cos(math.pi * share)) / 2


#: schedule and its fields -> the learning rate of steps of the run
BY_HAND = {
    "constant": ({}, {20: 1.0, 50: 1.0, 79: 1.0}),
    # 3 epochs are 12 steps
    "step": (
        {"decay_epochs": 3, "decay_rate": 0.5},
        {20: 1.0, 31: 1.0, 32: 0.5, 43: 0.5, 44: 0.25, 79: 0.5**4},
    ),
    # of the run, not of what follows the warm-up
    "multistep": (
        {"decay_epochs": (8, 10, 19), "decay_rate": 0.2},
        {31: 1.0, 32: 0.2, 39: 0.2, 40: 0.04, 75: 0.04, 76: 0.008, 79: 0.008},
    ),
    "exponential": (
        {"decay_epochs": 6, "decay_rate": 0.3},
        {20: 1.0, 21: 0.3 ** (1 / 24), 44: 0.3, 68: 0.09, 79: 0.3 ** (59 / 24)},
    ),
    "cosine": ({}, {20: 1.0, 50: cosine(0.5), 79: cosine(59 / 60)}),
    # four cycles of 15 steps
    "cosine_restarts": (
        {},
        {20: 1.0, 34: cosine(14 / 15), 35: 1.0, 40: cosine(1 / 3), 65: 1.0, 79: cosine(14 / 15)},
    ),
    # up by a cosine from 0.1, and down by one
    "one_cycle": (
        {},
        {
            0: 0.1,
            5: cosine(0.75, 1.0, 0.1),
            10: 0.55,
            20: 1.0,
            50: cosine(0.5),
            79: cosine(59 / 60),
        },
    ),
    "plateau": ({"val_fraction": 0.2}, {20: 1.0, 50: 1.0, 79: 1.0}),
}


def test_every_schedule_is_computed_by_hand() -> None:
    assert list(BY_HAND) == list(SCHEDULES)


@pytest.mark.parametrize("name", BY_HAND)
def test_learning_rates_by_hand(name) -> None:
    values, expected = BY_HAND[name]
    got = rates(TrainConfig(schedule=name, **BASE | values), 4)
    assert len(got) == 80
    if name != "one_cycle":  # the rest warms up in equal steps
        expected = {step: 0.1 + 0.9 * step / 20 for step in range(20)} | expected
    assert {step: got[step] for step in expected} == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", BY_HAND)
def test_cool_down_and_no_warm_up(name) -> None:
    """Of 80 steps the last 20 are taken at ``min_lr``, and the first at the peak."""
    values = BY_HAND[name][0] | {"warmup_ratio": 0.0, "cooldown_ratio": 0.25}
    if name == "multistep":
        values["decay_epochs"] = (8, 10)
    got = rates(TrainConfig(schedule=name, **BASE | values), 4)
    assert got[60:] == pytest.approx([0.01] * 20)
    assert got[59] > 0.0101 or name == "multistep"
    if name == "one_cycle":  # which has to rise
        assert got[:2] == pytest.approx([0.1, 1.0])
    else:
        assert got[0] == 1.0


@pytest.mark.parametrize(
    ("values", "falls"),
    [  # the steps at which the rate becomes another, of 24 epochs of 5 steps
        ({"schedule": "step"}, [40, 80]),
        ({"schedule": "step", "epochs": 25}, [42, 84]),
        ({"schedule": "multistep"}, [60, 90]),
        ({"schedule": "multistep", "warmup_ratio": 0.6}, [90]),
        ({"schedule": "multistep", "cooldown_ratio": 0.25}, [60, 90]),
        ({"schedule": "multistep", "epochs": 25}, [60, 90]),
        ({"schedule": "multistep", "epochs": 2}, [5]),
        ({"schedule": "multistep", "epochs": 1}, []),
        ({"schedule": "step", "epochs": 1}, [2, 4]),
    ],
)
def test_where_decay_falls_when_nothing_is_said(values, falls) -> None:
    config = TrainConfig(**{"epochs": 24, "warmup_ratio": 0.0, "lr": 1.0} | values)
    got = rates(config, 5)
    first = round(config.warmup_ratio * len(got)) + 1
    assert [n for n in range(first, len(got)) if got[n] != got[n - 1]] == falls
    assert max(got) == pytest.approx(1.0)  # none fell within the warm-up


@pytest.mark.parametrize(("cooldown", "steps"), [(0.0, [60, 90]), (0.25, [60]), (0.3, [60])])
def test_no_decay_falls_in_the_cool_down(cooldown, steps) -> None:
    values = {"epochs": 24, "warmup_ratio": 0.0, "cooldown_ratio": cooldown}
    assert decay_steps(TrainConfig(schedule="multistep", **values), 5) == steps


@pytest.mark.parametrize("name", BY_HAND)
def test_all_rates_are_in_proportion_to_the_peak(name) -> None:
    values = BASE | BY_HAND[name][0] | {"cooldown_ratio": 0.25}
    if name == "multistep":
        values["decay_epochs"] = (8, 10)
    half = {field: values[field] / 2 for field in ("lr", "min_lr", "warmup_lr")}
    whole = rates(TrainConfig(schedule=name, **values), 4)
    assert rates(TrainConfig(schedule=name, **values | half), 4) == pytest.approx(
        [rate / 2 for rate in whole]
    )


def test_one_cycle_leaves_the_momentum_alone() -> None:
    config = TrainConfig(schedule="one_cycle", **BASE)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.7)
    schedule = build_schedule(optimizer, config, 4)
    for _ in range(3):
        assert optimizer.param_groups[0]["momentum"] == 0.7
        optimizer.step()
        schedule.step()


def test_one_cycle_with_no_step_between_warm_up_and_cool_down() -> None:
    ratios = {"epochs": 5, "warmup_ratio": 0.3, "cooldown_ratio": 0.6}  # two steps and three
    got = rates(TrainConfig(schedule="one_cycle", **BASE | ratios), 1)
    assert got == pytest.approx([0.1, 0.55, 0.01, 0.01, 0.01])


@pytest.mark.parametrize("name", ["constant", "cosine", "plateau"])
def test_one_step_between_warm_up_and_cool_down(name) -> None:
    ratios = {"epochs": 5, "warmup_ratio": 0.4, "cooldown_ratio": 0.4}
    got = rates(TrainConfig(schedule=name, **BASE | BY_HAND[name][0] | ratios), 1)
    assert got == pytest.approx([0.1, 0.55, 1.0, 0.01, 0.01])


def test_an_exponential_that_says_nothing_falls_to_a_thousandth() -> None:
    got = rates(TrainConfig(schedule="exponential", epochs=9, lr=1.0, warmup_ratio=0.0), 10)
    assert (got[30], got[60]) == pytest.approx((0.1, 0.01))
    assert got[89] == pytest.approx(1e-3 ** (89 / 90))


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps_per_epoch", [1, 3])
@pytest.mark.parametrize("ratios", [(0.0, 0.0), (0.5, 0.0), (0.3, 0.6), (0.0, 0.9)])
@pytest.mark.parametrize("low", [0.0, 1e-3])
def test_no_length_is_too_short(name, steps_per_epoch, ratios, low) -> None:
    shares = dict(zip(("warmup_ratio", "cooldown_ratio"), ratios, strict=True))
    for epochs in (1, 2, 5):
        values = shares | {"epochs": epochs, "lr": 1e-2, "min_lr": low, "warmup_lr": low}
        if name == "plateau":
            values["val_fraction"] = 0.1
        if name == "cosine_restarts":
            if epochs == 1:
                continue
            values["restarts"] = 1
        got = rates(TrainConfig(schedule=name, **values), steps_per_epoch)
        assert len(got) == epochs * steps_per_epoch
        assert all(0 <= rate <= 1e-2 * (1 + 1e-9) for rate in got)


REFUSED = [
    ({"momentum": 0.5}, "momentum must be left out with optimizer 'adamw', got 0.5"),
    ({"optimizer": "rmsprop", "momentum": 0.5}, "it is of momentum, nesterov, muon"),
    ({"optimizer": "nesterov", "momentum": 0}, "momentum must be above 0 with optimizer"),
    ({"optimizer": "adamv"}, "unknown optimizer 'adamv': did you mean 'adam'?"),
    ({"schedule": "cosin"}, "unknown schedule 'cosin': did you mean 'cosine'?"),
    ({"decay_rate": 0.5}, "decay_rate must be left out with schedule 'cosine', got 0.5"),
    ({"decay_epochs": 3}, "decay_epochs must be left out with schedule 'cosine', got (3,)"),
    ({"restarts": 1}, "restarts must be left out with schedule 'cosine', got 1: it is of cosine_r"),
    ({"plateau_patience": 1}, "plateau_patience must be left out with schedule 'cosine'"),
    ({"schedule": "step", "decay_epochs": (3, 5)}, "must be one number with schedule 'step'"),
    ({"schedule": "exponential", "decay_epochs": (3, 5)}, "'multistep' takes several"),
    ({"schedule": "step", "decay_epochs": 15}, "must be less than epochs (15), got 15"),
    ({"schedule": "multistep", "decay_epochs": (3, 15)}, "(1.5 and 15 of epochs), got 15"),
    ({"schedule": "multistep", "decay_epochs": 1}, "decay_epochs must lie between the warm-up"),
    ({"schedule": "cosine_restarts", "restarts": 15}, "restarts must be less than epochs (15)"),
    ({"schedule": "step", "decay_rate": 1.0}, "decay_rate must be a number in (0, 1), got 1.0"),
    ({"schedule": "plateau"}, "schedule must not be 'plateau' without a validation split"),
    ({"early_stopping": 3}, "early_stopping must be 0 without a validation split, which the test "
     "set must not be, got 3: hold one out, as with val_fraction 0.1"),
    *(({"schedule": "multistep", "decay_epochs": wrong}, "decay_epochs must be whole numbers of at "
       "least 1, each above the one before, got") for wrong in ((5, 5), (7, 3), (0, 3), 0, -1,
                                                                  True, "5", 5.0, (5.0,), None)),
]  # fmt: skip


@pytest.mark.parametrize(("values", "said"), REFUSED)
def test_what_is_refused(values, said) -> None:
    with pytest.raises(UsageError) as caught:
        TrainConfig(**values)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_configuration_of_before_is_the_cosine_of_adamw() -> None:
    new = ("optimizer", "momentum", "schedule", "decay_rate", "decay_epochs", "restarts",
           "plateau_patience", "early_stopping", "overfit", "init_from")  # fmt: skip
    config = TrainConfig(dataset="cifar10")
    old = {name: value for name, value in config.to_dict().items() if name not in new}
    assert TrainConfig.from_dict(old | {"cpu_attention_dropout": False}) == config
    assert (config.optimizer, config.schedule) == ("adamw", "cosine")


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_is_drawn(name) -> None:
    config = TrainConfig(schedule=name, epochs=8, val_fraction=0.1)
    (axes,) = figures.schedule(config).axes
    (line,) = axes.lines
    drawn = line.get_ydata()
    assert len(drawn) == 800
    assert max(drawn) == pytest.approx(config.lr)
    assert drawn[400:] == pytest.approx(rates(config, 100)[400:])


@pytest.mark.parametrize("schedule", [name for name in SCHEDULES if name != "plateau"])
def test_it_goes_on_from_every_step(schedule, tmp_path) -> None:
    """Within the warm-up, at its end, in the course and in the cool-down."""
    values = {"restarts": 1} if schedule == "cosine_restarts" else {}
    config = TrainConfig(
        schedule=schedule, epochs=10, warmup_ratio=0.3, cooldown_ratio=0.2, **values
    )
    wanted = rates(config, 2)

    def built() -> tuple[torch.optim.Optimizer, Any]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.lr)
        return optimizer, build_schedule(optimizer, config, 2)

    for cut in range(len(wanted)):
        found: list[float] = []

        def go(optimizer, course, steps: int, found: list[float] = found) -> None:
            for _ in range(steps):
                found.append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                course.step()

        optimizer, course = built()
        go(optimizer, course, cut)
        state = {"optimizer": optimizer.state_dict(), "schedule": _plain(course.state_dict())}
        torch.save(state, tmp_path / "state.pt")
        state = torch.load(tmp_path / "state.pt", weights_only=True)
        optimizer, course = built()
        optimizer.load_state_dict(state["optimizer"])
        course.load_state_dict(state["schedule"])
        go(optimizer, course, len(wanted) - cut)
        assert found == wanted, cut
