"""The whole recipe beside the published code's: who does what, in turns, and what is reckoned."""

from __future__ import annotations

import os
import re
import signal

import pytest
import torch

from compact_vit.data import DataSplits, Pictures
from compact_vit.train.config import TrainConfig
from compact_vit.train.machine import choose_precision

#: what is chosen on this machine
AUTO, _ = choose_precision("auto", torch.device("cpu"))

SMALL = ["--model", "cct_2_3x2", "--rounds", "2", "--threads", "1", "--device", "cpu"]


@pytest.fixture
def recipe(script):
    return script("bench_recipe")


@pytest.fixture
def splits() -> DataSplits:
    """Sixteen pictures of 32 pixels to train, eight others to test, of two classes."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (24, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.arange(24) % 2
    parts = Pictures(images[:16], labels[:16]), Pictures(images[16:], labels[16:])
    return DataSplits(*parts, None, ("a", "b"), (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


@pytest.fixture
def config() -> TrainConfig:
    return TrainConfig(
        dataset="folder", data_dir=".", recipe="published-200", model="cct_2_3x2", batch_size=6
    )


def test_two_of_each_in_turns(recipe, capsys, picture_folder, checkout) -> None:
    words = [*SMALL, "--data-dir", str(picture_folder), "--reference", str(checkout)]
    assert recipe.main([*words, "--workers", "0", "--of", "60"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert captured.err == ""
    assert lines[2] == (
        "cct_2_3x2, published-200, batch 128, an epoch: 36 pictures to train, 12 to evaluate"
    )
    assert lines[3] == "the published code: fp32, eager, 0 workers"
    assert lines[4] == f"this library: {AUTO}, eager"
    rows = [line.split() for line in lines if re.search(r"\dx$", line)]  # of both tables
    assert [(row[0], row[-2]) for row in rows] == [("compact_vit", "2"), ("published", "2")] * 2
    assert lines[5].startswith("the recipe's attention dropout of 0.1 is left out: on a CPU")
    seconds = float(next(row[1] for row in rows if row[0] == "compact_vit"))
    minutes = re.fullmatch(
        r"compact_vit: 60 epochs take ([\d.]+) min, reckoned from the median of 2", lines[-3]
    )
    assert float(minutes.group(1)) == pytest.approx(seconds, abs=0.011)  # 60 epochs, 60 seconds
    assert lines[-2].startswith("published code: 60 epochs take ")
    assert lines[-1].startswith("compact_vit: 2 of 3 epochs took ")


def test_all_epochs_are_told_as_measured(recipe, capsys, picture_folder) -> None:
    words = [*SMALL, "--data-dir", str(picture_folder), "--epochs", "4"]
    assert recipe.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.split() == ["published", "code", "not", "given"] for line in lines) == 2
    told = r"compact_vit: 3 of 4 epochs took [\d.]+ min, measured; accuracy [\d.]+%"
    assert re.fullmatch(told, lines[-1])


def test_stopped_it_tells_what_is_measured_and_goes_on(
    recipe, capsys, picture_folder, tmp_path, monkeypatch, terminated_in
) -> None:
    """Terminated in the fourth of five epochs, twice: a step each, of which the last is saved."""
    words = [*SMALL, "--data-dir", str(picture_folder), "--epochs", "5"]
    kept = [*words, "--output", str(tmp_path / "kept")]
    for given, way_out in ((words, ""), (kept, "; the same command goes on")):
        with monkeypatch.context() as patch:
            terminated_in(patch, 4)
            assert recipe.main(given) == 143
        captured = capsys.readouterr()
        assert captured.err == f"stopped: 2 of 5 epochs are measured{way_out}\n"
        lines = captured.out.splitlines()
        assert lines[-1].endswith("reckoned from the median of 2")
        assert lines[4] == f"this library: asked for {AUTO}, eager; stopped before it could say"
    assert recipe.main([*kept, "--model", "cct_4_3x2"]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert "holds a run of another configuration: give the options" in captured.err
    moved = picture_folder.rename(tmp_path / "moved")
    kept[kept.index("--data-dir") + 1] = str(moved)
    for _ in range(2):  # the end of the fourth epoch is no epoch; then nothing is left to train
        assert recipe.main(kept) == 0
        captured = capsys.readouterr()
        told = r"compact_vit: 3 of 5 epochs took [\d.]+ min, measured; accuracy [\d.]+%"
        assert re.fullmatch(told, captured.out.splitlines()[-1])
    rows = (tmp_path / "kept" / "run" / "metrics.jsonl").read_text()
    assert rows.count("\n") == 5
    first = captured.out.splitlines()[4]
    assert first == f"this library: {AUTO}, eager"


def test_terminated_before_an_epoch_is_measured(
    recipe, capsys, picture_folder, monkeypatch
) -> None:
    from compact_vit.train import loop

    pick = loop.pick_device

    def picked(name: str) -> torch.device:
        os.kill(os.getpid(), signal.SIGTERM)  # while the run is built
        return pick(name)

    monkeypatch.setattr(loop, "pick_device", picked)
    assert recipe.main([*SMALL, "--data-dir", str(picture_folder)]) == 143
    captured = capsys.readouterr()
    assert captured.err == "stopped: 0 of 3 epochs are measured\n"
    assert re.search(r"compact_vit +not measured", captured.out)


def test_the_heading_is_what_ran(recipe, capsys, picture_folder, monkeypatch) -> None:
    def fails(x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", lambda model, **options: fails)
    monkeypatch.setattr(
        "compact_vit.train.choices.choose_compile", lambda *given, **named: (True, "")
    )
    words = [*SMALL, "--data-dir", str(picture_folder), "--compile", "on", "--rounds", "1"]
    assert recipe.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[4] == f"this library: {AUTO}, eager"
    assert lines[6] == "not compiled: torch.compile fails here: no compiler"


def test_the_turns(recipe, monkeypatch) -> None:
    """Epochs of 3, 1, 1, 2 and 2 s here, of 5, 4 and 4 s there, by a clock that only they move."""
    now, heard = [0.0], []

    def train(config, *, output, quiet, on_epoch):
        now[0] += 7  # building
        for seconds in (3, 1, 1, 2, 2):
            now[0] += seconds
            heard.append("here")
            on_epoch({})

        class Result:
            summary = {"final": {"accuracy": 12.5}}  # noqa: RUF012

        output.mkdir()
        return Result

    theirs = iter((5.0, 4.0, 4.0))

    def peer() -> float:
        heard.append("there")
        seconds = next(theirs)
        now[0] += seconds
        return seconds

    monkeypatch.setattr(recipe.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr("compact_vit.train.train", train)
    turns = recipe.in_turns(TrainConfig(dataset="digits"), 2, peer)
    assert turns == ([1, 1, 2, 2], [4, 4], {"final": {"accuracy": 12.5}}, 0)
    assert heard == ["here", "there"] * 3 + ["here"] * 2
    assert recipe.reckoned([1.0, 3.0, 1.5], 200).startswith("200 epochs take 5.00 min, reckoned")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--epochs", "2"], "--epochs must be above --rounds (2), got 2"),
        (["--workers", "-1"], "wanted a whole number of at least 0, got '-1'"),
        (["--reference", "nowhere"], "must be a checkout with src/__init__.py"),
        (["--data-dir", "nowhere"], "data folder nowhere does not exist"),
    ],
)
def test_bad_input(recipe, capsys, picture_folder, words, said) -> None:
    try:
        status = recipe.main([*SMALL, "--data-dir", str(picture_folder), *words])
    except SystemExit as done:
        status = done.code
    captured = capsys.readouterr()
    assert (status, captured.out) == (2, "")
    assert said in captured.err
    assert captured.err.count("\n") == 1


# --- the published code's epoch


def test_workers_give_bytes(script, config, splits) -> None:
    training, evaluation = script("_published").loaders(config, splits, 0)
    assert [len(labels) for _, labels in training] == [6, 6]  # what is left over is left out
    batches = list(evaluation)
    assert [len(labels) for _, labels in batches] == [6, 2]
    images = torch.cat([images for images, _ in batches])
    assert torch.equal(images, splits.test.images)  # unchanged, in order
    assert torch.equal(torch.cat([labels for _, labels in batches]), splits.test.labels)
    names = [type(t).__name__ for t in training.dataset.transform.transforms]
    assert names == ["RandomCrop", "RandomHorizontalFlip", "AutoAugment", "PILToTensor"]
    assert training.dataset.transform.transforms[2].policy.value == "cifar10"


def test_an_epoch_trains_evaluates_and_saves(script, config, splits, checkout, monkeypatch) -> None:
    published = script("_published")
    built, seen, saved = [], [], []
    build = published.published

    def remembered(own, reference):
        built.append(build(own, reference))
        built[0].register_forward_pre_hook(
            lambda module, given: seen.append((module.training, given[0]))
        )
        return built[0]

    monkeypatch.setattr(published, "published", remembered)
    monkeypatch.setattr(published.torch, "save", lambda content, file: saved.append(content))
    epoch = published.published_epoch(config, splits, checkout, 0, torch.device("cpu"))
    before = [p.clone() for p in built[0].parameters()]
    assert epoch() > 0
    assert [(training, len(x)) for training, x in seen] == [
        *((True, 6), (True, 6)), *((False, 6), (False, 2)),
    ]  # fmt: skip
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (splits.mean, splits.std))
    shown = torch.cat([x for training, x in seen if not training])
    wanted = (splits.test.images / 255 - mean) / std
    torch.testing.assert_close(shown, wanted, rtol=0, atol=1e-5)
    assert all(not torch.equal(a, b) for a, b in zip(before, built[0].parameters(), strict=True))
    assert saved[0].keys() == {"model", "optimizer"}
