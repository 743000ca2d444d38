"""``benchmarks/published_script.py``: the published script as it is, on our pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

SCRIPT = """
import argparse

import torch
import torchvision.datasets as datasets
import torchvision.transforms as transforms

import src as models
from utils.said import line

parser = argparse.ArgumentParser()
parser.add_argument("data")
for name in ("dataset", "model", "checkpoint-path"):
    parser.add_argument(f"--{name}")
for name in ("conv-size", "conv-layers", "epochs", "warmup", "workers"):
    parser.add_argument(f"--{name}", type=int)
parser.add_argument("--no-cuda", action="store_true")
args = parser.parse_args()
if args.warmup == 7:
    raise RuntimeError("no such\\nwarm-up")
kinds = [datasets.__dict__[args.dataset.upper()](root=args.data, train=train, download=train,
                                                 transform=transforms.ToTensor())
         for train in (True, False)]
for number, pictures in enumerate(kinds):
    image, label = pictures[0]
    print(len(pictures), tuple(image.shape), float(image.max()) <= 1, label)
print(models.NAME, args.model, args.conv_layers, args.conv_size, args.workers, args.no_cuda)
print("drawn", torch.rand(()).item())
for epoch in range(args.epochs - (args.warmup == 3)):
    print(line(epoch + 1, 40 + 1.25 * epoch))
torch.save({}, args.checkpoint_path)
"""

SAID = r"""
def line(epoch, accuracy):
    return f"[Epoch {epoch}] \t \t Top-1 {accuracy:6.2f} \t \t Time: 0.10"
