"""The example written by hand trains, and its README's commands do what it says."""

from __future__ import annotations

import math
import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Generator
from torch.nn import functional

from compact_vit.data import Pictures, load_dataset
from compact_vit.errors import UsageError

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
README = (EXAMPLES / "backprop_from_scratch" / "README.md").read_text()
COMMANDS = re.findall(r"^python -m backprop_from_scratch(.*)$", README, re.MULTILINE)

sys.path.insert(0, str(EXAMPLES))
try:
    layers, optimizers, trainers, command = (
        import_module(f"backprop_from_scratch.{name}")
        for name in ("layers", "optimizers", "trainer", "__main__")
    )
finally:
    sys.path.remove(str(EXAMPLES))


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def few_digits(n: int) -> tuple[Pictures, object]:
    """The first ``n`` digits, and what makes vectors of them."""
    splits = load_dataset("digits", img_size=8)
    pictures = Pictures(splits.train.images[:n], splits.train.labels[:n])
    return pictures, lambda images: command.to_vectors(images, splits.mean, splits.std)


def trainer_of(prepare, optimizer, seed: int = 0, **options):
    model = layers.MLP((64, 32, 10), seeded(seed), dropout=0.2)
    return trainers.Trainer(model, optimizer(model.params), prepare, seeded(seed), **options)


def test_pictures_become_standardised_vectors() -> None:
    images = torch.randint(256, (5, 3, 4, 6), generator=seeded(0), dtype=torch.uint8)
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.3, 0.4)
    vectors = command.to_vectors(images, mean, std)
    assert vectors.shape == (5, 72)
    for channel in range(3):
        wanted = (images[:, channel].double() / 255 - mean[channel]) / std[channel]
        got = vectors.view(5, 3, 4, 6)[:, channel].double()
        assert torch.allclose(got, wanted, atol=1e-5)


def test_an_epoch_sees_every_picture_once_in_a_new_order() -> None:
    seen = []
    pictures = Pictures(torch.arange(50, dtype=torch.uint8).view(50, 1, 1, 1), torch.arange(50) % 3)

    def prepare(images):
        seen.append(images.flatten().tolist())
        return images.flatten(1).float() / 50

    model = layers.MLP((1, 3), seeded(0))
    optimizer = optimizers.SGD(model.params, lr=0.01)
    trainer = trainers.Trainer(model, optimizer, prepare, seeded(0), batch_size=16)
    assert trainer.train_epoch(pictures).n == 50
    assert trainer.train_epoch(pictures).n == 50
    assert [len(batch) for batch in seen] == [16, 16, 16, 2] * 2
    first, second = ([i for batch in half for i in batch] for half in (seen[:4], seen[4:]))
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second != sorted(second)


def test_scores_by_hand_and_evaluation_moves_nothing() -> None:
    pictures, prepare = few_digits(1200)  # more than one batch of the evaluation
    trainer = trainer_of(prepare, lambda params: optimizers.SGD(params, lr=0.1))
    before = [parameter.value.clone() for parameter in trainer.model.params]
    score = trainer.evaluate(pictures)
    for parameter, value in zip(trainer.model.params, before, strict=True):
        assert torch.equal(parameter.value, value)
    weight, bias, weight_out, bias_out = before
    logits = torch.relu(prepare(pictures.images) @ weight + bias) @ weight_out + bias_out
    assert score.n == 1200
    assert score.loss == pytest.approx(functional.cross_entropy(logits, pictures.labels).item())
    right = (logits.argmax(dim=1) == pictures.labels).sum().item()
    assert score.accuracy == pytest.approx(100 * right / 1200)
    assert trainer.train_epoch(pictures).loss != pytest.approx(score.loss)


@pytest.mark.parametrize(
    ("name", "lr"), [("SGD", 0.1), ("Momentum", 0.02), ("RMSProp", 0.003)], ids=lambda x: str(x)
)
def test_each_optimizer_knows_20_pictures_by_heart(name, lr) -> None:
    pictures, prepare = few_digits(20)
    trainer = trainer_of(prepare, lambda params: getattr(optimizers, name)(params, lr))
    *_, (_, told) = trainer.fit(pictures, pictures, epochs=60)
    assert (told.n, told.right, told.accuracy) == (20, 20, 100.0)


def test_the_same_seed_is_the_same_training() -> None:
    pictures, prepare = few_digits(100)

    def weights(seed: int) -> torch.Tensor:
        trainer = trainer_of(prepare, lambda params: optimizers.RMSProp(params, 0.003), seed)
        list(trainer.fit(pictures, pictures, epochs=3))
        return trainer.model.params[0].value

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_a_loss_that_is_not_finite_reaches_no_weight() -> None:
    pictures, prepare = few_digits(20)
    trainer = trainer_of(lambda x: prepare(x) * math.nan, lambda p: optimizers.SGD(p, 0.1))
    with pytest.raises(UsageError, match=r"loss became nan.*got 0\.1: try a tenth"):
        trainer.train_epoch(pictures)
    assert all(parameter.value.isfinite().all() for parameter in trainer.model.params)


