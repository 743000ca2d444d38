"""Whatever is asked wrongly is refused in one line that names the way out, and writes nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from compact_vit.cli import main
from compact_vit.train import train
from compact_vit.train.config import TrainConfig


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A finished run on the digits."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(TrainConfig(model="cvt_2_8", epochs=1, device="cpu"), output=folder, quiet=True)
    return folder


@pytest.fixture
def place(tmp_path, finished, monkeypatch) -> Path:
    """The current folder: ``run``, ``pictures`` with two classes, ``a.png`` and ``note.txt``."""
    here = tmp_path / "here"
    shutil.copytree(finished, here / "run")
    for part in ("train", "test"):
        for name, colour in (("cats", (200, 0, 0)), ("dogs", (0, 0, 200))):
            (here / "pictures" / part / name).mkdir(parents=True)
            for i in range(3):
                Image.new("RGB", (20, 16), colour).save(here / f"pictures/{part}/{name}/{i}.png")
    Image.new("L", (16, 16), 90).save(here / "a.png")
    (here / "note.txt").write_text("not a picture\n")
    (here / "empty").mkdir()
    monkeypatch.chdir(here)
    return here


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def refusal(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command fails with; nothing else comes of it."""
    before = contents(Path())
    capsys.readouterr()
    try:
        status = main(words.split())
    except SystemExit as leaving:
        status = leaving.code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    assert captured.err.endswith("\n")
    assert "error: " in captured.err
    assert "Traceback" not in captured.err
    assert status == 2
    assert contents(Path()) == before
    return captured.err


FOLDER = "train --dataset folder --data-dir"

