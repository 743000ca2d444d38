"""Faults that were found by fuzzing, and mended."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from compact_vit.data.augment import Mix
from compact_vit.errors import UsageError
from compact_vit.strict_yaml import assignment
from compact_vit.train import loop, resume, train
from compact_vit.train.checkpoint import save_checkpoint
from compact_vit.train.cli import build_parser


def rewritten(name: str, **values: Any) -> None:
    path = Path("run", name)
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("content", [b"[" * 200_000, b'{"a":' * 200_000])
def test_curves_of_a_log_without_end(place, answer, content) -> None:
    """``train.run.RunFolder.history`` catches no RecursionError."""
    Path("run/metrics.jsonl").write_bytes(content + b"\n")
    assert "is damaged" in answer("plot", "curves", "run").err


def test_curves_of_a_figure_that_no_float_holds(place, answer) -> None:
    """``train.run.RunFolder.history`` catches no OverflowError."""
    rows = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    rows[0]["train_loss"] = 10**400
    Path("run/metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "is damaged" in answer("plot", "curves", "run").err


@pytest.mark.parametrize(
    "words",
    [
        f"score --accuracy 75 --parameters {'9' * 400}",
        f"score --accuracy 75 --parameters 1M --n {'9' * 400}",
        f"suggest --max-parameters 1M --num-classes {'9' * 400}",
        f"suggest --max-parameters 1M --in-chans {'9' * 400}",
    ],
)
def test_numbers_that_no_float_holds(place, answer, words) -> None:
    """``scoring._finite`` and ``suggest.fit._sized``: OverflowError."""
    assert answer(*words.split()).status == 2


def test_a_summary_of_so_many_pictures(place, answer) -> None:
    """``score.runs``: OverflowError in ``scoring._finite``."""
    final = json.loads(Path("run/summary.json").read_text())["final"]
    rewritten("summary.json", final=final | {"n": 10**400})
    assert answer("score", "--runs", "run").status == 2


@pytest.mark.parametrize("count", [None, "many"])
def test_a_checkpoint_of_no_number_of_pictures(place, answer, count) -> None:
    """``train.loop._Run.take`` formats what is no number: TypeError, ValueError."""
    content = torch.load("run/last.pt", weights_only=True)
    save_checkpoint(Path("run/last.pt"), content | {"pictures": count})
    assert answer("train", "--resume", "run", "--quiet").status == 2


@pytest.mark.parametrize(
    "values",
    [{"order": None}, {"best": {}}, {"best": 3}, {"schedule": None}, {"optimizer": None}],
    ids=str,
)
def test_a_checkpoint_with_a_forged_state(place, answer, values) -> None:
    """``train.loop._Run.take`` and ``train.ending`` trust what a forger may have sealed.

    To be looked at before it is taken: made as the state of the run that is about to take it.
    """
    content = torch.load("run/last.pt", weights_only=True)
    save_checkpoint(Path("run/last.pt"), content | {"training": content["training"] | values})
    assert answer("train", "--resume", "run", "--quiet").status == 2


def test_a_title_that_is_no_text(place, answer) -> None:
    """``plots.style``: matplotlib's TypeError for a lone surrogate, as of a folder's odd name."""
    rewritten("config.json", data_dir="\ud800")
    assert answer("plot", "schedule", "run", "--output", "s.png").status in (0, 2)


def test_a_folder_in_the_home_folder(few, pictures, tmp_path, monkeypatch) -> None:
    """``train.loop.train`` keeps ``--data-dir=~/pictures`` as a folder ``~`` of this folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(pictures, tmp_path / "pictures")
    config = few(data_dir="~/pictures", epochs=1)
    result = train(config, output=tmp_path / "run", quiet=True)
    (tmp_path / "run" / "summary.json").unlink()
    assert resume(tmp_path / "run", quiet=True).summary["final"] == result.summary["final"]


def test_paths_in_the_home_folder_that_no_shell_has_expanded(
    place, answer, few, pictures, monkeypatch
) -> None:
    """``page`` and ``evaluate`` read ``'~/run'`` and wrote beside it, in a folder named ``~``."""
    monkeypatch.setenv("HOME", str(place))
    assert answer("page", "~/run").status == 0
    assert answer("evaluate", "~/run", "--data-dir=~/elsewhere").status == 2
    shutil.copytree(pictures, place / "elsewhere")
    assert answer("evaluate", "~/run", "--data-dir=~/elsewhere").status == 0
    assert not Path("~").exists()
    assert {"report.html", "confusion-test.png"} <= {path.name for path in Path("run").iterdir()}
    begun = ("--init-from=~/run", "--teacher=~/run", "--output=~/on", "--epochs", "1", "--quiet")
    base = few(init_from="~/run", teacher="~/run")
    assert (base.init_from, base.teacher) == (str(place / "run"),) * 2
    words = ("--dataset=folder", "--data-dir=~/elsewhere", "--model=cvt_2_8", "--img-size=8")
    assert answer("train", *begun, *words, "--device=cpu", "--batch-size=4").status == 0
    assert (place / "on" / "summary.json").is_file()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("True", True),
        ("1e-3", 0.001),
        ("64,32", [64, 32]),
        ("[64,32]", [64, 32]),
        ("64,", [64]),
        ("projection", "projection"),
        ("a=b", "a=b"),
    ],
)
def test_a_value_is_taken_alike_wherever_it_is_given(text, value) -> None:
    """``train --model-options`` read JSON, ``experiment --set`` YAML: ``True`` was no truth."""
    assert build_parser().parse_args(["--model-options", f"x={text}"]).model_options == {"x": value}
    assert assignment("X=1")(f"x={text}") == ("x", value)


@pytest.mark.parametrize("text", ["", "x", "=1", "x=", "x=[1", "x={a: 1, a: 2}"])
def test_what_is_no_assignment_is_said_in_one_line(answer, text) -> None:
    said = answer("train", "--model-options", text)
    assert said.status == 2
    assert "--model-options" in said.err
    assert "invalid" not in said.err  # argparse's word for what it cannot explain


def test_the_last_picture_is_drawn_after_a_kill(few, tmp_path, monkeypatch) -> None:
    """``train.loop._finish`` writes the summary, which says that all is done, before the rest."""

    def killed(*args: object) -> None:
        raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(loop, "write_curves", killed)
        with pytest.raises(InterruptedError):
            train(few(), output=tmp_path / "run", quiet=True)
    resume(tmp_path / "run", quiet=True)
    assert (tmp_path / "run" / "curves.png").exists()


def test_an_alpha_that_divides_to_infinity() -> None:
    """``augment.mixing.draw_beta``: infinity less infinity below about 1e-305."""
    with pytest.raises(UsageError, match="mixup_alpha must be 0 or at least 1e-06, got 5e-324"):
        Mix(2, mixup_alpha=5e-324)
    draw = torch.Generator().manual_seed(0)
    x, _ = Mix(2, mixup_alpha=1e-6)(torch.ones(4, 1, 2, 2), torch.zeros(4).long(), draw)
    assert x.isfinite().all()


@pytest.mark.parametrize(
    "words", ["plot curves run --output", "evaluate run --device cpu --output", "report cct_2_3x2 "
              "cvt_2_4 --plot", "score --published cifar10 --output"]
)  # fmt: skip
def test_a_full_disk_names_the_file(place, answer, monkeypatch, words) -> None:
    """``plots.save_figure``, ``tables.write_text``: what is not written is not named."""

    def full(*args: object, **options: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("compact_vit.files.open", full, raising=False)
    name = "out.txt" if words.startswith("score") else "out.png"
    assert name in answer(*words.split(), name).err
