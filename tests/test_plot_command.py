"""``python -m compact_vit.plot``: each picture from the files it is drawn from."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from compact_vit import plot
from compact_vit.data import load_dataset
from compact_vit.errors import UsageError
from compact_vit.evaluate import evaluate_run
from compact_vit.plot import main
from compact_vit.plots import attention_maps
from compact_vit.train import load_model, train
from compact_vit.train.config import TrainConfig


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A finished run on the digits: two epochs of the smallest model."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    config = TrainConfig(model="cvt_2_8", epochs=2, device="cpu", precision="fp32")
    train(config, output=folder, quiet=True)
    return folder


def shown(axes) -> torch.Tensor:
    return torch.as_tensor(axes.images[0].get_array().data)


def printed(capsys, *words) -> str:
    assert main([str(word) for word in words]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def refused(capsys, *words) -> str:
    """The one line that ``words`` are refused with."""
    try:
        status = main([str(word) for word in words])
    except SystemExit as stopped:
        status = stopped.code
    captured = capsys.readouterr()
    assert (status, captured.out) == (2, "")
    assert captured.err.count("\n") == 1
    return captured.err


def test_curves_of_a_run(run, capsys, tmp_path) -> None:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    loss, accuracy = plot.curves([run]).axes
    for axes, quantity in ((loss, "loss"), (accuracy, "accuracy")):
        test = next(line for line in axes.get_lines() if line.get_label() == "test")
        assert list(test.get_ydata()) == [row[f"test_{quantity}"] for row in rows]
    title = plot.curves([run]).get_suptitle()
    assert (
        " ".join(title.split())
        == "cvt_2_8 on digits; the training loss is against targets smoothed by 0.1"
    )
    assert printed(capsys, "curves", run, "--axes", "log-log") == (
        f"curves: {run / 'curves-log-log.png'}\n"
    )
    assert (run / "curves-log-log.png").read_bytes().startswith(b"\x89PNG")
    output = tmp_path / "new" / "c.svg"
    assert printed(capsys, "curves", run, "--output", output) == f"curves: {output}\n"
    assert output.read_bytes().startswith(b"<?xml")


def other_run(run: Path, where: Path, **changes) -> Path:
    """A copy of ``run`` with another configuration."""
    shutil.copytree(run, where)
    config = json.loads((run / "config.json").read_text()) | changes
    (where / "config.json").write_text(json.dumps(config))
    return where


def test_runs_compared(run, capsys, tmp_path, monkeypatch) -> None:
    def names(figure):
        return [text.get_text() for text in figure.legends[0].get_texts()]

    second = other_run(run, tmp_path / "second", seed=1)
    figure = plot.curves([run, second])
    assert figure.get_suptitle() == "2 runs on digits"
    assert names(figure) == ["first", "second"]
    words = ["curves", run, second, "--labels", "plain", "smooth", "--title", "Two seeds"]
    assert printed(capsys, *words, "--output", tmp_path / "two.svg").endswith("two.svg\n")
    drawing = (tmp_path / "two.svg").read_text()
    assert all(f"<!-- {text} -->" in drawing for text in ("plain", "smooth", "Two seeds"))
    assert plot.curves([run], title="Mine").get_suptitle().startswith("Mine")
    for wrong in (["a"], ["a", "a"], ["a", "b", "c"]):
        with pytest.raises(UsageError, match="labels must be 2 different names, got a"):
            plot.curves([run, second], labels=wrong)
    with pytest.raises(UsageError, match="labels must be left out for a single run, got a"):
        plot.curves([run], labels=["a"])
    # the same name in another folder
    same = other_run(run, tmp_path / "deep" / "first")
    above = Path(os.path.commonpath([run, same]))
    told = [str(path.relative_to(above)) for path in (run, same)]
    assert names(plot.curves([run, same])) == told
    # other data
    mnist = other_run(run, tmp_path / "mnist", dataset="mnist")
    figure = plot.curves([run, mnist])
    assert figure.get_suptitle() == "not comparable: different data sets (digits, mnist)"
    assert names(figure) == ["first, digits", "mnist, mnist"]
    one, two = (
        other_run(run, tmp_path / name, dataset="folder", data_dir=f"/{name}/birds")
        for name in ("one", "two")
    )
    assert plot.curves([one, two]).get_suptitle().startswith("not comparable")
    assert plot.curves([one, two], title="Birds").get_suptitle().startswith("Birds, not comparable")
    monkeypatch.chdir(tmp_path)
    assert printed(capsys, "curves", run, second) == "curves: curves.png\n"
    assert Path("curves.png").exists()


def test_curves_of_a_run_that_goes_on(run, tmp_path) -> None:
    going = other_run(run, tmp_path / "going")
    first = (run / "metrics.jsonl").read_text().splitlines()[0]
    (going / "metrics.jsonl").write_text(first + "\n")
    (going / "summary.json").unlink()
    assert len(plot.curves([going]).axes[0].get_lines()[0].get_xdata()) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no epoch to draw yet"),
        ("", "no epoch to draw yet"),
        ('{"epoch": 1, "tr', "no epoch to draw yet"),  # a line that is being written
        ('{"epoch": 1, "tr\n', "metrics.jsonl' is damaged"),
        ('{"epoch": 1, "train_loss": 2.0}\n', "metrics.jsonl' is damaged"),
        ("[1]\n", "metrics.jsonl' is damaged"),
        (
            '{"epoch": 1, "train_loss": NaN, "train_accuracy": 1, "test_loss": 1, '
            '"test_accuracy": 1}\n',
            "metrics.jsonl' is damaged",
        ),
    ],
)
def test_no_curves(run, tmp_path, capsys, content, said) -> None:
    broken = other_run(run, tmp_path / "broken")
    (broken / "metrics.jsonl").unlink()
    if content is not None:
        (broken / "metrics.jsonl").write_text(content)
    before = {path: path.read_bytes() for path in broken.iterdir()}
    assert said in refused(capsys, "curves", run, broken)
    assert {path: path.read_bytes() for path in broken.iterdir()} == before


def test_confusion(run, capsys) -> None:
    _, evaluation = evaluate_run(run, device="cpu")
    figure = plot.confusion(run, device="cpu")
    assert figure.get_suptitle() == (
        f"cvt_2_8 on digits, test, epoch 2: {evaluation.accuracy:.2f}% of 360 right"
    )
    counts = torch.zeros(10, 10)
    said = evaluation.probabilities.argmax(dim=1)
    for truth, answer in zip(evaluation.labels.tolist(), said.tolist(), strict=True):
        counts[truth, answer] += 1
    share = 100 * counts / counts.sum(dim=1, keepdim=True)
    torch.testing.assert_close(shown(figure.axes[0]).float(), share)
    assert printed(capsys, "confusion", run, "--device", "cpu", "--split", "train") == (
        f"confusion: {run / 'confusion-train.png'}\n"
    )


def test_errors(run, capsys) -> None:
    _, evaluation = evaluate_run(run, device="cpu")
    images = load_dataset("digits").test.images
    sure, said = evaluation.probabilities.max(dim=1)
    wrong = [i for i in range(360) if said[i] != evaluation.labels[i]]
    wrong.sort(key=lambda i: -sure[i].item())
    figure = plot.errors(run, count=5, device="cpu")
    assert figure.get_suptitle() == (
        f"cvt_2_8 on digits, test, epoch 2: 5 surest of {len(wrong)} mistakes in 360 pictures"
    )
    for axes, i in zip(figure.axes, wrong[:5], strict=True):
        assert torch.equal(shown(axes), images[i, 0])
        truth = int(evaluation.labels[i])
        assert axes.get_title() == f"{int(said[i])} {100 * sure[i]:.1f}%\ntrue: {truth}"
    assert printed(capsys, "errors", run, "--count", 2, "--device", "cpu") == (
        f"errors: {run / 'errors-test.png'}\n"
    )


CONFIG = TrainConfig(
    auto_augment="rand", erasing=1.0, mixup=0.8, crop_padding=2, device="cpu", seed=5
)


def test_samples_are_decided_by_the_seed() -> None:
    def pixels(config, **size):
        return [shown(axes) for axes in plot.samples(config, **size).axes]

    first, again = pixels(CONFIG), pixels(CONFIG)
    assert len(first) == 8 * 5
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    other = pixels(dataclasses.replace(CONFIG, seed=6))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    rows = [first[i : i + 8] for i in range(8, 40, 8)]  # of draws: no two alike
    assert not any(torch.equal(a, b) for a, b in zip(rows[0], rows[1], strict=True))
    assert len(pixels(CONFIG, pictures=3, draws=1)) == 6


def test_samples_are_training_pictures_as_they_are() -> None:
    train_part = load_dataset("digits").train
    figure = plot.samples(CONFIG, pictures=4, draws=1)
    assert figure.get_suptitle() == "digits, recipe quick, seed 5"
    for axes in figure.axes[:4]:
        same = (train_part.images[:, 0] == shown(axes)).all(dim=(1, 2)).nonzero().flatten()
        assert axes.get_title() in [str(int(train_part.labels[i])) for i in same]


def test_no_augmentation_gives_the_pictures_back() -> None:
    """Out of the range of the model's numbers and back, to the last bit."""
    config = TrainConfig(auto_augment="none", crop_padding=0, device="cpu")
    axes = plot.samples(config, draws=2).axes
    for i in range(8):
        assert torch.equal(shown(axes[i]), shown(axes[8 + i]))
        assert torch.equal(shown(axes[i]), shown(axes[16 + i]))