"""


@pytest.fixture
def reference(tmp_path) -> Path:
    """A checkout whose script only says what it was given."""
    for folder in ("src", "examples/utils"):
        (tmp_path / "reference" / folder).mkdir(parents=True)
    (tmp_path / "reference/src/__init__.py").write_text("NAME = 'theirs'\n")
    (tmp_path / "reference/examples/utils/__init__.py").touch()
    (tmp_path / "reference/examples/utils/said.py").write_text(SAID)
    (tmp_path / "reference/examples/main.py").write_text(SCRIPT)
    return tmp_path / "reference"


@pytest.fixture
def asked(reference, picture_folder, tmp_path) -> list[str]:
    words = f"--reference {reference} --data-dir {picture_folder} --epochs 3 --device cpu"
    return [*words.split(), "--threads", "1", "--output", str(tmp_path / "out")]


def test_what_the_script_is_given_and_says(script, asked, tmp_path, capsys) -> None:
    module = script("published_script")
    assert module.main([*asked, "--seeds", "0", "1", "--workers", "0"]) == 0
    assert capsys.readouterr().out == "cct_2_3x2: 42.50% ± 0.00 after 3 epochs (42.50, 42.50)\n"
    drawn = []
    for seed in (0, 1):
        folder = tmp_path / "out" / f"cct_2_3x2-seed{seed}"
        lines = (folder / "log.txt").read_text().splitlines()
        assert lines[:3] == [
            "36 (3, 32, 32) True 0", "12 (3, 32, 32) True 0", "theirs cct_2 2 3 0 True"
        ]  # fmt: skip
        drawn.append(lines[3])
        summary = json.loads((folder / "summary.json").read_text())
        assert (summary["accuracy"], summary["accuracies"]) == (42.5, [40.0, 41.25, 42.5])
        assert (summary["seed"], summary["epochs"], summary["n"]) == (seed, 3, 12)
        assert summary["words"][-6:] == ["--epochs", "3", "--warmup", "5", "--workers", "0"]
        assert (folder / "weights.pth").exists()
    assert drawn[0] != drawn[1]
    before = (tmp_path / "out" / "cct_2_3x2-seed0" / "log.txt").stat().st_mtime_ns
    assert module.main([*asked, "--workers", "0"]) == 0  # what is there is not made again
    assert (tmp_path / "out" / "cct_2_3x2-seed0" / "log.txt").stat().st_mtime_ns == before
    assert module.main([*asked, "--workers", "0", "--warmup", "0"]) == 2
    assert "is of another run: delete it" in capsys.readouterr().err
    for damaged, said in (("{", "summary.json' is not JSON"), ("[]", "must hold an object")):
        (tmp_path / "out" / "cct_2_3x2-seed0" / "summary.json").write_text(damaged)
        assert module.main([*asked, "--workers", "0"]) == 2
        assert said in capsys.readouterr().err


def test_other_pictures_are_another_run(script, asked, picture_folder, tmp_path, capsys) -> None:
    """Wherever they lie, and whatever they are called."""
    module = script("published_script")
    asked += ["--epochs", "1", "--workers", "0"]
    assert module.main(asked) == 0
    summary = (tmp_path / "out" / "cct_2_3x2-seed0" / "summary.json").read_text()
    assert str(tmp_path) not in summary
    moved = picture_folder.rename(tmp_path / "moved")
    asked[asked.index(str(picture_folder))] = str(moved)
    capsys.readouterr()
    assert module.main(asked) == 0
    shutil.copy(moved / "test/blue/00.png", moved / "train/blue/00.png")
    assert module.main(asked) == 2
    assert "is of another run: delete it" in capsys.readouterr().err
    place = asked.index("--data-dir")
    del asked[place : place + 2]
    assert module.main([*asked, "--dataset", "digits"]) == 2
    assert "is of another run: delete it" in capsys.readouterr().err


def test_the_flags_of_each_family(script) -> None:
    from compact_vit.models.config import config_from_name

    words = script("published_script").model_words
    assert words(config_from_name("cct_6_3x1")) == [
        "--model", "cct_6", "--conv-size", "3", "--conv-layers", "1"
    ]  # fmt: skip
    assert words(config_from_name("cvt_7_8")) == ["--model", "cvt_7", "--conv-size", "8"]
    assert words(config_from_name("vit_lite_6_4")) == ["--model", "vit_6", "--conv-size", "4"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--rows cct2_2_3x2", "--rows must be models that the published code has, got cct2_2_3x2"),
        ("--rows cct_2_3z2", "unknown model 'cct_2_3z2'"),
        ("--reference nowhere", "--reference must be a checkout with examples/main.py"),
        ("--device abacus", "device must be one of this machine's, got 'abacus'"),
        ("--warmup 7", "the published script failed: no such warm-up"),
        ("--warmup 3", "log.txt' tells of 2 epochs, wanted 3"),
    ],
)
def test_what_is_refused(script, asked, more, message, tmp_path, capsys) -> None:
    assert script("published_script").main([*asked, *more.split()]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert not list(tmp_path.glob("out/*/summary.json"))


def test_the_table_has_a_column_for_it(script, picture_folder, tmp_path, capsys) -> None:
    done = [
        (1, 12, 30.0),
        (1, 12, 40.0),
        (2, 12, 90.0),
        (1, 10_000, 80.0),
    ]  # of other lengths, sets
    for seed, (epochs, n, accuracy) in enumerate(done):
        folder = tmp_path / "theirs" / f"cct_2_3x2-seed{seed}"
        folder.mkdir(parents=True)
        said = {"model": "cct_2_3x2", "epochs": epochs, "accuracy": accuracy, "words": [], "n": n}
        (folder / "summary.json").write_text(json.dumps(said))
    for name, content in (("ours", '{"model": "cct_2_3x2", "final": {}}'), ("none", "{}")):
        (tmp_path / "theirs" / name).mkdir()  # which is no run of the script
        (tmp_path / "theirs" / name / "summary.json").write_text(content)
    words = f"--dataset folder --data-dir {picture_folder} --epochs 1 --batch-size 12 --cores 1"
    words += f" --img-size 16 --device cpu --quiet --output {tmp_path / 'out'}"
    words += " --rows cct_2_3x2 cct_2_3x2:quick --script-runs"
    accuracy = script("accuracy").main
    assert accuracy([*words.split(), str(tmp_path / "theirs")]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    rows = [dict(zip(lines[0].split(" | "), line.split(" | "), strict=True)) for line in lines[2:]]
    column = "published code's script, same pictures"
    assert [row[column].strip() for row in rows] == ["35.00", ""]
    assert accuracy([*words.split(), str(tmp_path / "nowhere")]) == 2
    assert "--script-runs must hold runs of published_script.py" in capsys.readouterr().err
