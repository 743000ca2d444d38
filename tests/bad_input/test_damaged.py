"""Damaged, missing or foreign runs, checkpoints, pictures and archives: one line each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from compact_vit.cli import main
from compact_vit.train.checkpoint import save_checkpoint
from compact_vit.train.run import RunFolder

PICTURES = "train --dataset folder --data-dir pictures"


def rewritten(name: str, change: Callable[[dict], dict]) -> Callable[[Path], None]:
    def damage(here: Path) -> None:
        path = here / "run" / name
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return damage


def config_with(**values: object) -> Callable[[Path], None]:
    return rewritten("config.json", lambda config: {**config, **values})


def overwritten(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda here: (here / name).write_bytes(content) and None


def checkpoint_with(**values: object) -> Callable[[Path], None]:
    def damage(here: Path) -> None:
        for name in ("last.pt", "best.pt"):
            content = torch.load(here / "run" / name, weights_only=True)
            save_checkpoint(here / "run" / name, content | values)

    return damage


def removed(name: str) -> Callable[[Path], None]:
    def damage(here: Path) -> None:
        path = here / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def truncated(here: Path) -> None:
    for name in ("last.pt", "best.pt"):
        path = here / "run" / name
        path.write_bytes(path.read_bytes()[:5000])


def one_class(here: Path) -> None:
    shutil.rmtree(here / "pictures/train/dogs")


def emptied_class(here: Path) -> None:
    for path in (here / "pictures/train/dogs").iterdir():
        path.unlink()


def misspelt_class(here: Path) -> None:
    (here / "pictures/test/dogs").rename(here / "pictures/test/dosg")


DAMAGED = [
    ("run/config.json", overwritten("run/config.json", b"{"), "config.json' is not JSON"),
    ("no text", overwritten("run/config.json", b"\xff\xfe"), "config.json' is not JSON"),
    ("a list", overwritten("run/config.json", b"[1, 2]"), "must hold an object, got [1, 2]"),
    ("brackets without end", overwritten("run/config.json", b"[" * 100_000), "is not JSON (max"),
    ("digits without end", overwritten("run/config.json", b'{"lr": ' + b"9" * 5000 + b"}"),
     "config.json' is not JSON (Exceeds the limit"),
    ("nothing", overwritten("run/config.json", b""), "put a copy in its place, or train again"),
    ("null", overwritten("run/config.json", b"null"), "must hold an object, got None: put a copy"),
    ("too many epochs", config_with(epochs=10**400), "epochs must be at most 1,000,000, got 1000"),
    ("too much padding", config_with(crop_padding=17), "crop_padding must be at most the pict"),
    ("unknown field", config_with(epoch=3), "unknown training option 'epoch': did you mean"),
    ("no data set", config_with(dataset=None), "dataset must be a name, got None"),
    ("text for a number", config_with(lr="fast"), "lr must be a number above 0, got 'fast'"),
    ("list for a name", config_with(model=["cvt_2_8"]), "model must be a name, got ['cvt_2_8']"),
    ("a huge number", config_with(lr=10**400), "lr must be a number above 0, got 1000"),
    ("null for a name", config_with(device=None), "device must be a name, got None"),
    ("object for a policy", config_with(auto_augment={}), "unknown auto_augment '{}'"),
    ("list for a precision", config_with(precision=["fp32"]), "unknown precision"),
    ("list for a size", config_with(img_size=[16]), "img_size must be"),
    ("text for a size", config_with(img_size="16"), "img_size must be"),
    ("no checkpoint", lambda here: [removed(f"run/{n}.pt")(here) for n in ("last", "best")],
     "no checkpoint at 'run/last.pt'"),
    ("truncated", truncated, "is damaged or not a checkpoint: train again"),
    ("no checkpoint but text", lambda here: [
        overwritten(f"run/{n}.pt", b"hello\n")(here) for n in ("last", "best")
    ], "is damaged or not a checkpoint"),
    ("of another version", checkpoint_with(format=0), "not a checkpoint of this version"),
    ("wrong kinds of values", checkpoint_with(classes=3), "is not a checkpoint of"),
    ("no weights", checkpoint_with(weights={}, training={}), "is not a checkpoint of"),
]  # fmt: skip


@pytest.mark.parametrize("words", ["train --resume run", "evaluate run", "predict run a.png"])
@pytest.mark.parametrize(
    ("damage", "said"), [row[1:] for row in DAMAGED], ids=[row[0] for row in DAMAGED]
)
def test_damaged_runs(place, refusal, words, damage, said) -> None:
    damage(place)
    assert said in refusal(words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train --resume run", "model was 'cvt_2_8' and is 'cct_4_3x2'"),
        ("evaluate run", "is not a checkpoint of cct_4_3x2"),
        ("predict run a.png", "is not a checkpoint of cct_4_3x2"),
    ],
)
def test_another_model(place, refusal, words, said) -> None:
    config_with(model="cct_4_3x2")(place)
    assert said in refusal(words)


def test_a_checkpoint_of_other_classes(place, refusal) -> None:
    checkpoint_with(classes=["a", "b"])(place)
    for words in ("evaluate run", "predict run a.png"):
        assert "is not a checkpoint of cvt_2_8: size mismatch for head" in refusal(words)
    said = refusal("train --resume run")
    assert "the data set has changed since 'run' was trained: it had 2 classes and " in said
    checkpoint_with(classes=list("abcdefghij"))(place)
    assert "the data set has changed" in refusal("train --resume run")
    assert "classes are not the model's" in refusal("evaluate run")


@pytest.mark.parametrize(
    "values",
    [
        {"mean": "abc"},
        {"mean": [float("nan")]},
        {"std": [0.0]},
        {"mean": [0.5, 0.5, 0.5]},
        {"mean": [10**400]},
        {"classes": [["a"]] * 10},
        {"weights": {"head.weight": 3}},
        {"weights": 3},
    ],
    ids=str,
)
def test_checkpoints_that_hold_something_else(place, refusal, values) -> None:
    checkpoint_with(**values)(place)
    for words in ("evaluate run", "predict run a.png"):
        assert "is not a checkpoint of cvt_2_8: " in refusal(words)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "run/summary.json' is not JSON"),
        (b"{", "run/summary.json' is not JSON"),
        (b"[1, 2]", "run/summary.json' must hold an object, got [1, 2]"),
        (b"{}", "run/summary.json' is not a run's summary (KeyError 'final')"),
        (b'{"final": 3}', "run/summary.json' is not a run's summary"),
        (b'{"final": {"accuracy": "good"}}', "run/summary.json' is not a run's summary"),
    ],
)
def test_a_damaged_summary_can_be_written_anew(place, refusal, content, said) -> None:
    whole = json.loads((place / "run" / "summary.json").read_text())
    overwritten("run/summary.json", content)(place)
    message = refusal("train --resume run --quiet")
    assert said in message
    assert "delete it, and --resume writes it anew" in message
    (place / "run" / "summary.json").unlink()
    assert main(["train", "--resume", "run", "--quiet"]) == 0
    anew = json.loads((place / "run" / "summary.json").read_text())
    assert anew["final"] == whole["final"]


def test_a_line_that_is_just_being_written(place) -> None:
    """A file grows page by page: who reads meanwhile may see the beginning of a line."""
    folder = RunFolder(Path("run"))
    whole = folder.history()
    with (place / "run" / "metrics.jsonl").open("a") as log:
        log.write(json.dumps(whole[0])[:50])
    assert folder.history() == whole


@pytest.mark.parametrize("content", [b"\xff\n\xfe\n", b"[" * 100_000, b"{}\n{}\n", b"1\n", b"\n"])
def test_a_damaged_log(place, refusal, content) -> None:
    overwritten("run/metrics.jsonl", content)(place)
    assert "metrics.jsonl' does not hold epochs 1 to 1" in refusal("train --resume run")
    if not content.startswith(b"[["):  # tests/faults/test_reported.py
        assert "metrics.jsonl' is damaged: it must hold a line" in refusal("plot curves run")
    for name in ("last.pt", "last.previous.pt", "summary.json"):
        (place / "run" / name).unlink(missing_ok=True)
    if content.count(b"\n") > 1:
        assert "no checkpoint at 'run/last.pt'" in refusal("train --resume run")


@pytest.mark.parametrize("epoch", ["last", None, -1, 1.5, [1]])
def test_checkpoints_of_no_epoch(place, refusal, epoch) -> None:
    checkpoint_with(epoch=epoch)(place)
    for words in ("evaluate run", "predict run a.png", "train --resume run"):
        assert "is damaged: its epoch must be a whole number, got" in refusal(words)


def test_resume_of_a_run_whose_log_is_gone(place, refusal) -> None:
    (place / "run" / "metrics.jsonl").unlink()
    assert "does not hold epochs 1 to 1" in refusal("train --resume run")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (one_class, "pictures/train: wanted a folder for each of two or more classes, found cats"),
        (emptied_class, "class folder pictures/train/dogs: wanted pictures (jpg"),
        (misspelt_class, "'dosg' is not a class of train/: did you mean 'dogs'?"),
        (removed("pictures/test"), "wanted test/<class>/ or val/<class>/ in it, found train/"),
        (
            overwritten("pictures/train/cats/0.png", b"hello"),
            "cannot read the picture pictures/train",
        ),
        (
            overwritten("pictures/test/cats/0.png", b"\x89PNG\r\n"),
            "cannot read the picture pictures/",
        ),
    ],
)
def test_damaged_pictures(place, refusal, damage, said) -> None:
    damage(place)
    assert said in refusal(PICTURES)


def test_no_network(tiny_cifar100, place, refusal) -> None:
    (tiny_cifar100 / "cifar-100-python.tar.gz").unlink()
    said = refusal(f"train --dataset cifar100 --data-dir {tiny_cifar100}")
    assert "CIFAR-100: wanted cifar-100-python.tar.gz" in said
    assert f"put it into {tiny_cifar100}" in said
    assert list(tiny_cifar100.iterdir()) == []


def test_a_damaged_archive(tiny_cifar10, place, refusal) -> None:
    archive = tiny_cifar10 / "cifar-10-python.tar.gz"
    archive.write_bytes(archive.read_bytes()[:900])
    said = refusal(f"train --dataset cifar10 --data-dir {tiny_cifar10}")
    assert "is damaged or another file: its MD5 is" in said
    assert archive.stat().st_size == 900


def test_a_run_on_pictures_that_are_gone(place, refusal) -> None:
    words = (
        f"{PICTURES} --model cvt_2_8 --img-size 16 --epochs 1 --device cpu --output seen --quiet"
    )
    assert main(words.split()) == 0
    shutil.rmtree(place / "pictures/train/dogs")
    assert "wanted a folder for each" in refusal("evaluate seen")
    assert "wanted a folder for each" in refusal("train --resume seen")
    shutil.rmtree(place / "pictures")
    assert "pictures does not exist" in refusal("evaluate seen")
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (place / "moved" / part / name).mkdir(parents=True)
            Image.new("RGB", (16, 16)).save(place / "moved" / part / name / "0.png")
    said = refusal("evaluate seen --data-dir moved")
    wanted = "of the model's 2 it lacks cats, dogs, and of its 2 the model does not know cat, dog: "
    assert wanted in said
