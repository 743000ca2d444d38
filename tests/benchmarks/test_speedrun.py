"""The speed record's script: what it runs, which time is which, what several runs come to."""

from __future__ import annotations

import json
import os
import re
import signal

import pytest
import torch

from compact_vit.train.config import TrainConfig
from compact_vit.train.machine import choose_precision

#: what is chosen on this machine
AUTO, _ = choose_precision("auto", torch.device("cpu"))

SMALL = ["--dataset", "digits", "--model", "cvt_2_8", "--epochs", "2", "--batch-size", "500"]
SMALL += ["--rounds", "2", "--threads", "1", "--device", "cpu"]


@pytest.fixture
def speedrun(script):
    return script("speedrun")


class Result:
    """A run of 25 pictures in batches of 10, so that an epoch sees 20."""

    config = TrainConfig(dataset="digits", batch_size=10, seed=3)
    summary = {"train_pictures": 25, "final": {"accuracy": 93.5}}  # noqa: RUF012
    history = [  # noqa: RUF012
        {"pictures_per_second": 10.0, "seconds": 2.5},
        {"pictures_per_second": 20.0, "seconds": 1.25},
    ]


def test_the_times_by_hand(speedrun) -> None:
    run = speedrun.Run.of(Result, 9.0)
    assert run == speedrun.Run(3, 93.5, training=2.0 + 1.0, with_evaluation=3.75, whole=9.0)


def test_several_runs_by_hand(speedrun) -> None:
    runs = [speedrun.Run(i, a, t, t + 1, t + 3) for i, (a, t) in enumerate([(93, 4), (95, 6)])]
    together = speedrun.summed_up(runs, 94.0, pflop=0.01)
    assert together["mean"] == {
        "accuracy": 94, "training": 5, "with_evaluation": 6, "whole": 8,
    }  # fmt: skip
    assert together["deviation"]["accuracy"] == pytest.approx(2**0.5)
    assert (together["least"]["training"], together["most"]["training"]) == (4, 6)
    assert (together["n"], together["reached"]) == (2, 1)
    assert together["tflops"] == pytest.approx(2.0)  # 10 TFLOP in 5 s
    said = speedrun.judged(together).splitlines()[-1]
    assert said == (
        "the mean of 2 runs is at least 94%, and 1 of 2 are at least that; training takes 5.00 s, "
        "2 TFLOP/s"
    )
    assert "is below 94.5%" in speedrun.judged({**together, "target": 94.5})
    alone = speedrun.summed_up(runs[:1], 94.0, pflop=0.01)
    assert set(alone["deviation"].values()) == {None}  # one run has none
    assert "deviation" not in speedrun.judged(alone)


