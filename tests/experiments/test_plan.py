"""From files to runs: every combination and its name by hand, and every mistake in one line."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from compact_vit.errors import UsageError
from compact_vit.experiment import plan_runs, read_experiment, run_grid
from compact_vit.experiment.names import name_by
from compact_vit.experiment.space import Choice
from compact_vit.models.shipped import weights_at
from compact_vit.train.config import TrainConfig

EXAMPLES = sorted((Path(__file__).parents[2] / "examples/experiments").glob("*.yaml"))


def names_of(path: Path) -> list[str]:
    return [run.name for run in plan_runs(read_experiment(path))]


def test_every_combination_in_the_order_of_the_file(write) -> None:
    path = write(
        name="{model}-{optimizer}-lr{lr:g}-s{seed}",
        grid={"model": ["mlp", "cct_2_3x2"], "seed": [0, 1]},
        cases=[{"optimizer": "sgd", "lr": 0.1}, {"optimizer": "adamw", "lr": 1e-3}],
        train={"dataset": "digits", "epochs": 2},
    )
    runs = plan_runs(read_experiment(path))
    assert [run.name for run in runs] == [
        "mlp-sgd-lr0.1-s0",
        "mlp-sgd-lr0.1-s1",
        "cct_2_3x2-sgd-lr0.1-s0",
        "cct_2_3x2-sgd-lr0.1-s1",
        "mlp-adamw-lr0.001-s0",
        "mlp-adamw-lr0.001-s1",
        "cct_2_3x2-adamw-lr0.001-s0",
        "cct_2_3x2-adamw-lr0.001-s1",
    ]
    assert runs[5].config == TrainConfig(
        dataset="digits", epochs=2, model="mlp", optimizer="adamw", lr=1e-3, seed=1
    )
    assert runs[5].varied == {"optimizer": "adamw", "lr": 1e-3, "model": "mlp", "seed": 1}


def test_names_are_made_of_what_is_varied(write) -> None:
    path = write(grid={"optimizer": ["sgd", "adam"], "lr": [0.1, 1e-5], "seed": [3]})
    assert names_of(path) == [
        "sgd-lr0.1-seed3", "sgd-lr1e-05-seed3", "adam-lr0.1-seed3", "adam-lr1e-05-seed3"
    ]  # fmt: skip


def test_options_of_models_vary_too(write) -> None:
    path = write(
        name="{model}-{model_options.widths}-{model_options.activation}",
        train={"dataset": "digits", "model_options": {"activation": "tanh"}},
        cases=[
            {"model": "mlp", "model_options": {"widths": [8, 16]}},
            {"model": "mlp", "model_options.widths": [32]},
            {"model": "mlp_halving"},
        ],
    )
    runs = plan_runs(read_experiment(path))
    assert [run.name for run in runs] == ["mlp-8-16-tanh", "mlp-32-tanh", "mlp_halving-tanh"]
    options = [run.config.model_options for run in runs]
    assert options == [
        {"activation": "tanh", "widths": [8, 16]},
        {"activation": "tanh", "widths": [32]},
        {"activation": "tanh"},
    ]


def test_paths_are_meant_from_the_file(write, here, picture_folder, monkeypatch) -> None:
    (here / "deep").mkdir()
    link = here / "pictures"
    link.symlink_to(picture_folder)
    train = {"dataset": "folder", "data_dir": "../pictures", "model": "mlp"}
    path = write("deep/exp.yaml", train=train, grid={"seed": [0]})
    assert plan_runs(read_experiment(path))[0].config.data_dir == str(link)
    monkeypatch.chdir(here / "deep")
    assert plan_runs(read_experiment("exp.yaml"))[0].config.data_dir == str(link)
    teacher = write(train={"dataset": "digits", "teacher": "timm/resnet18"}, grid={"seed": [0]})
    assert plan_runs(read_experiment(teacher))[0].config.teacher == "timm/resnet18"


def test_paths_of_one_last_part_are_told_whole(write, here) -> None:
    grid = {"init_from": ["a/mae", "b/mae"], "seed": [0]}
    said = (
        f"'{here}/exp.yaml': name 'init_from{{init_from}}-seed{{seed}}' gives "
        f"'init_frommae-seed0' to two runs: init_from {here}/a/mae, seed 0; and init_from "
        f"{here}/b/mae, seed 0 (a path gives a name its last part: rename one of them)"
    )
    with pytest.raises(UsageError) as caught:
        plan_runs(read_experiment(write(train={"dataset": "digits"}, grid=grid)))
    assert str(caught.value) == said
    grid["init_from"][1] = "b/mae2"
    runs = plan_runs(read_experiment(write(train={"dataset": "digits"}, grid=grid)))
    assert [run.name for run in runs] == ["init_frommae-seed0", "init_frommae2-seed0"]
    grid["init_from"] = [str(here / "a" / "mae")] * 2  # the same one twice
    with pytest.raises(UsageError, match=r"and init_from .*/a/mae, seed 0$"):
        plan_runs(read_experiment(write(train={"dataset": "digits"}, grid=grid)))


def test_numbers_with_exponents_are_numbers(here) -> None:
    Path("a.yaml").write_text("grid: {lr: [1e-4, 2E-3, .5e1, 1.5e+0]}\ntrain: {min_lr: 0}\n")
    runs = plan_runs(read_experiment("a.yaml"))
    assert [run.config.lr for run in runs] == [1e-4, 2e-3, 5.0, 1.5]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("timm/resnet 18", "timm-resnet-18"),
        ("../../etc", "etc"),
        ("größe.1", "größe.1"),
        ("a--b", "a-b"),
        ("a\nb", "a-b"),
    ],
)
def test_names_are_safe_as_those_of_folders(model, name) -> None:
    assert name_by("{model}", lambda field: model) == name


def test_a_name_of_which_nothing_is_left(write) -> None:
    with pytest.raises(UsageError, match=r"names of 1 to 150 characters, got ''"):
        name_by("{model}", lambda field: "..")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_can_run(path) -> None:
    experiment = read_experiment(path)
    assert path.read_text().startswith("# ")
    if experiment.search is None:
        assert len(plan_runs(experiment)) > 1
        return
    from compact_vit.experiment.search import _check

    assert _check(experiment, experiment.search)["report_on"] == "val"


def test_the_reports_are_all_there() -> None:
    assert {path.stem for path in EXAMPLES} >= {
        "depth", "width", "depth_and_width", "residual_depth", "optimizers", "activations",
        "dropout", "batch_size", "search",
    }  # fmt: skip


GOOD = "train: {dataset: digits, model: mlp}\n"
V = "train: {dataset: digits, model: mlp, val_fraction: 0.1}\n"
S = "search: {lr: {low: 0.01, high: 0.1}}\n"

#: (the file of a grid, what is said)
GRIDS = [
    ("", "'a.yaml' must hold keys with their values, got None"),
    ("- 1\n- 2", "'a.yaml' must hold keys with their values, got [1, 2]"),
    ("train:\n\tlr: 1", "'a.yaml', line 2 is not YAML: a tab"),
    ("grid: [", "'a.yaml', line 1 is not YAML: "),
    ("grid: {lr: [1]}\ngrid: {lr: [2]}", "line 2 is not YAML: the key 'grid' a second"),
    ("train: {1: 2}", "line 1 is not YAML: a key that is no word"),
    ("train: &a {lr: 1}\ngrid: *a", "line 2 is not YAML: an alias"),
    ("grid: {seed: [010]}", "line 1 is not YAML: 010 is a number to the base 8 or 60"),
    ("grid: {lr:\n  [1:30]}", "line 2 is not YAML: 1:30 is a number to the base 8 or 60"),
    ("x: !!python/object:os.system y", "could not determine a constructor"),
    ("a: " + "[" * 1200, "too many brackets"),
    ("\udcff", "'a.yaml' is not text in UTF-8 (byte 0)"),
    ("#" * 1_000_001, "is no experiment: it is longer than 1,000,000 bytes"),
    (GOOD, "'a.yaml' varies nothing: it has neither a grid nor cases"),
    (GOOD + "gird: {lr: [1]}", "'a.yaml': unknown key 'gird': did you mean 'grid'?"),
    ("train: 3", "'a.yaml': train must be keys with their values, got 3"),
    ("train: {epoch: 3}", "'a.yaml': train: unknown field of a training 'epoch'"),
    ("train: {model_options: 3}", "model_options must be names with values, got 3"),
    ("grid: {lr: []}", "'a.yaml': grid.lr must hold at least one value"),
    ("grid: {lr: 0.1}", "'a.yaml': grid.lr must be a list of values, got 0.1"),
    ("grid: {lrr: [1]}", "'a.yaml': grid: unknown field of a training 'lrr'"),
    ("grid: {model_options: [{widths: [8]}]}", "such as model_options.widths"),
    ("cases: {lr: 1}", "'a.yaml': cases must be a list of values, got {'lr': 1}"),
    ("cases: [{}]", "'a.yaml': cases[1] must hold at least one field, got none"),
    ("cases: [{lr: 1}, 3]", "'a.yaml': cases[2] must be keys with their values"),
    ("cases: [{lr: 1}]\ngrid: {lr: [1]}", "lr is in grid and in cases"),
    ("train: {lr: 1}\ngrid: {lr: [1]}", "must not be fixed in train"),
    ("picture: {axes: log}", "picture.axes: unknown axes 'log': did you mean 'log-"),
    ("picture: {axes: log-log, against: lr}\ngrid: {lr: [1, 2]}", "is of curves: leave it out"),
    ("picture: {axis: log}", "picture: unknown key 'axis': did you mean 'axes'?"),
    ("name: 3", "'a.yaml': name must be a template such as '{model}', got 3"),
    ("name: '{lr'\ngrid: {lr: [1]}", "'a.yaml': name is no template"),
    ("grid: {learning_rate: [1]}", "a training 'learning_rate': did you mean 'lr'?"),
    ("train: {pretrained: x}\ngrid: {lr: [1]}", "'pretrained': did you mean 'init_from'?"),
    ("train: {freeze: true}\ngrid: {lr: [1]}", "'freeze': did you mean 'layer_decay'?"),
    ("name: '{wd}'\ngrid: {lr: [1]}", "field of a training 'wd': did you mean 'weight_decay'?"),
    ("name: '{lrr}'\ngrid: {lr: [1]}", "name names an unknown field of a training"),
    ("name: '{lr.__class__}'\ngrid: {lr: [1]}", "name names an unknown field"),
    ("name: '{lr!r}'\ngrid: {lr: [1]}", "name must have simple forms"),
    ("name: '{lr:999999999}'\ngrid: {lr: [1]}", "name must have simple forms"),
    ("name: '{model:g}'\ngrid: {lr: [1]}", "gives model the form 'g', got 'cct_2_3x2'"),
    ("name: '{model}'\ngrid: {lr: [1, 2]}", "to two runs: lr 1; and lr 2: put {lr} into it"),
    ("grid: {lr: [0.1, 0.1]}", "gives 'lr0.1' to two runs"),
    ("name: table.csv\ngrid: {lr: [1]}", "name must not give 'table.csv'"),
    (GOOD + "grid: {lr: [1, -1]}", "'a.yaml', with lr -1: lr must be a number above 0"),
    ("grid: {model: [mlp, mpl]}", "with model mpl: unknown model 'mpl': did you mean"),
    (GOOD + "grid: {model_options.width: [[8]]}", "did you mean 'widths'?"),
    (f"grid: {{seed: {list(range(101))}, epochs: {list(range(1, 101))}}}", "10,100"),
    ("grid: {seed: [0]}\ntrials: 3", "trials is of a search, and there is no search"),
    ("train: {dataset: folder, data_dir: gone}\ngrid: {seed: [0]}", "folder that is there"),
]
#: the same of a search
SEARCHES = [
    (GOOD, "'a.yaml' has no search: give what it is to look through"),
    (GOOD + S, "report_on must not be 'val' without a validation split"),
    (V + "search: {}", "search must hold at least one field"),
    (V + "search: {model_options: [{mlp_kernel: 3}]}", "search.model_options must be options one"),
    (V + "search: {lr: 3}", "search.lr must be keys with their values, got 3"),
    (V + "search: {lr: {low: 1}}", "search.lr.high must be a number, got None"),
    (V + "search: {lr: {low: 1, high: 1}}", "search.lr.low must be below high (1)"),
    (V + "search: {lr: {low: 0, high: 1, log: true}}", "must be above 0 with log"),
    (V + "search: {lr: {lo: 0, high: 1}}", "unknown key 'lo': did you mean 'low'?"),
    (V + "search: {epochs: {low: 1, high: 9, step: 3}}", "must lead from low to high"),
    (V + "search: {epochs: {low: 1, high: 2.5}}", "from whole number to whole number"),
    (V + "search: {optimizer: {low: 1, high: 2}}", "takes no range: give a list"),
    (V + "search: {lr: {low: -1, high: 2}}", "with lr -1: lr must be a number above"),
    (V + S + "sampler: tpee", "'a.yaml': unknown sampler 'tpee'"),
    (V + S + "pruner: 3", "'a.yaml': unknown pruner '3': choose from median"),
    (V + "search: {report_on: [test, val]}", "report_on must not be searched"),
    (V + S + "grid: {seed: [0]}", "a search has neither a grid nor cases: write two files"),
    (V + S + "trials: 0", "trials must be a whole number of at least 1, got 0"),
]
#: (the words of the command, its file, what is said)
WORDS = [
    ("grid nowhere.yaml", "", "nowhere.yaml: No such file or directory"),
    ("grid .", "", "Is a directory"),
    ("grid", "", "the following arguments are required: FILE"),
    ("gird a.yaml", "", "unknown action 'gird': did you mean 'grid'?"),
    ("grid a.yaml --worker 2", GOOD, "unknown argument '--worker': did you mean '--workers'?"),
    ("grid a.yaml --workers 0", GOOD, "--workers: wanted a whole number from 1 to 1024, got '0'"),
    (
        "grid a.yaml --cores 1 --workers 2",
        GOOD + "grid: {seed: [0]}",
        "at most the 1 cores, got 2",
    ),
    ("grid a.yaml --set lr", GOOD, "wanted FIELD=VALUE, such as epochs=3, got 'lr'"),
    (
        "grid a.yaml --set lrr=1",
        GOOD,
        "--set: unknown field of a training 'lrr': did you mean 'lr'",
    ),
    ("grid a.yaml --set epochs=1 epochs=2", GOOD, "epochs is set twice: 1 and 2"),
    (
        "grid a.yaml --set seed=1",
        GOOD + "grid: {seed: [0]}",
        "seed is varied, and must not be fixed",
    ),
    ("grid a.yaml --output note.txt", GOOD + "grid: {seed: [0]}", "'note.txt' is a file"),
    ("search a.yaml --set lr=1", V + S, "lr must not be in train or set: it is searched"),
    ("search a.yaml --set report_on=test", V + S, "a search reports on val"),
    ("search a.yaml --set overfit=3 val_fraction=0", V + S, "report_on must not be 'val'"),
    *(("grid a.yaml", text, said) for text, said in GRIDS),
    *(("search a.yaml", text, said) for text, said in SEARCHES),
]


@pytest.mark.parametrize("action", ["grid", "search"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("track: [tensorboard, wandb]", "--track wandb needs the package wandb: pip install"),
        ("init_from: gone", "init_from must be the folder of a run or of weights, or weights in"),
        ("init_from: empty", "empty', a folder of something else"),
        ("teacher: empty", "teacher must be the folder of a run or timm/NAME, got '"),
        ("teacher: weights", "teacher must be the folder of a run or timm/NAME, got '"),
    ],
)
def test_what_is_not_there_is_said_before_the_first_run(
    command, here, monkeypatch, action, given, said
) -> None:
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "wandb" else json.__spec__
    )
    Path("empty").mkdir()
    Path("weights").symlink_to(weights_at("cct_2_3x2"))
    Path("run").mkdir()
    Path("run/config.json").touch()
    field, value = given.split(": ")
    first = {"track": "[tensorboard]", "init_from": "cct_2_3x2", "teacher": "run"}[field]
    train = "{dataset: digits, model: cct_2_3x2, val_fraction: 0.1}"
    path = Path("a.yaml")
    path.write_text(f"train: {train}\n{action}: {{{field}: [{first}, {value}]}}\n")
    status, out, err = command(action, path)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: 'a.yaml': ")
    assert said in err
    assert not Path("runs").exists()


@pytest.mark.parametrize("action", ["grid", "search"])
def test_models_of_timm_are_looked_up_before_the_first_run(command, here, action) -> None:
    path = Path("a.yaml")
    train = "{dataset: digits, val_fraction: 0.1}"
    path.write_text(f"train: {train}\n{action}: {{model: [mlp, timm/resnet19]}}\n")
    status, out, err = command(action, path)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "'a.yaml'" in err
    assert "unknown model 'timm/resnet19': did you mean 'timm/resnet18'?" in err


@pytest.mark.parametrize("varied", [False, True])
def test_weights_for_a_model_of_timm_are_meant_from_the_file(command, here, varied) -> None:
    Path("there").mkdir()
    path, weights = Path("there/a.yaml"), (Path("there") / "w.safetensors").resolve()
    if varied:
        text = "train: {dataset: digits, model: timm/resnet10t}\n"
        path.write_text(f"{text}grid: {{model_options.pretrained: [w.safetensors]}}\n")
    else:
        options = "model_options: {pretrained: w.safetensors}"
        text = f"train: {{dataset: digits, model: timm/resnet10t, {options}}}\n"
        path.write_text(f"{text}grid: {{seed: [0]}}\n")
    status, _, err = command("grid", path)
    assert status == 2
    assert err.endswith(f"pretrained must be a file of weights of 'resnet10t', got '{weights}'\n")
    weights.touch()
    (run,) = plan_runs(read_experiment(path))
    assert run.config.model_options == {"pretrained": str(weights)}
    assert run.name == ("pretrainedw.safetensors" if varied else "seed0")


@pytest.mark.parametrize(
    "given", [{"init_from": "cct_2_3x2"}, {"teacher": "run"}, {"teacher": "timm/resnet18"}]
)
def test_what_is_there_begins(write, starts, given) -> None:
    Path("run").mkdir()
    Path("run/config.json").touch()
    train = {"dataset": "digits", "model": "cct_2_3x2", "epochs": 2, **given}
    experiment = read_experiment(write(train=train, grid={"seed": [0]}))
    assert run_grid(experiment, cores=1, quiet=True).failed == 0


@pytest.mark.parametrize(("words", "text", "said"), WORDS)
def test_mistakes_are_said_in_one_line(command, here, words, text, said) -> None:
    Path("a.yaml").write_bytes(text.encode(errors="surrogateescape"))
    Path("note.txt").touch()
    status, out, err = command(*words.split())
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert {path.name for path in here.iterdir()} == {"a.yaml", "note.txt"}


def test_an_experiment_is_started_once(write, command, monkeypatch) -> None:
    path = write(grid={"lr": [0.01, 0.02]})
    monkeypatch.setenv("WORLD_SIZE", "2")
    status, _, said = command("grid", path)
    assert (status, said.count("\n")) == (2, 1)
    assert "an experiment must be started once, without torchrun" in said
    assert not (path.parent / "runs").exists()


def test_searched_paths_are_meant_from_the_file(write) -> None:
    Path("deep").mkdir()
    searched = {"init_from": ["../run", "cct_2_3x2", None], "model": ["mlp", "mlp_naive"]}
    search = read_experiment(write("deep/exp.yaml", search=searched)).search
    assert search is not None
    assert search.space == {
        "init_from": Choice((f"{Path.cwd()}/run", "cct_2_3x2", None)),
        "model": Choice(("mlp", "mlp_naive")),
    }