def test_samples_from_flags_and_from_a_run(run, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert printed(capsys, "samples", "--pictures", 2, "--erasing", 1) == "samples: samples.png\n"
    said = printed(capsys, "samples", run, "--seed", 3, "--draws", 1)
    assert said == f"samples: {run / 'samples.png'}\n"
    assert (run / "samples.png").exists()


def test_samples_of_coloured_pictures(tiny_cifar10) -> None:
    config = TrainConfig(
        dataset="cifar10", data_dir=str(tiny_cifar10), recipe="published-300", device="cpu"
    )
    axes = plot.samples(config, pictures=3, draws=1).axes
    assert shown(axes[0]).shape == (32, 32, 3)
    assert not torch.equal(shown(axes[0]), shown(axes[3]))


@pytest.fixture
def on_pictures(picture_folder, tmp_path) -> Path:
    config = TrainConfig(
        dataset="folder", data_dir=str(picture_folder), model="cct_2_3x2", epochs=1, device="cpu"
    )
    train(config, output=tmp_path / "run", quiet=True)
    return tmp_path / "run"


def test_attention(on_pictures, picture_folder, capsys) -> None:
    files = sorted((picture_folder / "test" / "red").iterdir())[:2]
    figure = plot.attention(on_pictures, files, device="cpu")
    trained = load_model(on_pictures)
    assert figure.get_suptitle() == "cct_2_3x2 on pictures, epoch 1"
    panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    assert len(panels) == 6
    for row, file in enumerate(files):
        picture, pool, rollout = panels[3 * row : 3 * row + 3]
        pixels = shown(picture)
        assert pixels.shape == (32, 32, 3)
        x = (pixels.permute(2, 0, 1) / 255 - torch.tensor(trained.mean).view(3, 1, 1))[None]
        x = x / torch.tensor(trained.std).view(3, 1, 1)
        best = trained.model(x).softmax(dim=1).max(dim=1)
        name, share = trained.classes[int(best.indices)], 100 * best.values.item()
        assert picture.get_title() == f"{file.name}: {name} {share:.1f}%"
        for axes, (title, wanted) in zip(
            (pool, rollout), attention_maps(trained.model, x).items(), strict=True
        ):
            assert axes.get_title() == title
            laid = torch.as_tensor(axes.images[1].get_array().data)
            torch.testing.assert_close(laid, wanted[0], rtol=1e-3, atol=1e-4)
    said = printed(capsys, "attention", on_pictures, *files, "--device", "cpu")
    assert said == f"attention: {on_pictures / 'attention.png'}\n"
    # a folder of pictures is called by its name
    title = plot.confusion(on_pictures, device="cpu").get_suptitle()
    assert title.startswith("cct_2_3x2 on pictures, test")


def test_schedule_by_formula(run, capsys) -> None:
    config = TrainConfig(
        epochs=10, lr=1e-2, min_lr=1e-3, warmup_lr=2e-3, warmup_ratio=0.2, cooldown_ratio=0.1
    )
    (line,) = plot.schedule(config).axes[0].get_lines()
    rates = dict(zip(line.get_xdata().tolist(), line.get_ydata().tolist(), strict=True))
    assert (min(rates), max(rates)) == (0, 9.99)
    for epoch in (0.0, 0.5, 1.5):  # linear
        assert rates[epoch] == pytest.approx(2e-3 + 8e-3 * epoch / 2)
    for epoch in (2.0, 4.0, 5.5, 8.0):  # half a cosine over 7 epochs
        share = (1 + math.cos(math.pi * (epoch - 2) / 7)) / 2
        assert rates[epoch] == pytest.approx(1e-3 + 9e-3 * share)
    for epoch in (9.0, 9.5, 9.99):
        assert rates[epoch] == pytest.approx(1e-3)
    (axes,) = plot.schedule(config).axes
    assert axes.get_xlim() == (0, 10)
    assert all(tick == int(tick) for tick in axes.get_xticks())
    said = plot.schedule(config).get_suptitle()
    assert said == "cosine, recipe quick on digits"
    assert printed(capsys, "schedule", run) == f"schedule: {run / 'schedule.png'}\n"


def test_schedule_from_flags(capsys, tmp_path) -> None:
    output = tmp_path / "s.pdf"
    words = ("--dataset", "cifar100", "--recipe", "published-300", "--epochs", 30, "--lr", 1e-3)
    assert printed(capsys, "schedule", *words, "--output", output) == f"schedule: {output}\n"
    assert output.read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["curve", "RUN"], "unknown picture 'curve': did you mean 'curves'?"),
        (["curves"], "required: RUN"),
        (["curves", "RUN", "--axis", "log-log"], "did you mean '--axes'?"),
        (["curves", "RUN", "--axes", "log"], "unknown axes 'log': did you mean 'log-log'?"),
        (["curves", "RUN", "RUN"], "every run once"),
        (["curves", "nowhere"], "'nowhere' is not the folder of a run"),
        (["confusion", "nowhere"], "'nowhere' is not the folder of a run"),
        (["confusion", "RUN", "--split", "val"], "no validation split"),
        (["confusion", "RUN", "--device", "abacus"], "got 'abacus'"),
        (["errors", "RUN", "--count", "0"], "count must be a whole number of at least 1, got 0"),
        (["errors", "RUN", "--split", "tests"], "did you mean 'test'?"),
        (["errors", "RUN", "--checkpoint", "lost"], "did you mean 'last'?"),
        (["attention", "RUN"], "required: PICTURE"),
        (["attention", "RUN", "nowhere.png"], "no picture at nowhere.png"),
        (["attention", "nowhere", "a.png"], "'nowhere' is not the folder of a run"),
        (["samples", "--recipe", "quik"], "did you mean 'quick'?"),
        (["samples", "--draws", "0"], "draws must be a whole number from 1 to 32, got 0"),
        (["samples", "--pictures", "99"], "pictures must be a whole number from 1 to 32, got 99"),
        (["samples", "RUN", "--flip", "0.1"], "leave out RUN, or --flip"),
        (["schedule", "RUN", "--lr", "1", "--min-lr", "0"], "leave out RUN, or --lr, --min-lr"),
        (["schedule", "--lr", "0"], "lr must be a number above 0"),
        (["schedule", "--epochs", "many"], "invalid int value: 'many'"),
        (["schedule", "nowhere"], "'nowhere' is not the folder of a run"),
        (["schedule", "--output", "rate.doc"], "output must end in .png, .pdf or .svg"),
        (["attention", "RUN", "no.png", "--output", "x"], "output must end in .png, .pdf or .svg"),
    ],
)
def test_bad_input(run, capsys, tmp_path, monkeypatch, words, said) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(run.iterdir())
    assert said in refused(capsys, *(run if word == "RUN" else word for word in words))
    assert sorted(run.iterdir()) == before
    assert not list(tmp_path.iterdir())