def test_small_runs_end_to_end(speedrun, capsys, monkeypatch) -> None:
    from compact_vit.train import loop

    configs = []
    train = loop.train

    def kept(config, **options):
        configs.append(config)
        return train(config, **options)

    monkeypatch.setattr("compact_vit.train.train", kept)
    monkeypatch.setattr(loop, "write_page", lambda *given: None)
    assert speedrun.main(SMALL) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert captured.err == ""
    assert re.fullmatch(
        rf"cvt_2_8 on digits, [\d,]+ parameters, 2 epochs, batch 500, {AUTO}, eager", lines[2]
    )
    assert "left out: a first run of one epoch, " in lines[3]
    rows = {line.split()[0]: [float(x) for x in line.split()[1:]] for line in lines[6:13] if line}
    assert list(rows) == ["0", "1", "mean", "deviation", "least", "most"]
    for name in ("0", "1"):
        accuracy, training, evaluated, whole = rows[name]
        assert 0 <= accuracy <= 100
        assert 0 < training <= evaluated <= whole
    assert rows["mean"][0] == pytest.approx((rows["0"][0] + rows["1"][0]) / 2, abs=0.01)
    assert [(c.epochs, c.seed) for c in configs] == [(1, 2), (2, 0), (2, 1)]
    assert {(c.recipe, c.model, c.val_fraction) for c in configs} == {("speedrun", "cvt_2_8", 0.0)}

    assert speedrun.main([*SMALL, "--json", "--rounds", "1", "--target", "0.1"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [run["seed"] for run in said["runs"]] == [0]
    assert said["runs"][0]["accuracy"] == pytest.approx(rows["0"][0], abs=0.01)  # the same seed
    assert (said["n"], said["reached"], said["config"]["epochs"]) == (1, 1, 2)
    assert said["hardware"]
    assert said["versions"]["torch"]
    # 1,437 or so pictures, two epochs, three passes, two operations a multiply-accumulate
    from compact_vit.models.arithmetic import macs
    from compact_vit.models.config import config_from_name

    own = config_from_name("cvt_2_8", img_size=16, in_chans=1)
    pictures = said["pflop"] * 1e15 / (2 * 3 * 2 * macs(own))
    assert pictures == pytest.approx(round(pictures))
    assert 1_000 < pictures < 1_797


@pytest.mark.parametrize("form", [[], ["--json"]])
@pytest.mark.parametrize("within", [True, False])
def test_stopped_it_tells_of_the_runs_that_are_done(
    speedrun, capsys, monkeypatch, terminated_in, form, within
) -> None:
    """Terminated in the second of three runs, in a step or before the first of them."""
    from compact_vit.train import loop

    monkeypatch.setattr(loop, "write_page", lambda *given: None)
    if within:
        terminated_in(monkeypatch, 8)  # two steps an epoch: 2 of the first, short run, 4, and 2
    else:
        built, pick = [], loop.pick_device

        def picked(name: str) -> torch.device:
            built.append(name)
            if len(built) == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            return pick(name)

        monkeypatch.setattr(loop, "pick_device", picked)
    before = signal.getsignal(signal.SIGTERM)
    assert speedrun.main([*SMALL, "--rounds", "3", *form]) == 143
    assert signal.getsignal(signal.SIGTERM) is before
    captured = capsys.readouterr()
    *said, last = captured.err.splitlines()
    assert last == "stopped: 1 of 3 runs are done"
    told = said if form else captured.out.splitlines()  # as each was done
    (run,) = [line.split() for line in told if line.startswith("0 ")]
    assert len(run) == 5
    if form:
        whole = json.loads(captured.out)
        assert (whole["n"], [run["seed"] for run in whole["runs"]]) == (1, [0])
        assert f"{whole['mean']['accuracy']:.2f}" == run[1]
    else:
        assert said == []
        assert told[-1].startswith("the mean of 1 runs is ")


def test_stopped_before_a_run_is_done_nothing_is_told(
    speedrun, capsys, monkeypatch, terminated_in
) -> None:
    terminated_in(monkeypatch, 1)
    assert speedrun.main([*SMALL, "--json"]) == 143
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "stopped: 0 of 2 runs are done\n")


def test_the_arithmetic_of_the_docstring(speedrun) -> None:
    from compact_vit.models.arithmetic import macs
    from compact_vit.models.config import config_from_name

    config = TrainConfig(dataset="cifar10", recipe="speedrun")
    flop = 2 * 3 * macs(config_from_name(config.model, img_size=32))
    assert f"{flop / 1e9:.2f} GFLOP" in speedrun.__doc__
    whole = flop * 50_000 * config.epochs
    assert f"{whole / 1e15:.1f} PFLOP" in speedrun.__doc__
    seconds = [round(whole / (share * 989e12)) for share in (0.15, 0.2, 0.1)]
    said = re.search(
        r"At 15% .* take (\d+) s, at 20% (\d+) s, at 10% (\d+) s",
        speedrun.__doc__.replace("\n", " "),
    )
    assert [int(s) for s in said.groups()] == seconds


def test_bad_words_are_refused(speedrun, capsys) -> None:
    assert speedrun.main(["--dataset", "digitz"]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert "did you mean 'digits'?" in captured.err
