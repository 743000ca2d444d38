"""Searches: their trials, their journal, and that nobody looks at the test set before the end."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from compact_vit.errors import UsageError
from compact_vit.experiment import child, journal, read_experiment, run_search
from compact_vit.experiment.search_drawn import draw_search
from compact_vit.experiment.space import Choice
from compact_vit.train.config import TrainConfig

TRAIN = {"dataset": "digits", "model": "mlp", "val_fraction": 0.1}
SPACE = {
    "lr": {"low": 0.001, "high": 0.05, "log": True},
    "batch_size": [32, 64],
    "epochs": {"low": 2, "high": 6, "step": 2},
    "model_options.widths": [[8], [8, 16]],
}


@pytest.fixture
def tested(monkeypatch) -> list[Path]:
    """Stands in for the look at the test set; the runs that were tested."""
    runs: list[Path] = []

    def evaluate_run(run, **options):
        assert not options
        runs.append(Path(run))
        config = TrainConfig(**TRAIN)
        return (
            SimpleNamespace(epoch=2, config=config),
            SimpleNamespace(accuracy=55.0, loss=1.5, n=360),
        )

    monkeypatch.setattr("compact_vit.evaluate.evaluate_run", evaluate_run)
    return runs


@pytest.fixture
def search(write, starts, tested):
    """Runs the search of the keys given."""

    def run(output="out", workers=1, retry=False, **keys):
        keys = {"train": TRAIN, "search": SPACE, "trials": 4, "pruner": "none", **keys}
        experiment = read_experiment(write(**keys))
        return run_search(
            experiment, output=output, cores=4, workers=workers, retry=retry, quiet=True
        )

    return run


def test_trials_are_drawn_from_the_space_and_the_best_is_tested_once(
    search, tested, save, monkeypatch
) -> None:
    monkeypatch.setattr("compact_vit.plots.save_figure", save)
    result = search()
    assert [row["trial"] for row in result.rows] == [0, 1, 2, 3]
    for row in result.rows:
        assert row["state"] == "finished"
        assert 0.001 <= row["lr"] <= 0.05
        assert row["batch_size"] in (32, 64)
        assert row["epochs"] in (2, 4, 6)
        assert row["model_options.widths"] in ([8], [8, 16])
        run = Path("out", f"trial-{row['trial']:04d}")
        config = json.loads((run / "config.json").read_text())
        assert config["report_on"] == "val"
        assert [config[key] for key in ("lr", "batch_size", "epochs")] == [
            row[key] for key in ("lr", "batch_size", "epochs")
        ]
        assert config["model_options"] == {"widths": row["model_options.widths"]}
        summary = json.loads((run / "summary.json").read_text())
        assert row["val_accuracy"] == summary["best"]["val_accuracy"]
        assert summary["final"]["split"] == "val"
    best = max(result.rows, key=lambda row: row["val_accuracy"])
    assert tested == [Path("out", f"trial-{best['trial']:04d}")]
    assert result.best["val_accuracy"] == best["val_accuracy"]
    assert journal.open_study(Path("out"), "none").best_value == best["val_accuracy"]
    assert (result.best["test_accuracy"], result.best["n"]) == (55.0, 360)
    assert result.best["tested"] == [best["trial"]]
    assert json.loads(Path("out/best.json").read_text()) == result.best
    assert "looked at once, at the end" in Path("out/table.md").read_text()
    assert Path("out/search.png").stat().st_size > 10_000
    search()
    assert len(tested) == 1


def test_a_seed_decides_all(search) -> None:
    first = search(search={"lr": SPACE["lr"]})
    again = search("again", search={"lr": SPACE["lr"]})
    other = search("other", search={"lr": SPACE["lr"]}, seed=1)
    assert first.rows == again.rows
    values = {row["lr"] for row in first.rows + other.rows}
    assert len(values) == 8


def test_a_search_killed_goes_on_as_if_it_had_not_been(
    search, write, starts, tested, monkeypatch
) -> None:
    keys = {"trials": 6, "pruner": "median"}
    whole = search("whole", **keys)
    before = len(starts())
    code = "import sys; from compact_vit.experiment import cli, trials; trials.CHILD = 'stand_in'; "
    code += "sys.exit(cli.main(sys.argv[1:]))"
    words = ["search", "exp.yaml", "--output", "out", "--cores", "4", "--quiet"]
    environment = os.environ | {"KILLED": "trial-0003", "KILLED_TOO": "yes"}
    done = subprocess.run([sys.executable, "-c", code, *words], env=environment)
    assert done.returncode == -9
    assert len(Path("out/trial-0003/metrics.jsonl").read_text().splitlines()) == 1
    assert not Path("out/best.json").exists()
    result = search(**keys)
    assert result.rows == whole.rows
    assert result.best == whole.best
    # none again but the one that was under way, which went on
    assert starts()[before:] == [f"trial-{number:04d}" for number in (0, 1, 2, 3, 3, 4, 5)]


def test_one_that_is_killed_is_taken_up_again(search, starts, tested, monkeypatch) -> None:
    monkeypatch.setenv("KILLED", "trial-0001")
    result = search()
    assert [row["state"] for row in result.rows].count("unfinished") == 1
    assert (result.failed, result.best, tested) == (1, None, [])
    assert "not been looked at" in Path("out/table.md").read_text()
    result = search()
    assert starts()[4:] == ["trial-0001"]
    assert (result.failed, len(tested)) == (0, 1)


def test_a_look_at_the_test_set_is_not_forgotten(search, tested, monkeypatch) -> None:
    assert search(trials=1).looks == 1
    monkeypatch.setenv("KILLED", "trial-0001")
    result = search(trials=3)
    assert (result.best, result.looks) == (None, 1)
    text = Path("out/table.md").read_text()
    assert "the test set has been looked at once before; trials unfinished now: 1" in text
    assert "not been looked at" not in text
    result = search(trials=3)
    assert result.looks == len(result.best["tested"])


def test_more_trials_may_be_asked_for_but_nothing_else(search, starts) -> None:
    few = search(trials=2)
    more = search(trials=4)
    assert more.rows[:2] == few.rows
    assert len(starts()) == 4
    for named, key, value in (
        ("search.batch_size", "search", SPACE | {"batch_size": [32, 128]}),
        ("sampler", "sampler", "random"),
        ("train.dropout", "train", TRAIN | {"dropout": 0.2}),
        ("train.ema", "train", TRAIN | {"min_lr": 0, "weight_decay": 0, "ema": 0.9}),
    ):
        said = f"'out' holds a search with another {named}: choose"
        with pytest.raises(UsageError, match=said):
            search(**{key: value})
    assert len(starts()) == 4


def test_trials_that_cannot_be_are_told(search, tested) -> None:
    space = {"lr": {"low": 0.01, "high": 1e6, "log": True}, "warmup_lr": [1e-6]}
    result = search(search=space, sampler="random", trials=6)
    states = {row["trial"]: row["state"] for row in result.rows}
    assert states == {
        row["trial"]: "failed" if row["lr"] >= 1000 else "finished" for row in result.rows
    }
    assert set(states.values()) == {"failed", "finished"}
    failed = next(row for row in result.rows if row["state"] == "failed")
    assert failed["error"] == "the loss of epoch 1 is not finite"
    assert len(tested) == 1


def test_a_search_that_failed_for_an_outside_reason_is_not_spent(
    search, starts, tested, monkeypatch
) -> None:
    whole = search("whole")
    before = len(starts())
    monkeypatch.setenv("OUTSIDE", "yes")
    result = search()
    assert [(row["state"], row["error"]) for row in result.rows] == [
        ("failed", "no network, and no archive")
    ] * 4
    assert (result.failed, result.best, len(tested)) == (4, None, 1)
    assert search().rows == result.rows
    assert len(starts()) == before + 4
    monkeypatch.delenv("OUTSIDE")
    monkeypatch.setenv("KILLED", "trial-0002")
    again = search(retry=True)
    assert [row["state"] for row in again.rows] == ["finished"] * 2 + ["unfinished", "finished"]
    result = search()
    assert starts()[before + 4 :] == [f"trial-{number:04d}" for number in (0, 1, 2, 3, 2)]
    assert (result.rows, result.best) == (whole.rows, whole.best)
    search(retry=True)
    assert len(starts()) == before + 9


def test_what_failed_is_said_with_the_way_out(command, write, starts, monkeypatch) -> None:
    monkeypatch.setenv("OUTSIDE", "yes")
    wanted = {"grid": {"grid": {"lr": [0.1]}}, "search": {"search": {"lr": [0.1]}, "trials": 1}}
    for action, keys in wanted.items():
        path = write(f"{action}.yaml", train=TRAIN, **keys)
        status, out, err = command(action, path, "--quiet")
        assert status == 1
        assert out.endswith(
            f"\neverything is in runs/{action}: table.md, table.csv\n"
        )  # and nothing else
        assert err.endswith("with what was stopped, and --retry with the rest\n")
        before = len(starts())
        command(action, path, "--quiet", "--retry")
        assert len(starts()) == before + 1


def test_the_pruner_ends_what_is_below_the_median(search) -> None:
    keys = {"search": {"lr": {"low": 0.001, "high": 0.03}}, "sampler": "random", "seed": 1}
    result = search(**keys, pruner="median", trials=12)
    completed: list[list[float]] = []
    for row in result.rows:
        run = Path("out", f"trial-{row['trial']:04d}")
        lines = (run / "metrics.jsonl").read_text().splitlines()
        reached = [json.loads(line)["val_accuracy"] for line in lines]
        last = 0
        for epoch in range(len(reached)):
            medians = [statistics.median(c[epoch] for c in completed)] if completed else []
            too_low = len(completed) >= 5 and max(reached[: epoch + 1]) < medians[0]
            last = epoch
            if too_low:
                break
        assert last == len(reached) - 1
        if row["state"] == "pruned":
            assert too_low
            assert len(reached) < 15
        else:
            assert len(reached) == 15
            completed.append(reached)
    assert {row["state"] for row in result.rows} == {"finished", "pruned"}
    everything = search("all", **keys, trials=8)
    assert {row["state"] for row in everything.rows} == {"finished"}


def test_several_workers_share_a_journal(search) -> None:
    result = search(workers=4, trials=9, pruner="median")
    assert [row["trial"] for row in result.rows] == list(range(9))
    assert {row["state"] for row in result.rows} <= {"finished", "pruned"}


@pytest.fixture
def job(tmp_path, picture_folder):
    """A real trial of a journal in which five have done better than any can."""
    optuna = journal.import_optuna()
    study = journal.open_study(tmp_path, "median")
    for _ in range(5):
        done = study.ask()
        for epoch in range(1, 6):
            done.report(101.0, epoch)
        study.tell(done, 101.0)
    config = TrainConfig(
        dataset="folder",
        data_dir=str(picture_folder),
        model="mlp",
        img_size=16,
        epochs=3,
        batch_size=9,
        val_fraction=0.25,
        report_on="val",
        device="cpu",
    )
    assert optuna.__version__
    return {
        "config": config.to_dict(),
        "output": str(tmp_path / "run"),
        "threads": 1,
        "trial": {
            "folder": str(tmp_path),
            "pruner": "median",
            "id": study.ask()._trial_id,
            "epochs": 3,
        },
    }


def test_a_real_trial_is_pruned(job, tmp_path) -> None:
    assert child.run(job) == child.PRUNED
    assert len(Path(job["output"], "metrics.jsonl").read_text().splitlines()) == 1
    # taken up again before anybody was told, it ends where it ended
    assert child.run(job) == child.PRUNED
    assert len(Path(job["output"], "metrics.jsonl").read_text().splitlines()) == 1


def test_a_real_trial_does_not_look_at_the_test_set(job, monkeypatch) -> None:
    from compact_vit.train import objective

    evaluate, seen = objective.evaluate_model, []

    def note(model, pictures, how):
        seen.append(len(pictures))
        return evaluate(model, pictures, how)

    monkeypatch.setattr(objective, "evaluate_model", note)
    job["trial"]["pruner"] = "none"
    assert child.run(job) == 0
    assert set(seen) == {9}  # a quarter of 36; to test there are 12


def test_a_real_search(command, write) -> None:
    train = TRAIN | {"batch_size": 256, "device": "cpu"}
    space = {"epochs": {"low": 1, "high": 2}}
    path = write(train=train, search=space, trials=1)
    status, out, err = command("search", path, "--output", "out", "--cores", "1")
    assert status == 0
    assert err.splitlines()[0] == "0 of 1 trials begun; writing to out"
    assert [line.split("]")[0] for line in err.splitlines()[1:]] == ["[1/1"]
    best = json.loads(Path("out/best.json").read_text())
    assert f"{best['test_accuracy']:.2f}% test accuracy on 360 pictures" in out
    assert out.endswith("is in out: best.json, table.md, table.csv, search.png, a folder a trial\n")
    from compact_vit.evaluate import evaluate_run

    trained, evaluation = evaluate_run(Path("out", best["run"]))
    assert evaluation.accuracy == best["test_accuracy"]
    assert trained.epoch == best["epoch"]
    held = evaluate_run(Path("out", best["run"]), split="val")[1]
    assert held.accuracy == best["val_accuracy"]
    assert held.n == best["val_n"] == 144


def test_a_journal_cut_short_is_mended(tmp_path) -> None:
    study = journal.open_study(tmp_path, "none")
    study.tell(study.ask(), 50.0)
    log = tmp_path / journal.JOURNAL
    whole = log.read_bytes()
    log.write_bytes(whole + b'{"op_code": 4, "wor')
    (tmp_path / f"{journal.JOURNAL}.lock").touch()
    journal.mend(tmp_path)
    assert log.read_bytes() == whole
    assert [path.name for path in tmp_path.glob("journal*")] == [journal.JOURNAL]
    again = journal.open_study(tmp_path, "none")
    again.tell(again.ask(), 60.0)
    assert again.best_value == 60.0
    assert len(again.trials) == 2


def test_a_journal_that_is_none_is_refused(search) -> None:
    search(trials=1)
    Path("out/journal.log").write_text("hello\nthere\n")
    with pytest.raises(UsageError, match=r"'out/journal\.log' is damaged"):
        search(trials=2)


@pytest.mark.parametrize("line", ['{"op_code": 99, "worker_id": "x"}', "[" * 100_000])
def test_a_journal_of_strange_lines_is_refused(search, line) -> None:
    search(trials=1)
    with open("out/journal.log", "a") as file:
        file.write(line + "\n")
    with pytest.raises(UsageError, match=r"'out/journal\.log' is damaged"):
        search(trials=2)


def test_trials_of_other_values_are_not_taken_for_new_ones(search, starts) -> None:
    """The journal is gone, and with it what the folders that are left were drawn for."""
    search(trials=1)
    Path("out/journal.log").unlink()
    with pytest.raises(UsageError, match=r"trial-0000' is a run with .*: delete it, or choose"):
        search(trials=1, search={**SPACE, "batch_size": [128]})
    assert len(starts()) == 1


def test_a_trial_that_is_over_may_lose_its_folder(search, tested) -> None:
    rows = search(trials=3).rows
    worst, best = (choose(rows, key=lambda row: row["val_accuracy"]) for choose in (min, max))
    shutil.rmtree(Path("out", f"trial-{worst['trial']:04d}"))
    Path("out", f"trial-{best['trial']:04d}", "metrics.jsonl").write_text("garbage\n")
    again = search(trials=3)
    assert again.best["trial"] == best["trial"]
    assert [row["val_accuracy"] for row in again.rows] == [row["val_accuracy"] for row in rows]


def test_a_damaged_description_costs_no_trials(search, starts) -> None:
    """What its message says is true: with a copy the search goes on, in another folder anew."""
    search(trials=1)
    path = Path("out/experiment.json")
    whole = path.read_bytes()
    for content in (b"{", b"[]", b"\xff", b'{"train": [1], "search": {"space": {}}}', b"{}"):
        path.write_bytes(content)
        said = r"^'out/experiment\.json' .*: put a copy in its place, or choose another --output$"
        with pytest.raises(UsageError, match=said):
            search(trials=2)
    path.unlink()
    with pytest.raises(UsageError, match=r"^'out/experiment\.json' is missing: put a copy in its"):
        search(trials=2)
    assert len(starts()) == 1
    path.write_bytes(whole)
    assert len(search(trials=2).rows) == 2
    assert len(starts()) == 2
    assert len(search(output="other", trials=1).rows) == 1


def test_a_damaged_best_is_found_again(search, tested) -> None:
    best = search(trials=2).best
    wrong = json.loads(Path("out/best.json").read_text()) | {"val_accuracy": None}
    for content in ("{", '{"trial": 2}', json.dumps(wrong)):
        Path("out/best.json").write_text(content)
        with pytest.raises(UsageError, match=r"best\.json' .*: delete it, and the best trial is"):
            search(trials=2)
    Path("out/best.json").unlink()
    assert search(trials=2).best == best
    assert len(tested) == 2


def test_without_optuna_it_says_what_to_install(search, monkeypatch, starts) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(
        UsageError, match=r'a search needs Optuna: pip install "compact-vit\[search\]'
    ):
        search()
    assert not Path("out").exists()


def test_a_folder_needs_one_validation_split(write, picture_folder) -> None:
    keys = {"train": {"dataset": "folder", "data_dir": str(picture_folder), "model": "mlp"}}
    keys |= {"search": {"lr": [0.1]}}
    with pytest.raises(UsageError, match="needs one validation split, val beside test in"):
        run_search(read_experiment(write(**keys)), quiet=True)
    (picture_folder / "val").mkdir()
    keys["train"]["val_fraction"] = 0.1
    with pytest.raises(UsageError, match="needs one validation split"):
        run_search(read_experiment(write(**keys)), quiet=True)


def test_a_file_of_arrays_needs_one_validation_split(write) -> None:
    parts = {f"{part}_images": np.zeros((2, 4, 4), np.uint8) for part in ("train", "test")}
    parts |= {f"{part}_labels": np.array([0, 1]) for part in ("train", "test", "val")}
    keys = {"train": {"dataset": "npz", "data_dir": "mine.npz", "model": "mlp"}}
    keys |= {"search": {"lr": [0.1]}}

    def refused(said: str) -> None:
        with pytest.raises(UsageError, match=said):
            run_search(read_experiment(write(**keys)), quiet=True)

    refused("data_dir must be a file that is there, got '.*mine.npz': give yours with --data-dir")
    np.savez("mine.npz", **parts)
    refused("needs one validation split, val beside test in '.*mine.npz'")
    np.savez("mine.npz", val_images=parts["test_images"], **parts)
    keys["train"]["val_fraction"] = 0.1
    refused("needs one validation split")


def test_a_val_folder_without_a_test_folder_is_what_is_tested_on(
    write, picture_folder, starts, tested
) -> None:
    (picture_folder / "test").rename(picture_folder / "val")
    train = {"dataset": "folder", "data_dir": str(picture_folder), "model": "mlp"}
    keys = {"trials": 1, "pruner": "none", "search": {"lr": [0.1]}}
    with pytest.raises(UsageError, match="needs one validation split"):
        run_search(read_experiment(write(train=train, **keys)), quiet=True)
    train["val_fraction"] = 0.25
    run_search(read_experiment(write(train=train, **keys)), output="out", quiet=True)
    assert len(tested) == 1


def test_trials_without_a_value_are_drawn_as_well() -> None:
    rows = [
        {"trial": i, "state": "finished", "val_accuracy": 50.0 + i, "init_from": value}
        for i, value in enumerate((None, "a", None))
    ]
    figure = draw_search(rows, {"init_from": Choice((None, "a"))}, "a search")
    dots = figure.axes[1].get_lines()[0]
    assert list(zip(*dots.get_data(), strict=True)) == [(0, 50.0), (1, 51.0), (0, 52.0)]
