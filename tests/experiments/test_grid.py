"""Grids by a stand-in for training: what is run, what is skipped, what the tables say."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from compact_vit.errors import UsageError
from compact_vit.experiment import pool, read_experiment, run_grid, run_search
from compact_vit.experiment.grid import _Grid, _Progress, told
from compact_vit.experiment.plan import plan_runs

GRID = {"lr": [0.01, 0.02], "seed": [0, 1, 2]}
NAMES = [f"lr{lr}-seed{seed}" for lr in GRID["lr"] for seed in GRID["seed"]]


@pytest.fixture
def grid(write, starts):
    """Runs the grid of the keys given, with the same output every time."""

    def run(workers=1, retry=False, **keys):
        experiment = read_experiment(write(**{"grid": GRID, **keys}))
        return run_grid(experiment, output="out", cores=4, workers=workers, retry=retry, quiet=True)

    return run


def read_csv(path: str) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_every_combination_is_run_and_told_as_its_summary_says(grid, starts, tmp_path) -> None:
    result = grid(workers=2)
    assert sorted(starts()) == sorted(NAMES)
    lines = (tmp_path / "starts.txt").read_text().splitlines()
    assert {tuple(line.split()[1:]) for line in lines} == {("2", "2")}  # 4 cores for two
    assert [row["name"] for row in result.rows] == NAMES
    table = read_csv("out/table.csv")
    for row, line in zip(result.rows, table, strict=True):
        summary = json.loads(Path("out", row["name"], "summary.json").read_text())
        assert row["accuracy"] == float(line["accuracy"]) == summary["final"]["accuracy"]
        assert row["parameters"] == int(line["parameters"]) == 1000
        assert (row["epoch"], row["split"], row["watched"]) == (3, "test", "test")
        assert row["seconds"] == 6.0
        assert row["picked"] is None
        # the epoch before the last is a point higher: never the result
        assert row["highest_accuracy"] == row["accuracy"] + 1
        assert row["lowest_loss"] == pytest.approx(3 - row["highest_accuracy"] / 50)
        assert float(line["lr"]) == row["lr"]
    assert json.loads(Path("out/results.json").read_text())["rows"] == result.rows
    assert {path.name for path in Path("out").iterdir() if path.is_file()} == {
        ".lock", "comparison.png", "experiment.json", "means.csv", "results.json", "table.csv",
        "table.md",
    }  # fmt: skip


def test_the_path_of_a_file_is_an_experiment(write, starts) -> None:
    path = write(grid={"lr": [0.01]})
    assert len(run_grid(str(path), cores=1, quiet=True).rows) == 1
    with pytest.raises(UsageError, match="has no search"):
        run_search(path)


def test_means_over_seeds_by_hand(grid) -> None:
    result = grid()
    # 60 + 4 seed - 1000 |lr - 0.01| - 1: 59, 63, 67 and 49, 53, 57, whose deviation is 4
    assert [mean["accuracy"] for mean in result.means] == [63.0, 53.0]
    # what those are worth, as score --runs counts it: 0 below 70
    assert [mean["score"] for mean in result.means] == [0.0, 0.0]
    for mean in result.means:
        assert mean["accuracy_deviation"] == pytest.approx(4.0)
        assert (mean["seeds"], mean["missing"]) == (3, 0)
        assert mean["seconds_deviation"] == 0
    table = read_csv("out/means.csv")
    assert [float(line["lr"]) for line in table] == [0.01, 0.02]
    text = Path("out/table.md").read_text()
    assert "| 0.01 | 1,000 | 3 | 63.00 | 4.00 |" in text
    assert "no result" in text  # of the best epoch on the test set


def test_the_score_of_seeds_is_that_of_their_mean_accuracy(grid) -> None:
    result = grid(grid={"lr": [0.01], "seed": [2, 4]})  # 67 and 75, of which one is below the floor
    (mean,) = result.means
    assert mean["accuracy"] == 71.0
    assert mean["score"] == pytest.approx(100 * 1 / 0.0009)


def test_folders_of_one_last_part_are_no_seeds_of_each_other(grid, picture_folder) -> None:
    for name in "ab":
        Path(name).mkdir()
        Path(name, "pics").symlink_to(picture_folder)
    train = {"dataset": "folder", "model": "mlp", "epochs": 3, "img_size": 16}
    cases = [{"data_dir": "a/pics"}, {"data_dir": "b/pics"}]
    cases = [{**case, "seed": seed} for seed, case in enumerate(cases)]
    result = grid(train=train, cases=cases, grid={"lr": [0.01]})
    assert [row["data_dir"] for row in result.rows] == ["a/pics", "b/pics"]
    assert [(mean["data_dir"], mean["seeds"]) for mean in result.means] == [
        ("a/pics", 1), ("b/pics", 1)
    ]  # fmt: skip


def test_what_is_no_longer_drawn_or_averaged_is_not_left(grid, command) -> None:
    grid()
    assert Path("out/means.csv").exists()
    Path("out/results.json").unlink()
    grid(grid={"lr": [0.01, 0.02], "seed": [0]})
    assert not Path("out/means.csv").exists()
    assert Path("out/comparison.png").exists()
    grid(grid={"lr": [1000, 2000]})
    assert not Path("out/comparison.png").exists()


def test_a_validation_split_picks_the_epoch(grid) -> None:
    result = grid(train={"dataset": "digits", "model": "mlp", "epochs": 3, "val_fraction": 0.1})
    for row in result.rows:
        assert row["watched"] == "val"
        assert row["picked"] == row["accuracy"] + 1
        assert row["picked_epoch"] == 2
    text = Path("out/table.md").read_text()
    assert "test accuracy %, epoch picked on val" in text
    assert "no result" not in text


def header(text: str) -> list[str]:
    """The titles of the first table in Markdown."""
    return text.partition("\n")[0].strip("| ").split(" | ")


def test_a_split_that_is_not_the_same_everywhere_is_said_row_by_row(grid) -> None:
    train = {"dataset": "digits", "model": "mlp", "epochs": 3}
    rows = grid(train=train, grid={"overfit": [0, 20], "seed": [0, 1]}).rows
    assert [(row["split"], row["watched"]) for row in rows] == [("test", "test")] * 2 + [
        ("train", "train")
    ] * 2
    text = Path("out/table.md").read_text()
    assert header(text)[1:9] == [
        "overfit", "seed", "accuracy is of", "lowest and highest are of", "parameters",
        "accuracy %, last epoch", "lowest loss", "highest accuracy %",
    ]  # fmt: skip
    assert "| 20 | 0 | train | train | 1,000 |" in text
    assert "| 20 | train | train | 1,000 | 2 |" in text  # of the means
    assert "no result" in text  # two rows' highest is of the test set


def test_what_is_learnt_by_heart_is_not_called_test(grid, monkeypatch) -> None:
    from compact_vit.experiment import drawn

    drawings = []
    real = drawn.compare_curves
    monkeypatch.setattr(
        drawn, "compare_curves", lambda *given: drawings.append(real(*given)) or drawings[0]
    )
    train = {"dataset": "digits", "model": "mlp", "epochs": 3, "overfit": 20}
    grid(train=train, grid={"lr": [0.01, 0.02]})
    text = Path("out/table.md").read_text()
    assert "test" not in text
    assert {"train accuracy %, last epoch", "highest train accuracy %"} < set(header(text))
    labels = [axes.get_ylabel() for axes in drawings[0].axes]
    assert labels == ["learnt loss (nats)", "learnt accuracy (%)"]


def test_what_is_finished_is_skipped_and_values_may_be_added(grid, starts) -> None:
    grid()
    assert len(starts()) == 6
    before = {name: Path("out", name, "summary.json").stat().st_mtime_ns for name in NAMES}
    grid()
    assert len(starts()) == 6
    result = grid(grid={"lr": [0.01, 0.02, 0.03], "seed": [0, 1, 2]})
    assert starts()[6:] == [f"lr0.03-seed{seed}" for seed in range(3)]
    assert len(result.rows) == 9
    assert before == {name: Path("out", name, "summary.json").stat().st_mtime_ns for name in NAMES}


def test_what_cannot_be_is_recorded_and_tried_again_when_asked(grid, starts) -> None:
    keys = {"grid": {"lr": [0.01, 1000], "seed": [0, 1]}}
    result = grid(**keys)
    assert [row["state"] for row in result.rows] == ["finished"] * 2 + ["failed"] * 2
    assert result.failed == 2
    failed = result.rows[2]
    assert failed["error"] == "the loss of epoch 1 is not finite"
    assert failed["accuracy"] is None
    assert failed["error"] in Path("out/table.md").read_text()
    assert [(mean["seeds"], mean["missing"]) for mean in result.means] == [(2, 0), (0, 2)]
    assert "; missing: runs that did not finish" in Path("out/table.md").read_text()
    assert grid(**keys).rows == result.rows
    assert len(starts()) == 4
    assert grid(**keys, retry=True).rows == result.rows
    assert sorted(starts()[4:]) == ["lr1000-seed0", "lr1000-seed1"]


def test_one_that_is_killed_leaves_the_others_alone_and_goes_on_next_time(
    grid, starts, monkeypatch
) -> None:
    monkeypatch.setenv("KILLED", "lr0.01-seed1")
    result = grid()
    killed = result.rows[1]
    assert (killed["state"], result.failed) == ("unfinished", 1)
    assert "killed by SIGKILL" in killed["error"]
    assert [row["state"] for row in result.rows].count("finished") == 5
    result = grid()
    assert starts()[6:] == ["lr0.01-seed1"]
    assert result.failed == 0
    assert len(Path("out/lr0.01-seed1/metrics.jsonl").read_text().splitlines()) == 3


def test_a_folder_of_another_run_is_refused_before_anything_is_done(grid, starts, write) -> None:
    grid()
    with pytest.raises(
        UsageError, match=r"'out/lr0.01-seed0' is a run with epochs 3, and now .* 4"
    ):
        grid(train={"dataset": "digits", "model": "mlp", "epochs": 4})
    Path("out/lr0.04-seed0").mkdir()
    Path("out/lr0.04-seed0/letter.txt").touch()
    keys = {"grid": {"lr": [0.03, 0.04], "seed": [0]}}
    with pytest.raises(UsageError, match=r"'out/lr0\.04-seed0' is not the folder of a run"):
        grid(**keys)
    assert len(starts()) == 6
    assert not Path("out/lr0.03-seed0").exists()


def test_the_tables_of_another_grid_are_left_alone(grid, starts, write) -> None:
    grid()
    before = {path: path.read_bytes() for path in Path("out").glob("[!.]*.[cjmp]*")}
    Path("deep").mkdir()
    few = write("deep/exp.yaml", grid={"lr": [0.01, 0.04], "seed": [0]})
    said = "^'out' holds the grid of '.*here/exp.yaml', whose lr0.01-seed1 '.*deep/exp.yaml' has"
    with pytest.raises(UsageError, match=said):
        run_grid(read_experiment(few), output="out", cores=1, quiet=True)
    assert before == {path: path.read_bytes() for path in Path("out").glob("[!.]*.[cjmp]*")}
    Path("exp.yaml").unlink()  # its file has moved
    few = write("deep/exp.yaml", grid={"lr": [0.01], "seed": [0]})
    assert len(run_grid(read_experiment(few), output="out", cores=1, quiet=True).rows) == 1
    assert len(starts()) == 6
    # nothing is lost to a copy that has more, nor by the same file with fewer
    more = write("deep/exp.yaml", grid={"lr": [0.01, 0.02], "seed": [0, 1, 2, 3]})
    assert len(run_grid(read_experiment(more), output="out", cores=1, quiet=True).rows) == 8
    write("exp.yaml", grid=GRID)
    with pytest.raises(UsageError, match=r"'.*deep/exp\.yaml', whose lr0\.01-seed3 '.*exp\.yaml'"):
        grid()
    few = write("deep/exp.yaml", grid={"lr": [0.01], "seed": [0]})
    assert len(run_grid(read_experiment(few), output="out", cores=1, quiet=True).rows) == 1


def test_a_grid_and_a_search_do_not_share_a_folder(write, starts, command) -> None:
    train = {"dataset": "digits", "model": "mlp", "epochs": 3, "val_fraction": 0.1}
    one = write("one.yaml", train=train, grid={"lr": [0.01]})
    two = write("two.yaml", train=train, search={"lr": [0.01]}, trials=1)
    assert command("grid", one, "--output", "grid", "--quiet")[0] == 0
    status, _, err = command("search", two, "--output", "grid")
    said = "'grid' holds a grid, and this is a search: choose another --output"
    assert (status, err) == (2, f"error: {said}\n")
    Path("search").mkdir()
    Path("search/journal.log").touch()
    status, _, err = command("grid", one, "--output", "search")
    said = "'search' holds a search, and this is a grid: choose another --output"
    assert (status, err) == (2, f"error: {said}\n")
    assert starts() == ["lr0.01"]


def test_a_damaged_summary_is_said(grid) -> None:
    grid()
    summary = Path("out/lr0.01-seed0/summary.json")
    of_a_run = json.loads(summary.read_text())
    for text in ("{", "[" * 100_000, "{}", json.dumps(of_a_run | {"final": None})):
        summary.write_text(text)
        with pytest.raises(UsageError, match=r"' is (damaged|not JSON .*): delete its folder"):
            grid()


def test_damaged_notes_on_failures_are_not_worth_a_run(grid, starts) -> None:
    keys = {"grid": {"lr": [0.01, 1000]}}
    rows = grid(**keys).rows
    said = r"^'out/results\.json' is .*: delete it, and what has failed is tried again$"
    for content in ("{", '{"failed": ["x"]}', '{"failed": {"lr1000": "x"}}'):
        Path("out/results.json").write_text(content)
        with pytest.raises(UsageError, match=said):
            grid(**keys)
    Path("out/results.json").unlink()
    assert grid(**keys).rows == rows
    assert starts() == ["lr0.01", "lr1000", "lr1000"]
    for content in ("{", '{"runs": [1]}', '{"file": "x", "runs": [1]}', '{"file": 1}'):
        Path("out/experiment.json").write_text(content)  # is written anew
        assert grid(**keys).rows == rows
    assert json.loads(Path("out/experiment.json").read_text())["runs"][0]["name"] == "lr0.01"


def test_a_run_without_its_lines_is_said(grid) -> None:
    grid()
    log = Path("out/lr0.01-seed0/metrics.jsonl")
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    del rows[-1]["test_loss"]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UsageError, match=r"metrics\.jsonl' is damaged: .*; delete its folder"):
        grid()
    log.unlink()
    with pytest.raises(UsageError, match=r"lr0\.01-seed0' is damaged: delete its folder"):
        grid()


@pytest.mark.parametrize("change", [{"parameters": "x"}, {"seconds": float("inf")}])
def test_a_summary_with_what_are_no_figures_is_said(grid, change) -> None:
    grid()
    path = Path("out/lr0.01-seed0/summary.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UsageError, match=r"lr0\.01-seed0' is damaged: delete its folder"):
        grid()


def test_two_experiments_are_not_at_work_in_one_folder(grid, monkeypatch, starts) -> None:
    monkeypatch.setattr(pool, "_PATIENCE", 0.2)
    Path("out").mkdir()
    with (
        pool.alone_in(Path("out")),
        pytest.raises(UsageError, match="another experiment is at work in 'out'"),
    ):
        grid()
    assert starts() == []
    assert grid().failed == 0


def test_the_command_tells_its_progress_and_its_failures(command, write, starts) -> None:
    path = write(grid={"lr": [0.01, 1000]})
    status, out, err = command("grid", path, "--output", "out", "--cores", "1")
    assert status == 1
    lines = err.splitlines()
    assert lines[0] == "2 runs (2 new), 1 at once with 1 thread each; writing to out"
    assert lines[1].startswith("[1/2] lr0.01: 59.00% test accuracy, 6 s; about ")
    assert lines[2] == "[2/2] lr1000: failed: the loss of epoch 1 is not finite"
    assert lines[3].startswith("1 of 2 runs failed: ")
    assert len(lines) == 4
    assert "59.00" in out
    assert out.endswith(
        "\neverything is in out: table.md, table.csv, comparison.png, a folder a run\n"
    )
    status, out, err = command("grid", path, "--output", "out", "--json", "--quiet")
    assert json.loads(out)["rows"][0]["accuracy"] == 59.0
    assert (status, len(err.splitlines())) == (1, 1)
    status, _, err = command("grid", write(grid={"lr": [0.01]}), "--output", "out")
    assert (status, len(err.splitlines())) == (0, 1)


def test_by_default_it_is_under_runs(command, write, starts) -> None:
    assert command("grid", write("my.grid.yaml", grid={"lr": [0.01]}), "--quiet")[0] == 0
    assert Path("runs/my.grid/lr0.01/summary.json").is_file()


def test_the_command_line_stands_for_what_the_file_says(command, write, starts, here) -> None:
    path = write(grid={"lr": [0.01]})
    words = ("--set", "epochs=5", "model_options.widths=8,16", "optimizer=sgd")
    assert command("grid", path, "--output", "out", "--quiet", *words)[0] == 0
    config = json.loads(Path("out/lr0.01/config.json").read_text())
    assert (config["epochs"], config["optimizer"]) == (5, "sgd")
    assert config["model_options"] == {"widths": [8, 16]}


def test_options_of_the_command_line_stand_for_those_of_the_file(command, write, starts) -> None:
    train = {"dataset": "digits", "model": "mlp", "epochs": 3, "model_options": {"widths": [4]}}
    path = write(train=train, grid={"lr": [0.01]})
    words = ("--output", "out", "--quiet", "--set", "model_options={widths: [8, 16]}")
    assert command("grid", path, *words)[0] == 0
    config = json.loads(Path("out/lr0.01/config.json").read_text())
    assert config["model_options"] == {"widths": [8, 16]}
    status, _, err = command("grid", path, *words, "model_options.widths=8")
    assert (status, err) == (2, f"error: '{path}': set: model_options.widths is given twice\n")


@pytest.mark.parametrize(
    ("grid_keys", "kind"),
    [
        ({"lr": [0.01, 0.02], "seed": [0, 1, 2]}, "curves"),
        ({"lr": [0.01, 0.02], "seed": list(range(8))}, "means"),
        ({"lr": [0.01 + i / 1000 for i in range(5)], "momentum": [0.1, 0.2, 0.3]}, "best"),
    ],
)
def test_the_picture_says_what_can_be_told_apart(grid, monkeypatch, save, grid_keys, kind) -> None:
    from compact_vit.experiment import drawn

    monkeypatch.setattr("compact_vit.plots.save_figure", save)
    drawings = {}
    real = drawn.compare_curves
    monkeypatch.setattr(
        drawn, "compare_curves", lambda *args: drawings.update(compare_curves=args) or real(*args)
    )
    train = {"dataset": "digits", "model": "mlp", "epochs": 3, "optimizer": "momentum"}
    grid(grid=grid_keys, train=train, picture={"axes": "log-log"}, workers=4)
    assert Path("out/comparison.png").stat().st_size > 10_000
    histories, title, axes = drawings["compare_curves"]
    assert axes == "log-log"
    if kind == "best":
        assert "the 14 of the lowest losses of 15" in title
        assert len(histories) == 14
        return
    if kind == "curves":
        assert list(histories) == NAMES
        return
    assert "means over seeds" in title
    assert list(histories) == ["lr 0.01", "lr 0.02"]
    last = {key: histories["lr 0.01"][2][key] for key in ("epoch", "test_accuracy")}
    assert last == {"epoch": 3, "test_accuracy": 60 + 4 * 3.5 - 1}


def test_what_a_run_says_last_is_its_reason() -> None:
    assert pool.Ended("a", 2, "out of memory").reason == "out of memory"
    assert pool.Ended("a", 1, "").reason == "left with status 1"
    assert pool.Ended("a", -9, "x").reason.startswith("killed by SIGKILL")
    assert pool.Ended("a", -35, "x").reason == "killed by signal 35"


def test_time_is_left_only_where_nothing_was_stopped(grid, capsys) -> None:
    """A run that stopped half-way says nothing of how long one takes."""
    grid()
    experiment = read_experiment("exp.yaml")
    plan = plan_runs(experiment)
    ended = [pool.Ended(run.name, 0, "") for run in plan]
    progress = _Progress(_Grid.look(experiment, plan, Path("out"), False), quiet=False)
    progress.to_do = len(ended)
    progress.heard(ended[0])
    assert capsys.readouterr().err.endswith(" left\n")
    progress.heard(ended[1]._replace(status=143))
    progress.heard(ended[2])
    said = capsys.readouterr().err
    assert (said.count("\n"), " left\n" in said) == (2, False)


def test_cores_are_shared() -> None:
    assert pool.threads_each(8, 3) == 2
    assert pool.threads_each(None, 1) >= 1
    with pytest.raises(UsageError, match="workers must be at most the 2 cores, got 3"):
        pool.threads_each(2, 3)


@pytest.mark.parametrize(
    ("said", "threads"), [("1", 1), ("3", 3), ("99", 4), ("0", 4), ("4,2", 4), ("", 4)]
)
def test_no_more_threads_than_openmp_is_given(monkeypatch, said, threads) -> None:
    monkeypatch.setattr(pool, "usable_cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert pool.threads_each(None, 2) == threads
    assert pool.threads_each(8, 2) == 4  # as asked


def test_tables_are_brief_and_files_are_exact(grid) -> None:
    rows = grid(grid={"lr": [0.01, 0.012345678]}).rows
    assert " 0.01235 " in told("table", rows, [], ["lr"])
    assert "0.012345678" in Path("out/table.csv").read_text()


def test_the_picture_of_accuracies_against_a_field(grid, write, starts, save, monkeypatch) -> None:
    from compact_vit.experiment import drawn

    monkeypatch.setattr("compact_vit.plots.save_figure", save)
    asked = []
    real = drawn.plot_against
    monkeypatch.setattr(drawn, "plot_against", lambda *args: asked.append(args) or real(*args))
    keys = {"lr": [0.01, 0.02], "epochs": [3, 4], "seed": [0, 2]}
    train = {"dataset": "digits", "model": "mlp"}
    grid(grid=keys, train=train, picture={"against": "lr"})
    ((lines, x, y, title),) = asked
    # by the stand-in: 60 + 4 x seed - 1000 |lr - 0.01|, 1 less in the last epoch; seeds 0 and 2
    assert lines == {
        f"epochs {epochs}": [
            (0.01, 63.0, pytest.approx(32**0.5)),
            (0.02, 53.0, pytest.approx(32**0.5)),
        ]
        for epochs in (3, 4)
    }
    assert (x, y) == ("lr", "test accuracy (%), last epoch")
    assert title.startswith("exp: 8 of 8 runs on digits, means over seeds, ±")
    assert Path("out/comparison.png").stat().st_size > 10_000
    keys = {"lr": [0.01, 0.02], "epochs": list(range(3, 18))}
    path = write("many.yaml", grid=keys, train=train | {"seed": 0}, picture={"against": "epochs"})
    run_grid(read_experiment(path), output="many", workers=2, cores=2, quiet=True)
    assert list(asked[-1][0]) == ["lr 0.01", "lr 0.02"]
    path = write("many.yaml", grid=keys, train=train | {"seed": 0}, picture={"against": "lr"})
    run_grid(read_experiment(path), output="many", workers=2, cores=2, quiet=True)
    assert len(asked[-1][0]) == 14
    assert asked[-1][3] == "many: 30 of 30 runs on digits, the 14 that come highest of 15"


def test_lines_that_read_alike_are_no_seeds_of_each_other(grid, starts, save, monkeypatch) -> None:
    """Each value of its own is a line, whatever a short name leaves out."""
    from compact_vit.experiment import drawn

    monkeypatch.setattr("compact_vit.plots.save_figure", save)
    asked = []
    real = drawn.plot_against
    monkeypatch.setattr(drawn, "plot_against", lambda *args: asked.append(args) or real(*args))
    rates = [0.02, 0.0200000001, 0.03]
    train = {"dataset": "digits", "model": "mlp", "seed": 0}
    grid(grid={"lr": rates, "epochs": [3, 4]}, train=train, picture={"against": "epochs"})
    ((lines, _, _, title),) = asked
    assert [line[0].mean for line in lines.values()] == pytest.approx([49, 49, 39])
    assert list(lines) == ["lr 0.02", "lr 0.0200000001", "lr 0.03"]
    assert "seeds" not in title


def test_names_of_lines_say_more_where_they_must() -> None:
    from compact_vit.experiment.drawn import _names

    apart = [{"init_from": "a", "teacher": None}, {"init_from": None, "teacher": "b"}]
    assert _names(apart, ["init_from", "teacher"]) == ["a", "b"]
    alike = [{"init_from": "a", "teacher": None}, {"init_from": None, "teacher": "a"}] * 2
    assert (
        _names(alike, ["init_from", "teacher"])
        == [
            "init_from a, teacher None",
            "init_from None, teacher a",
        ]
        * 2
    )
    assert _names([{"lr": 0.1}, {"lr": 0.1}], []) == ["all", "all"]


@pytest.mark.parametrize(
    ("against", "said"),
    [
        ("epochs", "must be a field besides the seed that is varied (lr), got 'epochs'"),
        ("seed", "must be a field besides the seed that is varied (lr), got 'seed'"),
        (7, "must be a field besides the seed that is varied (lr), got 7"),
    ],
)
def test_a_picture_is_against_what_is_varied(write, command, against, said) -> None:
    path = write(grid={"lr": [0.01, 0.02], "seed": [0, 1]}, picture={"against": against})
    status, _, error = command("grid", path)
    assert (status, error) == (2, f"error: '{path}': picture.against {said}\n")
