"""Signals and time limits stop a run where it can go on, and it goes on bit for bit."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from compact_vit.cli import program
from compact_vit.errors import Stopped, UsageError
from compact_vit.train import epoch, interrupt, objective, resume, save, train
from compact_vit.train.checkpoint import load_checkpoint
from compact_vit.train.cli import main
from compact_vit.train.interrupt import Stopper, seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("30m", 1800), ("1.5h", 5400), ("1h30m", 5400), ("2d", 172_800)],
)
def test_times(text, seconds) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "0", "-3m", "half an hour", "3 m", "30min", "m", "1e3", "1h30", "1h30m5", "30 1h",
     0, -3.0, float("nan"), float("inf"), True, [90]],
)  # fmt: skip
def test_times_that_are_none(text) -> None:
    with pytest.raises(UsageError, match="time_limit must be a time such as 90s, 30m or 1h30m"):
        seconds_of(text)


def test_a_limit_from_python_is_a_time_or_seconds(everything, tmp_path) -> None:
    assert [Stopper(limit).limit for limit in (None, 90, "90", "1h30m")] == [None, 90, 90, 5400]
    with pytest.raises(UsageError, match="time_limit must be a time"):
        train(everything(epochs=1), output=tmp_path / "run", quiet=True, time_limit="1h30")
    assert not (tmp_path / "run").exists()
    result = train(everything(epochs=1), output=tmp_path / "run", quiet=True, time_limit="30m")
    assert resume(result.output, quiet=True, time_limit="30m").summary == result.summary


def steps_until(monkeypatch, step: int, act) -> None:
    """Do ``act`` in the optimiser step number ``step`` of the run."""
    original, calls = epoch.train_step, []

    def counted(*args):
        calls.append(1)
        if len(calls) == step:
            act()
        return original(*args)

    monkeypatch.setattr(epoch, "train_step", counted)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("step", [1, 3, 5])
def test_a_signal_finishes_the_step_and_saves(
    everything, tmp_path, assert_same_run, number, status, step
) -> None:
    config = everything(epochs=2)
    whole = train(config, output=tmp_path / "whole", quiet=True)
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    with pytest.MonkeyPatch.context() as patch:
        steps_until(patch, step, lambda: os.kill(os.getpid(), number))
        with pytest.raises(Stopped, match="saved: go on with --resume") as caught:
            train(config, output=tmp_path / "stopped", quiet=True)
    assert caught.value.status == status
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers
    saved = load_checkpoint(tmp_path / "stopped" / "last.pt")
    steps = saved["training"]["health"]["steps"]
    assert steps == step  # the one it came in was finished, and no other begun
    assert_same_run(whole, resume(tmp_path / "stopped", quiet=True))


def test_what_comes_before_the_first_step_is_none(monkeypatch) -> None:
    """Reading pictures and compiling may take a third of the limit, and are done once."""
    clock = iter([0.0, 40.0, 41.0, 42.0, 98.0])  # built, entered, and three steps
    monkeypatch.setattr(interrupt.time, "perf_counter", lambda: next(clock))
    with Stopper(100.0) as stopper:
        stopper.check()
        stopper.check()
        assert stopper.longest_step == 1.0
        with pytest.raises(Stopped, match="time limit of 100 s"):
            stopper.check()


def test_a_second_interrupt_leaves_at_once(everything, tmp_path, monkeypatch) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    steps_until(monkeypatch, 2, twice)
    with pytest.raises(KeyboardInterrupt):
        train(everything(epochs=2), output=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "last.pt").exists()


def test_a_second_signal_does_not_cut_the_last_save(everything, tmp_path, assert_same_run) -> None:
    config, write = everything(epochs=2), save.save_checkpoint
    whole = train(config, output=tmp_path / "whole", quiet=True)

    def told_again(*args, **options) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        write(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        steps_until(patch, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
        patch.setattr(save, "save_checkpoint", told_again)
        with pytest.raises(Stopped, match="saved: go on with --resume"):
            train(config, output=tmp_path / "stopped", quiet=True)
    assert_same_run(whole, resume(tmp_path / "stopped", quiet=True))


def test_in_the_evaluation(everything, tmp_path, assert_same_run) -> None:
    config = everything(epochs=2)
    whole = train(config, output=tmp_path / "whole", quiet=True)
    evaluate = objective.evaluate_model

    def evaluated(*args, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objective, "evaluate_model", evaluated)
        with pytest.raises(Stopped):
            train(config, output=tmp_path / "stopped", quiet=True)
    saved = load_checkpoint(tmp_path / "stopped" / "last.pt")
    assert saved["epoch"] == 0
    assert saved["training"]["unfinished"]["trained"] is True
    assert_same_run(whole, resume(tmp_path / "stopped", quiet=True))


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


def test_the_limit_leaves_time_for_a_step_and_a_save(monkeypatch) -> None:
    clock = Clock()
    monkeypatch.setattr(interrupt, "time", clock)
    stopper = Stopper(limit=100.0)
    stopper.saved(5.0)
    for _ in range(8):  # steps of 10 s: after 80 s, 2 x 10 and 2 x 5 more would be too many
        clock.now += 10.0
        if clock.now <= 70.0:
            stopper.check()
    with pytest.raises(Stopped, match="before the time limit of 100 s") as caught:
        stopper.check()
    assert caught.value.status == 124


def test_an_evaluation_that_nobody_asked_within_counts_as_a_step(monkeypatch) -> None:
    """As that of several processes, who could not stop together."""
    clock = Clock()
    monkeypatch.setattr(interrupt, "time", clock)
    stopper = Stopper(limit=100.0)
    stopper.check()
    clock.now += 20.0 + 2.0
    stopper.saved(2.0)
    assert (stopper.longest_step, stopper.longest_save) == (20.0, 2.0)
    clock.now += 35.0  # 57, and 2 x 20 and 2 x 2 more would be too many
    with pytest.raises(Stopped, match="before the time limit"):
        stopper.check()


def test_a_limit_that_starting_outlasts_is_over(monkeypatch) -> None:
    """The step is taken all the same: resumed again and again, the run gets on."""
    clock = Clock()
    monkeypatch.setattr(interrupt, "time", clock)
    stopper = Stopper(limit=8.0)
    clock.now = 45.0
    with stopper:
        clock.now += 0.5
        with pytest.raises(Stopped, match=r"^stopped at the time limit of 8 s$") as caught:
            stopper.check()
    assert caught.value.status == 124


def test_a_time_limit_stops_a_run_that_goes_on(everything, tmp_path, assert_same_run) -> None:
    config = everything(epochs=2)
    whole = train(config, output=tmp_path / "whole", quiet=True)
    with pytest.raises(Stopped, match="time limit"):
        train(config, output=tmp_path / "stopped", quiet=True, time_limit=1e-3)
    assert load_checkpoint(tmp_path / "stopped" / "last.pt")["training"]["health"]["steps"] == 1
    assert_same_run(whole, resume(tmp_path / "stopped", quiet=True))


def test_outside_the_main_thread_signals_are_left_alone(everything, tmp_path) -> None:
    done = []

    def work() -> None:
        done.append(train(everything(epochs=1), output=tmp_path / "run", quiet=True))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(done[0].history) == 1


def test_the_command_leaves_with_the_status(everything, tmp_path, monkeypatch, capsys) -> None:
    run = tmp_path / "run"
    config = everything(epochs=1)
    steps_until(monkeypatch, 1, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped):
        train(config, output=run, quiet=True)
    assert program(lambda argv: resume(run, quiet=True, time_limit=1e-3) and 0)([]) == 124
    said = capsys.readouterr().err
    assert f"saved: go on with --resume {run}" in said
    assert main(["--resume", str(run), "--quiet"]) == 0
    assert main(["--resume", str(run)]) == 0  # a finished run says so
    assert "nothing is left to train" in capsys.readouterr().err
    assert main(["--resume", str(run), "--time-limit", "soon"]) == 2
    assert "time_limit must be a time" in capsys.readouterr().err


def test_long_epochs_are_saved_within(everything, tmp_path, monkeypatch, steps_of) -> None:
    """Once ten minutes are over, and again when another ten are."""
    clock, saves = steps_of(*[301.0] * 5), []
    original = save.save_checkpoint

    def counted(path, content, **options):
        saves.append((path.name, content["epoch"], clock.now))
        original(path, content, **options)

    monkeypatch.setattr(save, "save_checkpoint", counted)
    train(everything(epochs=1, batch_size=7), output=tmp_path / "run", quiet=True)
    within = [("last.pt", 0, 602), ("last.pt", 0, 1204)]
    assert saves == [*within, ("last.pt", 1, 1505), ("best.pt", 1, 1505)]
