"""The folder of a run: how it is made, refused and read back."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from compact_vit.errors import UsageError
from compact_vit.train import resume, train
from compact_vit.train.config import TrainConfig
from compact_vit.train.run import RunFolder, check_output
from compact_vit.train.trained import load_model


def test_a_folder_of_its_own_under_runs(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = TrainConfig(model="cvt_2_8")
    monkeypatch.setattr(Path, "exists", lambda path: False)  # as before another makes it
    with ExitStack() as held:
        folders = [held.enter_context(RunFolder.create(None, config)).path for _ in range(3)]
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert len(set(folders)) == 3
    for folder in folders:
        assert re.fullmatch(r"runs/digits-cvt_2_8-\d{8}-\d{6}(-\d)?", folder.as_posix())
    assert RunFolder.open(folders[0]).config() == config


def test_an_empty_folder_is_taken_and_a_full_one_refused(tmp_path) -> None:
    config = TrainConfig()
    (tmp_path / "empty").mkdir()
    with RunFolder.create(tmp_path / "empty", config):
        pass
    (tmp_path / "empty" / "notes.txt").write_text("mine")
    with (
        pytest.raises(UsageError, match="is not empty"),
        RunFolder.create(tmp_path / "empty", config),
    ):
        pass
    theirs = tmp_path / "theirs" / "config.json"
    theirs.parent.mkdir()
    for content in ('{"my precious": "settings"}', "model: none"):
        theirs.write_text(content)
        with pytest.raises(UsageError, match="is not empty"):
            check_output(theirs.parent)
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "inside"):
        with pytest.raises(UsageError, match="is a file"):
            check_output(path)


def test_what_killed_processes_left_of_checkpoints_is_deleted(tmp_path) -> None:
    left = ["last.pt.tmp", "last.pt.1a2b3c4d.tmp", "best.pt.5e6f7a8b.tmp"]
    others = ["last.pt", "last.previous.pt", "notes.tmp", "report.html.9c0d1e2f.tmp"]
    for name in left + others:
        (tmp_path / name).write_text("half")
    with RunFolder(tmp_path).alone():
        assert {path.name for path in tmp_path.iterdir()} == set(others)


def test_a_json_file_is_written_whole(tmp_path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_json("summary.json", {"a": 1})
    with pytest.raises(TypeError):
        folder.write_json("summary.json", {"a": object()})
    assert folder.read_json("summary.json") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "is not JSON"), ("[1]", "must hold an object"), ("\udcff", "is not JSON")],
)
def test_damaged_json(tmp_path, text, said) -> None:
    (tmp_path / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UsageError, match=said):
        RunFolder.open(tmp_path).config()


def row_of(epoch: int) -> dict[str, float]:
    names = ("lr", "train_loss", "train_accuracy", "pictures_per_second", "seconds", "test_loss")
    return {"epoch": epoch, **dict.fromkeys(names, 0.5)}


def test_keep_metrics(tmp_path) -> None:
    folder = RunFolder(tmp_path)
    for epoch in (1, 2, 3):
        folder.append_metrics(row_of(epoch))
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 4, "tr')  # the machine went off
    assert folder.keep_metrics(2, answers=True) == [row_of(1), row_of(2)]
    lines = [json.dumps(row_of(epoch)) for epoch in (1, 2)]
    assert (tmp_path / "metrics.jsonl").read_text() == "".join(f"{line}\n" for line in lines)
    with pytest.raises(UsageError, match="does not hold epochs 1 to 3"):
        folder.keep_metrics(3, answers=True)
    for damage in (
        "\n".join(reversed(lines)),
        "1\n2\n",
        "{}\n{}\n",
        "{\n{\n",
        '{"epoch": 1}\n{"epoch": 2}\n',
        "\n".join(lines).replace("0.5", "NaN"),
        "\n".join(lines).replace("0.5", '"a"'),
        "\n".join([lines[0], lines[1].replace("test_loss", "test_lost")]),
        "\n".join(lines).replace("train_accuracy", "accuracy"),
        "[" * 100_000,
    ):
        (tmp_path / "metrics.jsonl").write_text(damage)
        with pytest.raises(UsageError, match="does not hold epochs 1 to 2"):
            folder.keep_metrics(2, answers=True)
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines).replace("train_accuracy", "x"))
    assert len(folder.keep_metrics(2, answers=False)) == 2
    (tmp_path / "metrics.jsonl").unlink()
    with pytest.raises(UsageError, match="does not hold epochs 1 to 1"):
        folder.keep_metrics(1, answers=True)


def test_load_model_gives_back_what_was_trained(tiny, tmp_path) -> None:
    result = train(tiny(ema=0.5), output=tmp_path / "run", quiet=True)
    for checkpoint in (None, "last", "best"):
        trained = load_model(tmp_path / "run", checkpoint)
        assert trained.classes == ("blue", "green", "red")
        assert (trained.config, trained.epoch) == (result.config, 2)
        assert not trained.model.training
        x = torch.randn(2, 3, 16, 16)
        assert torch.equal(trained.model(x), result.model(x))
    # without a pick and before the end there is only the last one
    (tmp_path / "run" / "best.pt").unlink()
    assert load_model(tmp_path / "run").epoch == 2


def test_a_checkpoint_of_another_model(tiny, tmp_path) -> None:
    train(tiny(epochs=1), output=tmp_path / "run", quiet=True)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps({**config, "model": "cvt_4_8"}))
    for checkpoint in ("last", "best"):
        with pytest.raises(UsageError, match=rf"{checkpoint}.pt' is not a checkpoint of cvt_4_8"):
            load_model(tmp_path / "run", checkpoint)
    with pytest.raises(UsageError, match="did you mean 'best'"):
        load_model(tmp_path / "run", "bests")


def test_a_run_that_saved_nothing_may_be_written_over(tmp_path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps(TrainConfig().to_dict()))
    check_output(tmp_path / "run")
    (tmp_path / "run" / "last.pt").write_bytes(b"")
    with pytest.raises(UsageError, match="is not empty"):
        check_output(tmp_path / "run")


# --- one process at a time


def refused(act) -> None:
    """That ``act`` finds the run at work."""
    with pytest.raises(UsageError) as caught:
        act()
    said = r"'.*run' is being trained by another process: wait for it, or choose another output"
    assert re.fullmatch(said, str(caught.value))


def test_a_second_thread_does_not_train(tiny, tmp_path, same) -> None:
    """It would seed the global generator for the first; within one thread nothing is in the way."""
    config = tiny(dropout=0.2)
    alone = train(config, output=tmp_path / "alone", quiet=True)
    refused = []

    def other() -> None:
        for again in (
            lambda: train(config, output=tmp_path / "second", quiet=True),
            lambda: resume(tmp_path / "alone", quiet=True),
        ):
            with pytest.raises(UsageError) as caught:
                again()
            refused.append(str(caught.value))

    def beside(row) -> None:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        train(tiny(epochs=1, seed=5), output=tmp_path / f"within-{row['epoch']}", quiet=True)

    first = train(config, output=tmp_path / "first", quiet=True, on_epoch=beside)
    assert refused == 4 * [
        "another thread of this process trains: wait for it, or train in a process of its own"
    ]
    assert not (tmp_path / "second").exists()
    assert same(first.model.state_dict(), alone.model.state_dict())


def test_training_after_one_that_failed_in_another_thread(tiny, tmp_path) -> None:
    def failing() -> None:
        with pytest.raises(UsageError, match="is not empty"):
            train(tiny(), output=tmp_path, quiet=True)

    thread = threading.Thread(target=failing)
    thread.start()
    thread.join()
    train(tiny(epochs=1), output=tmp_path / "run", quiet=True)


def test_a_run_at_work_is_left_alone(tiny, tmp_path) -> None:
    epochs = []

    def resumed(row) -> None:
        epochs.append(row["epoch"])
        refused(lambda: resume(tmp_path / "run", quiet=True))

    result = train(tiny(epochs=3), output=tmp_path / "run", quiet=True, on_epoch=resumed)
    assert epochs == [1, 2, 3]
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == result.history
    assert resume(tmp_path / "run", quiet=True).summary == result.summary


def test_a_run_that_goes_on_is_left_alone(tiny, tmp_path) -> None:
    with RunFolder.create(tmp_path / "run", tiny()):
        pass
    again = []

    def resumed(row) -> None:
        refused(lambda: resume(tmp_path / "run", quiet=True))
        again.append(row)

    assert resume(tmp_path / "run", quiet=True, on_epoch=resumed).history == again


def test_a_run_that_has_just_begun_is_left_alone(tiny, tmp_path) -> None:
    """Its folder is as good as empty before the first checkpoint."""
    with RunFolder.create(tmp_path / "run", tiny()) as folder:
        refused(lambda: train(tiny(seed=1), output=tmp_path / "run", quiet=True))
        assert folder.config() == tiny()
        assert [path.name for path in folder.path.iterdir()] == ["config.json"]
    train(tiny(seed=1), output=tmp_path / "run", quiet=True)


def test_a_run_that_began_and_ended_meanwhile_is_left_alone(tiny, tmp_path, monkeypatch) -> None:
    create = RunFolder.create

    def late(output, config):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "last.pt").write_bytes(b"another's")
        return create(output, config)

    monkeypatch.setattr(RunFolder, "create", late)
    with pytest.raises(UsageError, match="is not empty"):
        train(tiny(), output=tmp_path / "run", quiet=True)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["last.pt"]


@pytest.mark.parametrize("without", ["fcntl", "folders that open", "locks on the file system"])
def test_where_there_are_no_locks_nobody_is_refused(tmp_path, monkeypatch, without) -> None:
    def fail(*_: object) -> None:
        raise PermissionError

    if without == "fcntl":
        monkeypatch.setitem(sys.modules, "fcntl", None)
    elif without == "folders that open":
        monkeypatch.setattr(os, "open", fail)
    else:
        monkeypatch.setattr("fcntl.flock", fail)
    with RunFolder(tmp_path).alone(), RunFolder(tmp_path).alone():
        pass
