"""What a run looks at: the best epoch is picked on a validation split, never on the test set."""

from __future__ import annotations

import dataclasses
import shutil

import pytest
import torch

from compact_vit.errors import UsageError
from compact_vit.evaluate import evaluate_run
from compact_vit.train import load_model, objective, resume, save, train
from compact_vit.train.checkpoint import load_checkpoint
from compact_vit.train.inputs import load_splits

SAVE_BEST = save.save_best


@pytest.fixture
def looked_at(monkeypatch):
    """How many pictures each evaluation of a run sees, and a way to say what it finds."""
    evaluate, seen, said = objective.evaluate_model, [], []

    def watched(model, pictures, *args, **options):
        seen.append(len(pictures))
        evaluation = evaluate(model, pictures, *args, **options)
        return dataclasses.replace(evaluation, accuracy=said.pop(0)) if said else evaluation

    monkeypatch.setattr(objective, "evaluate_model", watched)
    return seen, said


def test_best_is_picked_on_the_validation_split(tiny, tmp_path, looked_at) -> None:
    seen, said = looked_at
    said += [50.0, 90.0, 70.0, 90.0]  # of the four epochs; a tie goes to the earlier
    config = tiny(val_fraction=0.25, epochs=4)
    result = train(config, output=tmp_path / "run", quiet=True)
    assert seen == [9, 9, 9, 9, 12, 12]  # the test set once for the last and once for the best
    for row in result.history:
        assert {"val_loss", "val_accuracy", "val_top5"} <= set(row)
        assert not any(name.startswith("test") for name in row)
    best, final = result.summary["best"], result.summary["final"]
    assert (best["epoch"], best["val_accuracy"], best["picked_on"]) == (2, 90.0, "val")
    assert (best["split"], final["split"], final["epoch"]) == ("test", "test", 4)
    for name, figures in (("best", best), ("last", final), (None, best)):
        trained, evaluation = evaluate_run(tmp_path / "run", checkpoint=name, device="cpu")
        assert trained.epoch == figures["epoch"]
        assert evaluation.figures() == {k: figures[k] for k in ("loss", "accuracy", "top5")}
    assert best["loss"] != final["loss"]
    # the model that comes back is the last one
    last = load_model(tmp_path / "run", "last").model.state_dict()
    assert all(torch.equal(v, last[k]) for k, v in result.model.state_dict().items())


def test_a_last_epoch_that_is_the_best_is_tested_once(tiny, tmp_path, looked_at) -> None:
    seen, said = looked_at
    said += [50.0, 90.0]
    result = train(tiny(val_fraction=0.25, epochs=2), output=tmp_path / "run", quiet=True)
    assert seen == [9, 9, 12]
    best, final = result.summary["best"], result.summary["final"]
    assert (best["epoch"], best["picked_on"]) == (2, "val")
    assert {key: best[key] for key in final} == final


def test_a_kill_before_the_best_was_written(tiny, tmp_path, looked_at, same) -> None:
    _, said = looked_at
    said += [50.0, 90.0]
    config, run = tiny(val_fraction=0.25, epochs=4), tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(save, "save_best", lambda *args: SAVE_BEST(*args) if said else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(config, output=run, quiet=True)
    killed = load_checkpoint(run / "last.pt")["weights"]
    said += [70.0, 60.0]
    assert resume(run, quiet=True).summary["best"]["epoch"] == 2
    best = load_checkpoint(run / "best.pt")
    assert best["epoch"] == 2
    assert same(best["weights"], killed)  # not trained again, which a GPU does in other bits


@pytest.mark.parametrize("change", ["gone", "damaged", "another's"])
def test_a_best_that_is_not_this_runs_is_refused_at_once(tiny, tmp_path, looked_at, change) -> None:
    seen, said = looked_at
    said += [90.0, 50.0]
    run, other = tmp_path / "run", tmp_path / "other"

    def stop(row) -> None:
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny(val_fraction=0.25, epochs=4), output=run, quiet=True, on_epoch=stop)
    whole = (run / "best.pt").read_bytes()
    if change == "gone":
        (run / "best.pt").unlink()
    elif change == "damaged":
        (run / "best.pt").write_bytes(whole[:-9])
    else:
        train(tiny(epochs=1), output=other, quiet=True)  # of all pictures, none held out
        shutil.copy(other / "best.pt", run / "best.pt")
    seen.clear()
    with pytest.raises(UsageError, match=r"must hold the best epoch so far, 1, of this run: put"):
        resume(run, quiet=True)
    assert seen == []
    (run / "best.pt").write_bytes(whole)
    said += [70.0, 60.0]
    assert resume(run, quiet=True).summary["best"]["epoch"] == 1


def test_the_validation_split_is_a_stratified_part_of_training(tiny) -> None:
    config = tiny(val_fraction=0.25)
    whole, splits = load_splits(tiny()), load_splits(config)
    assert splits.val is not None
    assert splits.train.labels.bincount().tolist() == [9, 9, 9]
    assert splits.val.labels.bincount().tolist() == [3, 3, 3]
    parts = [*splits.train.images, *splits.val.images]
    found = {bytes(image.numpy().tobytes()) for image in parts}
    assert found == {bytes(image.numpy().tobytes()) for image in whole.train.images}
    assert torch.equal(splits.test.images, whole.test.images)
    again = load_splits(config)
    other = load_splits(dataclasses.replace(config, seed=1))
    assert again.val is not None
    assert other.val is not None
    assert torch.equal(again.val.images, splits.val.images)
    assert not torch.equal(other.val.images, splits.val.images)


def test_without_validation_best_is_the_last(tiny, tmp_path, looked_at, same) -> None:
    seen, said = looked_at
    said += [99.0, 10.0]  # the test set would pick the first
    result = train(tiny(), output=tmp_path / "run", quiet=True)
    assert seen == [12, 12]
    assert (result.summary["best"]["epoch"], result.summary["best"]["picked_on"]) == (2, None)
    assert result.summary["best"]["accuracy"] == 10.0
    best, last = (load_model(tmp_path / "run", name) for name in ("best", "last"))
    assert same(best.model.state_dict(), last.model.state_dict())


def test_a_folder_with_test_and_val(tiny, picture_folder, tmp_path, looked_at) -> None:
    shutil.copytree(picture_folder / "test", picture_folder / "val")
    (picture_folder / "val" / "red" / "00.png").unlink()
    result = train(tiny(), output=tmp_path / "run", quiet=True)
    assert looked_at[0] == [11, 11, 12, 12]
    assert result.summary["best"]["picked_on"] == "val"
    with pytest.raises(UsageError, match=r"has a val part of its own, got 0\.2"):
        train(tiny(val_fraction=0.2), output=tmp_path / "other", quiet=True)
    assert not (tmp_path / "other").exists()