def test_a_run_without_mistakes(run, monkeypatch) -> None:
    from compact_vit.plot import figures

    evaluated = figures.evaluate_pictures

    def right(*asked):
        found = evaluated(*asked)
        sure = torch.nn.functional.one_hot(found.labels, 10).float()
        return dataclasses.replace(found, probabilities=sure)

    monkeypatch.setattr(figures, "evaluate_pictures", right)
    with pytest.raises(UsageError, match="all 360 pictures are right"):
        plot.errors(run, device="cpu")


def test_help_names_every_picture_and_needs_no_torch(capsys) -> None:
    assert main([]) == 0
    said = capsys.readouterr().out
    for name in ("curves", "confusion", "samples", "attention", "errors", "schedule"):
        assert f"\n  {name} " in said
        code = (
            "import sys, compact_vit.plot as plot\n"
            f"try: plot.main(['{name}', '--help'])\n"
            "except SystemExit as done: assert done.code == 0\n"
            "sys.exit(bool({'torch', 'matplotlib'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"usage: compact-vit plot {name}")


def test_runs_as_a_module(tmp_path) -> None:
    output = str(tmp_path / "s.png")
    command = [sys.executable, "-m", "compact_vit.plot", "schedule", "--output", output]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"schedule: {output}\n", "")