def test_the_readme_has_every_command_tried_here() -> None:
    kinds = [words.split() for words in COMMANDS]
    assert [] in kinds
    assert any("--overfit" in words for words in kinds)
    assert any("folder" in words for words in kinds)


@pytest.mark.parametrize("words", COMMANDS)
def test_commands_of_the_readme(words, picture_folder, monkeypatch, capsys) -> None:
    monkeypatch.chdir(picture_folder.parent)
    assert command.main(shlex.split(words)) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    first, *_, last = captured.out.splitlines()
    if "--overfit 20" in words:
        assert re.search(r": [\d,]+ parameters, 20 pictures$", first)
        assert re.fullmatch(r"all 20 pictures known by heart after \d+ epochs", last)
        assert "test" not in captured.out
        return
    assert captured.out.count("test") == 1
    match = re.fullmatch(r"test accuracy ([\d.]+)% of (\d+) pictures, loss [\d.]+", last)
    assert match, last
    accuracy, n = float(match[1]), int(match[2])
    if "folder" in words:
        assert first.endswith("32 pictures")  # of 36, a tenth held out
        assert (accuracy, n) == (100.0, 12)  # three colours
    else:
        assert first == "MLP 256-256-128-10: 99,978 parameters, 1,293 pictures"
        assert n == 360
        assert accuracy > 95


def test_a_validation_part_of_its_own_is_used(picture_folder, capsys) -> None:
    (picture_folder / "train").rename(picture_folder / "val")
    (picture_folder / "test").rename(picture_folder / "train")
    (picture_folder / "val").rename(picture_folder / "test")
    (picture_folder / "val").mkdir()
    for label in ("blue", "green", "red"):
        (picture_folder / "val" / label).mkdir()
        source = picture_folder / "test" / label / "00.png"
        (picture_folder / "val" / label / "00.png").write_bytes(source.read_bytes())
    words = ["--dataset", "folder", "--data-dir", str(picture_folder), "--epochs", "1"]
    assert command.main(words) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].endswith(", 12 pictures")
    assert out.splitlines()[-1].startswith("test accuracy ")
    assert " of 36 pictures" in out


def test_what_is_not_learnt_is_said(capsys) -> None:
    words = ["--overfit", "20", "--epochs", "2", "--lr", "1e-9"]
    assert command.main(words) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "not all 20 pictures are known after 2 epochs"


def one_line(error: str, said: str) -> None:
    assert error.count("\n") == 1
    assert said in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--lr", "0"], "--lr: wanted a positive number, got '0'"),
        (["--lr", "nan"], "--lr: wanted a positive number, got 'nan'"),
        (["--lr", "inf"], "--lr: wanted a positive number, got 'inf'"),
        (["--dropout", "1"], "--dropout: wanted a share from 0 to below 1, got '1'"),
        (["--weight-decay", "-1"], "--weight-decay: wanted a number of at least 0, got '-1'"),
        (["--epochs", "two"], "--epochs: wanted a whole number from 1 to 1000000, got 'two'"),
        (["--batch-size", "0"], "--batch-size: wanted a whole number from 1 to 1000000, got '0'"),
        (["--seed", "-1"], "--seed: wanted a whole number from 0 to 4294967295, got '-1'"),
        (["--hidden", "64,"], "--hidden: wanted widths from 1 to 65536 such as 256,128, got ''"),
        (["--activation", "rellu"], "unknown activation 'rellu': did you mean 'relu'?"),
        (["--optimizer", "momentun"], "unknown optimizer 'momentun': did you mean 'momentum'?"),
        (["--dataset", "digit"], "'digit': did you mean 'digits'?"),
        (["--dataset", "folder"], "data_dir must be the path of a folder"),
        (["--overfit", "2000"], "--overfit: wanted at most 1437 pictures, got 2000"),
        (["--ephocs", "2"], "unknown argument '--ephocs': did you mean '--epochs'?"),
        (["--lr", "1e30", "--optimizer", "sgd"], "the loss became "),
    ],
)
def test_wrong_input_is_one_line(words, said, capsys) -> None:
    try:
        status = command.main(words)
    except SystemExit as leaving:  # the parser leaves at once
        status = leaving.code
    assert status == 2
    one_line(capsys.readouterr().err, said)


def test_it_is_a_program_of_its_own() -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "backprop_from_scratch", "--epochs", "1", "--lr", "-3"],
        cwd=EXAMPLES,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    one_line(
        done.stderr, "python -m backprop_from_scratch: error: argument --lr: wanted a positive"
    )