TABLE = [
    # the command itself
    ("trian", "unknown program 'trian': did you mean 'train'?"),
    ("zzz", "unknown program 'zzz': choose from train, evaluate, predict, report"),
    ("--versoin", "unknown argument '--versoin': did you mean '--version'?"),
    # options
    ("train --epoch 3", "unknown argument '--epoch': did you mean '--epochs'?"),
    ("train --batchsize=8", "unknown argument '--batchsize=8': did you mean '--batch-size'?"),
    ("train cifar10", "unknown argument 'cifar10': see --help"),
    ("train --epochs", "--epochs: expected one argument"),
    ("train --no-flip", "unknown argument '--no-flip': did you mean"),
    ("evaluate", "the following arguments are required: RUN"),
    ("evaluate run --spilt test", "did you mean '--split'?"),
    ("predict run", "the following arguments are required: PICTURE"),
    ("predict run a.png --topp 3", "did you mean '--top'?"),
    ("report", "the following arguments are required: NAME"),
    # names
    ("train --dataset cifar-100", "unknown data set 'cifar-100': did you mean 'cifar100'?"),
    ("train --dataset imagenet", "unknown data set 'imagenet': choose from digits, cifar10"),
    ("train --model cct_6_3y1", "unknown model 'cct_6_3y1': did you mean 'cct_6_3x1'?"),
    ("train --model resnet18", "unknown model 'resnet18'"),
    ("train --model cct_9_3x1", "its depth must be one of 2, 4, 6, 7, 8, 14"),
    ("train --recipe published200", "unknown recipe 'published200': did you mean 'published-200'?"),
    ("train --auto-augment rnad", "unknown auto_augment 'rnad': did you mean 'rand'?"),
    ("train --precision float16", "unknown precision 'float16': choose from fp32, bf16, fp16"),
    ("train --positional-embedding sin", "did you mean 'sine'?"),
    ("train --residual prenorm", "unknown residual 'prenorm': did you mean 'pre_norm'?"),
    ("train --device gpu", "device must be one of this machine's, got 'gpu'"),
    ("train --device cuda:99", "device must be one of this machine's, got 'cuda:99'"),
    ("train --device hpu", "device must be one"),
    ("train --device meta", "device must be one that computes, got 'meta'"),
    # numbers
    ("train --epochs three", "--epochs: invalid int value: 'three'"),
    ("train --epochs 2.5", "--epochs: invalid int value: '2.5'"),
    ("train --epochs 0", "epochs must be a whole number of at least 1, got 0"),
    ("train --batch-size -8", "batch_size must be a whole number of at least 1, got -8"),
    ("train --lr 0", "lr must be a number above 0, got 0.0"),
    ("train --lr nan", "lr must be a number above 0, got nan"),
    ("train --lr 1e400", "lr must be a number above 0, got inf"),
    ("train --lr 1e-9", "min_lr must be at most lr (1e-09), got 1e-05"),
    ("train --label-smoothing 1", "label_smoothing must be a number in [0, 1), got 1.0"),
    ("train --val-fraction 1.5", "val_fraction must be a number in [0, 1), got 1.5"),
    ("train --val-fraction 0.9999", "held-out fraction"),
    ("train --mix-switch 2", "mix_switch must be a probability in [0, 1], got 2.0"),
    ("train --rand-magnitude 11", "rand_magnitude must be a number in [0, 10], got 11.0"),
    ("train --img-size 16x", "wanted pixels such as 32 or 32x48, got '16x'"),
    ("train --img-size 0", "img_size must be a side or (height, width) of at least 1 pixels"),
    ("train --model vit_lite_2_16 --img-size 8", "of at least 16 pixels, got 8"),
    ("train --img-size 99999999", "out of memory: ask for smaller pictures"),
    ("train --seed -1", "seed must be a whole number of at least 0, got -1"),
    ("train --flip 0.5", "flip must be 0: Handwritten digits"),
    ("train --warmup-ratio 0.5 --cooldown-ratio 0.5", "must leave epochs between them"),
    ("train --accumulation 9 --batch-size 8", "at most batch_size (8), got 9"),
    ("report cct_2_3x2 --num-classes -4", "num_classes must be"),
    ("predict run a.png --top 0", "top must be a whole number of at least 1, got 0"),
    ("predict run a.png --top many", "--top: invalid int value: 'many'"),
    # data
    ("train --dataset folder", "data_dir must be the path of a folder"),
    ("train --data-dir pictures", "choose the data set 'folder'"),
    (f"{FOLDER} nowhere", "data folder nowhere does not exist"),
    (f"{FOLDER} note.txt", "data folder note.txt is not a folder"),
    (f"{FOLDER} pictures/train", "wanted train/<class>/ in it, found cats/, dogs/"),
    (f"{FOLDER} empty", "wanted train/<class>/ in it, found none"),
    (f"{FOLDER} pictures --val-fraction 0.1", "held-out fraction"),
    ("train --dataset cifar10 --data-dir empty --no-download", "downloading is off"),
    # where to write
    ("train --output run", "output 'run' is not empty: choose another"),
    ("train --output note.txt", "output must be a folder, got 'note.txt': 'note.txt' is a file"),
    ("train --output note.txt/run", "'note.txt' is a file"),
    ("evaluate run --output matrix.doc", "must end in .png, .pdf or .svg, got 'matrix.doc'"),
    ("evaluate run --output empty", "must end in .png, .pdf or .svg, got 'empty'"),
    # runs
    ("train --resume nowhere", "'nowhere' is not the folder of a run"),
    ("train --resume empty", "'empty' is not the folder of a run: it has no config.json"),
    ("train --resume note.txt", "'note.txt' is not the folder of a run"),
    ("train --resume run --epochs 9", "goes on as the run began: leave out --epochs"),
    ("train --resume run --output other", "leave out --output"),
    ("evaluate nowhere", "'nowhere' is not the folder of a run"),
    ("evaluate run --split tset", "unknown split 'tset': did you mean 'test'?"),
    ("evaluate run --split val", "the run held out no validation split"),
    ("evaluate run --checkpoint lats", "unknown checkpoint 'lats': did you mean 'last'?"),
    ("evaluate run --checkpoint first", "unknown checkpoint 'first': choose from last, best"),
    ("evaluate run --device tpu", "device must be one"),
    ("evaluate run --data-dir pictures", "data_dir must not be given"),
    ("predict empty a.png", "'empty' is not the folder of a run"),
    ("predict run b.png", "no picture at b.png"),
    ("predict run note.txt", "cannot read the picture note.txt"),
    ("predict run a.png note.txt", "cannot read the picture note.txt"),
    ("predict run pictures", "cannot read the picture pictures"),
    ("predict run a.png --checkpoint worst", "unknown checkpoint 'worst'"),
    ("report cct_6_3y1", "unknown model 'cct_6_3y1': did you mean 'cct_6_3x1'?"),
    ("report cct_2_3x2 --positional-embedding lernable", "did you mean 'learnable'?"),
]


