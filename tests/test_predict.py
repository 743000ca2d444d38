"""``python -m compact_vit.predict``: the model's own softmax on the pixels of picture files."""

from __future__ import annotations

import csv
import errno
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from compact_vit.data import load_dataset
from compact_vit.errors import UsageError
from compact_vit.predict import find_pictures, main, predict_pictures
from compact_vit.train import load_model, train
from compact_vit.train.config import TrainConfig


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    """A finished run on the digits: pictures of one channel, 16 pixels."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(TrainConfig(model="cvt_2_8", epochs=2, device="cpu"), output=folder, quiet=True)
    return folder


@pytest.fixture
def colours(picture_folder, tmp_path) -> Path:
    """A finished run on the folder of pictures, 16 x 24 pixels in colour."""
    config = TrainConfig(
        dataset="folder",
        data_dir=str(picture_folder),
        img_size=(16, 24),
        model="cvt_2_8",
        epochs=1,
        device="cpu",
        precision="fp32",
    )
    train(config, output=tmp_path / "run", quiet=True)
    return tmp_path / "run"


def softmax(run: Path, pixels: np.ndarray) -> dict[str, float]:
    """What the model says of ``pixels`` [H,W,C], computed step by step."""
    trained = load_model(run)
    mean, std = np.array(trained.mean), np.array(trained.std)
    x = torch.from_numpy((pixels / 255 - mean) / std).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        powers = trained.model(x)[0].double().exp()
    return dict(zip(trained.classes, (powers / powers.sum()).tolist(), strict=True))


def test_the_models_own_softmax(colours, tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (answer,) = predict_pictures(colours, [tmp_path / "a.png"], device="cpu")
    assert dict(answer) == pytest.approx(softmax(colours, pixels), abs=1e-5)
    assert sum(p for _, p in answer) == pytest.approx(1)
    assert [p for _, p in answer] == sorted((p for _, p in answer), reverse=True)
    assert len(answer) == 3  # all there are


def test_a_gray_model_sees_gray(digits, tmp_path) -> None:
    images = load_dataset("digits").test.images[:3]
    paths = []
    for i, image in enumerate(images):
        gray = Image.fromarray(image[0].numpy())
        paths += [tmp_path / f"{i}.png", tmp_path / f"{i}-rgb.png"]
        gray.save(paths[-2])
        gray.convert("RGB").save(paths[-1])
    answers = predict_pictures(digits, paths, top=10, device="cpu")
    for i, image in enumerate(images):
        wanted = softmax(digits, image[0].numpy()[:, :, None])
        assert dict(answers[2 * i]) == pytest.approx(wanted, abs=1e-5)
        assert answers[2 * i] == answers[2 * i + 1]


def test_a_gray_model_weighs_colours_as_the_eye_does(digits, tmp_path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    gray = np.asarray(Image.open(tmp_path / "a.png").convert("L"))[:, :, None]
    (answer,) = predict_pictures(digits, [tmp_path / "a.png"], top=10, device="cpu")
    # PIL cuts where this rounds: a level in 255 at most
    assert dict(answer) == pytest.approx(softmax(digits, gray), abs=0.02)


def test_it_agrees_with_evaluation(colours, picture_folder) -> None:
    from compact_vit.evaluate import evaluate_run

    paths = sorted(
        path
        for name in ("blue", "green", "red")
        for path in (picture_folder / "test" / name).iterdir()
    )
    answers = predict_pictures(colours, paths, device="cpu")
    trained, evaluation = evaluate_run(colours, device="cpu")
    for answer, row in zip(answers, evaluation.probabilities.tolist(), strict=True):
        assert dict(answer) == pytest.approx(dict(zip(trained.classes, row, strict=True)), abs=1e-5)


def test_a_loaded_model_serves_too(digits, tmp_path) -> None:
    Image.new("RGB", (40, 30), (200, 100, 50)).save(tmp_path / "a.jpg")
    trained = load_model(digits)
    trained.model.train()
    one = predict_pictures(trained, [tmp_path / "a.jpg"], device="cpu")
    assert one == predict_pictures(digits, [tmp_path / "a.jpg"], device="cpu")
    assert len(one[0]) == 5


def test_the_command(digits, tmp_path, capsys) -> None:
    paths = [str(tmp_path / name) for name in ("a.png", "b.png")]
    for i, path in enumerate(paths):
        Image.new("L", (16, 16), 60 + 100 * i).save(path)
    words = [str(digits), *paths, "--top", "3", "--device", "cpu"]
    assert main([*words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    answers = predict_pictures(digits, paths, top=3, device="cpu")
    assert [row["picture"] for row in rows] == paths
    for row, answer in zip(rows, answers, strict=True):
        found = [(entry["class"], entry["probability"]) for entry in row["classes"]]
        assert found == answer
        assert len(found) == 3
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == paths[0]
    name, probability = answers[0][0]
    assert lines[1] == f"  {100 * probability:6.2f}%  {name}"
    assert lines[4] == paths[1]
    assert len(lines) == 8


def test_a_folder_is_every_file_in_it_and_below(digits, tmp_path, capsys) -> None:
    (tmp_path / "all" / "b" / "c").mkdir(parents=True)
    names = ["a.png", "b/a.png", "b/c/z.jpg", "d.gif"]
    for i, name in enumerate(names):
        Image.new("L", (16, 16), 60 * i).save(tmp_path / "all" / name)
    Image.new("L", (16, 16)).save(tmp_path / "all" / ".hidden.png")
    first = str(tmp_path / "all" / "d.gif")
    wanted = [first, *(str(tmp_path / "all" / name) for name in names)]
    assert find_pictures([first, tmp_path / "all"]) == wanted
    words = [str(digits), first, str(tmp_path / "all"), "--top", "2", "--device", "cpu"]
    assert main([*words, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    answers = predict_pictures(digits, wanted, top=2, device="cpu")
    assert [(row["picture"], row["rank"]) for row in rows] == [
        (path, rank) for path in wanted for rank in ("1", "2")
    ]
    found = [(row["class"], float(row["probability"])) for row in rows]
    assert found == [entry for answer in answers for entry in answer]


def test_more_pictures_than_are_shown_at_a_time(digits, tmp_path, monkeypatch) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for i, path in enumerate(paths):
        Image.new("L", (16, 16), 50 * i).save(path)
    wanted = [dict(predict_pictures(digits, [path], top=10, device="cpu")[0]) for path in paths]
    monkeypatch.setattr("compact_vit.predict._BATCH", 2)
    answers = predict_pictures(digits, paths, top=10, device="cpu")
    assert [dict(answer) for answer in answers] == [
        pytest.approx(each, abs=1e-5) for each in wanted
    ]
    assert wanted[0] != wanted[4]


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_what_cannot_be_read_is_skipped_if_asked(digits, tmp_path, caplog, capsys, bad) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for i, path in enumerate(paths):
        Image.new("L", (16, 16), 60 * i).save(path)
    good = predict_pictures(digits, paths, device="cpu")
    paths[bad].write_text("none")
    with pytest.raises(UsageError, match=f"{bad}.png: no whole JPEG.*--on-bad-picture skip"):
        predict_pictures(digits, paths, device="cpu")
    answers = predict_pictures(digits, paths, device="cpu", on_bad_picture="skip")
    assert answers[bad] == []
    for place in {0, 1, 2} - {bad}:
        assert dict(answers[place]) == pytest.approx(dict(good[place]), abs=1e-5)
    assert f"cannot read the picture {paths[bad]}" in caplog.text
    assert main([str(digits), str(tmp_path), "--on-bad-picture", "skip", "--json"]) == 0
    told = [row["picture"] for row in json.loads(capsys.readouterr().out)]
    assert told == [str(path) for path in paths if path != paths[bad]]


def test_the_systems_troubles_are_not_skipped(digits, tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (16, 16)).save(path)

    def refused(*given) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("compact_vit.data.decoding._decoded", refused)
    with pytest.raises(UsageError, match=r"a\.png: Too many open files$"):
        predict_pictures(digits, [path, path], device="cpu", on_bad_picture="skip")


@pytest.mark.parametrize("top", [0, -3])
def test_top(digits, top) -> None:
    with pytest.raises(UsageError, match=f"at least 1, got {top}"):
        predict_pictures(digits, ["a.png"], top=top)


@pytest.mark.parametrize("answers", [2, 12])
def test_another_classifier_has_not_the_old_ones_names(colours, tmp_path, answers) -> None:
    model = load_model(colours).model
    model.head = torch.nn.Linear(model.embed_dim, answers)
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    said = rf"must answer with the \d+ classes that are known, got {answers}: give it another class"
    with pytest.raises(UsageError, match=said):
        predict_pictures(model, [tmp_path / "a.png"], device="cpu")


def test_weights_that_answer_no_numbers(colours, tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    trained = load_model(colours)
    with torch.no_grad():
        trained.model.head.bias[1] = float("nan")
    with pytest.raises(UsageError, match="answers to 1 of 1 pictures are not finite"):
        predict_pictures(trained, [tmp_path / "a.png"], device="cpu")
