"""A run whose validation accuracy has stopped rising ends, and stays ended."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from compact_vit.errors import UsageError
from compact_vit.train import loop, objective, resume, train
from compact_vit.train.cli import main
from compact_vit.train.progress import Progress
from compact_vit.train.run import RunFolder


@pytest.fixture
def said(monkeypatch):
    """What the evaluations of a run are to find on the validation split, one after the other."""
    evaluate, accuracies = objective.evaluate_model, []

    def told(model, pictures, *args, **options):
        evaluation = evaluate(model, pictures, *args, **options)
        if len(pictures) == 9 and accuracies:
            return dataclasses.replace(evaluation, accuracy=accuracies.pop(0))
        return evaluation

    monkeypatch.setattr(objective, "evaluate_model", told)
    return accuracies


@pytest.mark.parametrize(
    ("patience", "accuracies", "epochs", "best"),
    [
        (1, [50, 60, 60, 99], 3, 2),  # as good is not better
        (2, [50, 60, 55, 60, 99], 4, 2),
        (2, [50, 40, 60, 50, 70, 60, 60, 99], 7, 5),
        (3, [50, 40, 40, 60, 50, 40, 61, 62], 8, 8),
        (0, [50, 40, 40, 40, 40, 40, 40, 40], 8, 1),
        (7, [50, 40, 40, 40, 40, 40, 40, 40], 8, 1),
    ],
)
def test_it_waits_its_patience(tiny, tmp_path, said, patience, accuracies, epochs, best) -> None:
    said += accuracies
    config = tiny(val_fraction=0.25, epochs=8, early_stopping=patience)
    result = train(config, output=tmp_path / "run", quiet=True)
    assert [row["epoch"] for row in result.history] == list(range(1, epochs + 1))
    summary = result.summary
    assert summary["stopped_early"] == (epochs < 8)
    assert (summary["final"]["epoch"], summary["best"]["epoch"]) == (epochs, best)
    assert summary["best"]["val_accuracy"] == max(accuracies[:epochs])


def test_a_run_that_ended_early_is_finished(tiny, tmp_path, said, capsys) -> None:
    said += [50, 40, 40]
    run = tmp_path / "run"
    config = tiny(val_fraction=0.25, epochs=8, early_stopping=2)
    result = train(config, output=run)
    reason = "the validation accuracy has not risen for 2 epochs, after 3"
    assert f"{reason}: the run ends" in capsys.readouterr().err
    kept = {path.name: path.read_bytes() for path in run.iterdir()}
    assert main(["--resume", str(run)]) == 0
    told = capsys.readouterr()
    assert f"{reason}: nothing is left to train" in told.err
    assert "last epoch (3)" in told.out
    assert {path.name: path.read_bytes() for path in run.iterdir()} == kept
    assert resume(run, quiet=True).summary == result.summary


@pytest.mark.parametrize(
    "stop",
    [(Progress, "end_epoch", 2), (Progress, "advance", 3 * 2 + 2), (RunFolder, "write_json", 2),
     (RunFolder, "append_metrics", 3)],
    ids=lambda stop: f"{stop[1]} {stop[2]}",
)  # fmt: skip
def test_patience_goes_on_where_it_stopped(tiny, tmp_path, said, assert_same_run, stop) -> None:
    """The same run when it is stopped after, or within an epoch, or before the summary."""
    config = tiny(val_fraction=0.25, epochs=8, early_stopping=2, batch_size=9)
    found = [50, 60, 40, 60]
    said += found
    whole = train(config, output=tmp_path / "whole", quiet=True)
    assert len(whole.history) == 4
    owner, name, call = stop
    original, calls = getattr(owner, name), []

    def counted(*args, **options):
        calls.append(1)
        if len(calls) == call:
            raise OSError("the machine goes off")
        return original(*args, **options)

    said[:] = found
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, counted)
        with pytest.raises(OSError, match="goes off"):
            train(config, output=tmp_path / "stopped", quiet=True)
    log = tmp_path / "stopped" / "metrics.jsonl"
    saved = loop.load_checkpoint(tmp_path / "stopped" / "last.pt")["epoch"]
    said[:] = found[saved:]
    assert len(log.read_text().splitlines()) <= 4
    assert_same_run(resume(tmp_path / "stopped", quiet=True), whole)


@pytest.mark.parametrize(
    ("values", "said_"),
    [({"early_stopping": 2}, "early_stopping must be 0 without a validation split"),
     ({"schedule": "plateau"}, "schedule must not be 'plateau' without a validation split")],
)  # fmt: skip
def test_the_test_set_is_no_validation_split(tiny, tmp_path, picture_folder, values, said_) -> None:
    config = tiny(**values)  # a folder may bring a split of its own
    with pytest.raises(UsageError, match=f"{said_}.*hold one out, as with val_fraction 0.1"):
        train(config, output=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
    shutil.copytree(picture_folder / "test", picture_folder / "val")
    result = train(dataclasses.replace(config, epochs=1), output=tmp_path / "run", quiet=True)
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text())["val_loss"] > 0
    assert result.summary["best"]["picked_on"] == "val"