@pytest.mark.parametrize(("words", "said"), TABLE)
def test_one_line_and_nothing_written(place, capsys, words, said) -> None:
    assert said in refusal(words, capsys)


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
            torch.save(content | values, here / "run" / name)

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


PICTURES = f"{FOLDER} pictures"

DAMAGED = [
    ("run/config.json", overwritten("run/config.json", b"{"), "config.json' is not JSON"),
    ("no text", overwritten("run/config.json", b"\xff\xfe"), "config.json' is not JSON"),
    ("a list", overwritten("run/config.json", b"[1, 2]"), "must hold an object, got [1, 2]"),
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
    ("another model", config_with(model="cct_4_3x2"), "is not a checkpoint of"),
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
def test_damaged_runs(place, capsys, words, damage, said) -> None:
    damage(place)
    assert said in refusal(words, capsys)


def test_a_checkpoint_of_other_classes(place, capsys) -> None:
    checkpoint_with(classes=["a", "b"])(place)
    for words in ("evaluate run", "predict run a.png"):
        assert "is not a checkpoint of cvt_2_8: size mismatch for head" in refusal(words, capsys)
    said = refusal("train --resume run", capsys)
    assert "the data set has changed since 'run' was trained: it had 2 classes and now" in said
    checkpoint_with(classes=list("abcdefghij"))(place)
    assert "the data set has changed" in refusal("train --resume run", capsys)
    assert "classes are not the model's" in refusal("evaluate run", capsys)


def test_resume_of_a_run_whose_log_is_gone(place, capsys) -> None:
    (place / "run" / "metrics.jsonl").unlink()
    assert "does not hold epochs 1 to 1" in refusal("train --resume run", capsys)


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
def test_damaged_pictures(place, capsys, damage, said) -> None:
    damage(place)
    assert said in refusal(PICTURES, capsys)


def test_no_network(tiny_cifar100, place, capsys) -> None:
    (tiny_cifar100 / "cifar-100-python.tar.gz").unlink()
    said = refusal(f"train --dataset cifar100 --data-dir {tiny_cifar100}", capsys)
    assert "CIFAR-100: wanted cifar-100-python.tar.gz" in said
    assert f"put it into {tiny_cifar100}" in said
    assert list(tiny_cifar100.iterdir()) == []


def test_a_damaged_archive(tiny_cifar10, place, capsys) -> None:
    archive = tiny_cifar10 / "cifar-10-python.tar.gz"
    archive.write_bytes(archive.read_bytes()[:900])
    said = refusal(f"train --dataset cifar10 --data-dir {tiny_cifar10}", capsys)
    assert "is damaged or another file: its MD5 is" in said
    assert archive.stat().st_size == 900


def test_a_run_on_pictures_that_are_gone(place, capsys) -> None:
    words = (
        f"{PICTURES} --model cvt_2_8 --img-size 16 --epochs 1 --device cpu --output seen --quiet"
    )
    assert main(words.split()) == 0
    shutil.rmtree(place / "pictures/train/dogs")
    assert "wanted a folder for each" in refusal("evaluate seen", capsys)
    assert "wanted a folder for each" in refusal("train --resume seen", capsys)
    shutil.rmtree(place / "pictures")
    assert "data folder pictures does not exist" in refusal("evaluate seen", capsys)
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (place / "moved" / part / name).mkdir(parents=True)
            Image.new("RGB", (16, 16)).save(place / "moved" / part / name / "0.png")
    said = refusal("evaluate seen --data-dir moved", capsys)
    assert "classes are not the model's: it was trained on 2 (cats, dogs, ...), got 2 (cat," in said


def test_what_is_fine_is_not_refused(place, capsys) -> None:
    """The place is good: what the tables damage works before."""
    assert main(["predict", "run", "a.png", "--device", "cpu"]) == 0
    assert main(["evaluate", "run", "--device", "cpu"]) == 0
    assert main(["train", "--resume", "run", "--quiet"]) == 0
    assert main(f"{PICTURES} --epochs 1 --img-size 16 --output out --quiet".split()) == 0
