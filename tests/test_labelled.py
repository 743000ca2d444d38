"""``evaluate --pictures``: a trained model on class folders that its run did not know."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from compact_vit.data import load_dataset
from compact_vit.errors import UsageError
from compact_vit.evaluate import evaluate_run, main
from compact_vit.export import export_run
from compact_vit.labelled import open_pictures
from compact_vit.predict import predict_pictures
from compact_vit.train import TrainConfig, train


@pytest.fixture
def run(picture_folder, tmp_path) -> Path:
    """A finished run on the folder of 36 and 12 pictures of blue, green and red."""
    config = TrainConfig(
        dataset="folder",
        data_dir=str(picture_folder),
        model="cvt_2_8",
        img_size=16,
        epochs=1,
        device="cpu",
        precision="fp32",
    )
    train(config, output=tmp_path / "run", quiet=True)
    return tmp_path / "run"


@pytest.fixture
def weights(run, tmp_path) -> Path:
    export_run(run, tmp_path / "weights", checkpoint="last", device="cpu")
    return tmp_path / "weights"


def test_it_is_the_split_that_lies_there(run, weights, picture_folder, monkeypatch) -> None:
    monkeypatch.setattr("compact_vit.train.machine.multiplies_bf16", lambda device: False)
    test = picture_folder / "test"
    expected = evaluate_run(run, device="cpu")[1]
    for source in (run, str(weights)):
        trained, told = evaluate_run(source, pictures=test, device="cpu")
        assert (trained.classes, trained.epoch) == (("blue", "green", "red"), 1)
        assert told.figures() == pytest.approx(expected.figures())
        assert torch.equal(told.labels, expected.labels)
        torch.testing.assert_close(told.probabilities, expected.probabilities)


def test_the_labels_are_the_models(run, picture_folder, caplog) -> None:
    """Of the last class alone, whatever its place among the folders; the others are named."""
    new = picture_folder / "test"
    for name in ("blue", "green"):
        shutil.rmtree(new / name)
    deep = new / "red" / "deep"
    deep.mkdir()
    (new / "red" / "00.png").rename(deep / "00.png")
    (new / ".hidden").mkdir()
    (new / "loose.txt").touch()
    with caplog.at_level(logging.WARNING):
        _, told = evaluate_run(run, pictures=new, device="cpu")
    assert told.labels.tolist() == [2] * 4
    files = sorted(path for path in (new / "red").rglob("*") if path.is_file())
    each = [dict(answer) for answer in predict_pictures(run, files, device="cpu")]
    expected = torch.tensor([[row[name] for name in ("blue", "green", "red")] for row in each])
    torch.testing.assert_close(told.probabilities.float(), expected)
    assert caplog.messages == [f"warning: {new} has no pictures of 2 of the 3 classes: blue, green"]


def test_a_model_that_sees_gray(tmp_path) -> None:
    config = TrainConfig(model="cvt_2_8", epochs=1, train_pictures=100, device="cpu")
    train(config, output=tmp_path / "run", quiet=True)
    splits = load_dataset("digits")
    for row, label in enumerate(splits.test.labels[:20].tolist()):
        folder = tmp_path / "new" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(splits.test.images[row, 0].numpy()).save(folder / f"{row}.png")
    _, pictures = open_pictures(tmp_path / "run", tmp_path / "new")
    order = splits.test.labels[:20].argsort(stable=True)
    named = sorted(range(20), key=lambda row: (int(splits.test.labels[row]), f"{row}.png"))
    assert torch.equal(pictures.images, splits.test.images[named])
    assert torch.equal(pictures.labels, splits.test.labels[:20][order])


@pytest.mark.parametrize("what", ["run", "weights"])
def test_the_command(request, what, picture_folder, capsys, monkeypatch) -> None:
    source: Path = request.getfixturevalue(what)
    monkeypatch.chdir(picture_folder)
    assert main([str(source), "--pictures", "test", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("cvt_2_8 on test (12 pictures), epoch 1, in fp32\ntop-1 ")
    assert out.endswith(f"reliability diagram: {source / 'reliability-pictures.png'}\n")
    assert (source / "confusion-pictures.png").exists()
    assert main([str(source), "--pictures", "train", "--device", "cpu", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["dataset"], answer["split"], answer["n"]) == ("train", None, 36)


def test_what_was_trained_on_is_no_test(run, weights, picture_folder, tmp_path, capsys, caplog):
    def said(*words: object) -> tuple[list[str], bool | None]:
        caplog.clear()
        assert main([str(word) for word in (*words, "--device", "cpu", "--json")]) == 0
        answer = json.loads(capsys.readouterr().out)
        return caplog.messages, answer["holds_training_pictures"]

    train_part = picture_folder / "train"
    whole, copy = tmp_path / "drawn", tmp_path / "copy"
    drawn = TrainConfig(dataset="folder", data_dir=str(train_part), test_fraction=0.25,
                        model="cvt_2_8", epochs=1, device="cpu", precision="fp32")  # fmt: skip
    train(drawn, output=whole, quiet=True)
    link = tmp_path / "link"
    link.symlink_to(train_part, target_is_directory=True)
    shutil.copytree(picture_folder / "test", copy)
    around = tmp_path / "around"  # of which the class folder that is called red holds all of it
    shutil.copytree(train_part, around / "red")
    config = json.loads((whole / "config.json").read_text())
    for source, folder, data_dir in (
        (run, train_part, None),
        (run, link, None),
        (whole, train_part, None),
        (whole, around, around / "red"),
        (whole, around, around),
        (whole, around / "red", around),
    ):
        if data_dir is not None:
            (whole / "config.json").write_text(json.dumps(config | {"data_dir": str(data_dir)}))
        messages, holds = said(source, "--pictures", folder)
        assert holds is True
        assert [line for line in messages if "holds pictures" in line] == [
            f"warning: {folder} holds pictures that '{source}' was trained on, so these figures "
            "are no test: what it held out is tested without --pictures"
        ]
    for source, folder in ((run, picture_folder / "test"), (run, copy), (whole, copy)):
        assert said(source, "--pictures", folder) == ([], False)
    assert said(weights, "--pictures", train_part) == ([], None)
    assert said(run) == ([], None)


def test_bad_pictures(run, picture_folder, caplog) -> None:
    new = picture_folder / "test"
    before = evaluate_run(run, pictures=new, device="cpu")[1]
    (new / "blue" / "000.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"000\.png: .* leave it out with --on-bad-picture skip$"):
        evaluate_run(run, pictures=new, device="cpu")
    with caplog.at_level(logging.WARNING):
        told = evaluate_run(run, pictures=new, on_bad_picture="skip", device="cpu")[1]
    assert torch.equal(told.labels, before.labels)
    torch.testing.assert_close(told.probabilities, before.probabilities)
    (said,) = caplog.messages
    assert said.startswith("warning: cannot read the picture")
    assert said.endswith("left out")
    for path in new.rglob("*.*"):
        path.write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"cannot read 13 of 13 pictures: .*remove what is bad$"):
        evaluate_run(run, pictures=new, on_bad_picture="skip", device="cpu")


def refused(said: str, source: Path | str, **options) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        evaluate_run(source, device="cpu", **options)
    assert "\n" not in str(caught.value)


def test_what_is_refused(run, weights, picture_folder, tmp_path) -> None:
    test = picture_folder / "test"
    for options in ({"dataset": "folder"}, {"data_dir": str(picture_folder)}, {"split": "val"}):
        (name,) = options
        refused(f"tested all together: leave out {name}$", run, pictures=test, **options)
    refused("on_bad_picture is for pictures", run, on_bad_picture="skip")
    refused("unknown on_bad_picture 'skp': did you mean 'skip'", run, pictures=test,
            on_bad_picture="skp")  # fmt: skip
    refused("checkpoint is of a run", weights, pictures=test, checkpoint="last")
    refused("run must be the folder of a run or of weights, or", "nowhere", pictures=test)
    refused("is not the folder of a run", picture_folder, pictures=test)
    refused("got .*nowhere, which does not exist", run, pictures=tmp_path / "nowhere")
    refused("got .*config.json, a file", run, pictures=run / "config.json")
    refused(f"give {test} if they are in it", run, pictures=picture_folder)
    (tmp_path / "new" / "red").mkdir(parents=True)
    refused(r"red: wanted pictures .*, found none", run, pictures=tmp_path / "new")
    (tmp_path / "new" / "rde").mkdir()
    refused("'rde' is not a class of the model: did you mean 'red'", run,
            pictures=tmp_path / "new")  # fmt: skip
    (tmp_path / "new" / "rde").rename(tmp_path / "new" / "cat")
    refused("cat. is not .*: they are blue, green, red$", run, pictures=tmp_path / "new")


def test_no_advice_for_training(weights, run, picture_folder, tmp_path) -> None:
    """Which has flags that ``evaluate`` has not."""
    train_part, test = picture_folder / "train", picture_folder / "test"
    options = {"dataset": "folder", "data_dir": str(train_part)}
    way_out = "evaluate --pictures {} tests on class folders alone$"
    refused(f"in it: {way_out.format(train_part)}", weights, **options)
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copytree(test, alone / "test")
    way_out = way_out.format(alone / "test")
    refused(f"in it: {way_out}", run, data_dir=str(alone))
    config = TrainConfig(
        dataset="folder",
        data_dir=str(train_part),
        test_fraction=0.25,
        model="cvt_2_8",
        epochs=1,
        device="cpu",
    )
    drawn = train(config, output=tmp_path / "drawn", quiet=True).output
    assert evaluate_run(drawn, device="cpu")[1].n == 9
    refused(f"has a test/: {way_out}", drawn, data_dir=str(alone))
    assert evaluate_run(drawn, pictures=train_part, device="cpu")[1].n == 36
