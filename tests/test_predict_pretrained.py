"""``predict --pretrained``: weights in the package, in a folder, on the hub."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from compact_vit import CompactTransformer, UsageError, cct_2_3x2, create_model
from compact_vit.models import shipped
from compact_vit.predict import main, predict_pictures

NAMES = ("ant", "bee", "cat", "dog")


@pytest.fixture(autouse=True)
def weights(tmp_path, monkeypatch) -> CompactTransformer:
    """A model of four classes, whose weights are in the package and in ``folder``."""
    torch.manual_seed(0)
    model = cct_2_3x2(num_classes=4).eval()
    model.pretrained_cfg = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3), "label_names": NAMES}
    model.save_pretrained(tmp_path / "package" / "cct_2_3x2.animals")
    model.save_pretrained(tmp_path / "folder")
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "package")
    return model


@pytest.fixture
def picture(tmp_path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def by_hand(model: CompactTransformer, path: Path) -> dict[str, float]:
    """The model's softmax on the picture, step by step."""
    pixels = np.asarray(Image.open(path)).astype(np.float64)
    x = torch.from_numpy((pixels / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.25, 0.3])
    with torch.no_grad():
        powers = model(x.permute(2, 0, 1)[None].float())[0].double().exp()
    return dict(zip(NAMES, (powers / powers.sum()).tolist(), strict=True))


def test_a_model_is_asked(weights, picture) -> None:
    (answer,) = predict_pictures(weights, [picture], device="cpu")
    assert dict(answer) == pytest.approx(by_hand(weights, picture), abs=1e-5)
    assert [p for _, p in answer] == sorted((p for _, p in answer), reverse=True)
    with torch.no_grad():
        x = weights.transforms()(Image.open(picture))
        assert weights(x[None]).argmax().item() == NAMES.index(answer[0][0])


def test_pictures_may_come_one_by_one(weights, picture) -> None:
    found = predict_pictures(weights, picture.parent.glob("*.png"), device="cpu")
    assert found == predict_pictures(weights, [picture], device="cpu")
    assert len(found) == 1


def test_a_compiled_model_answers_as_the_model(weights, picture) -> None:
    compiled = torch.compile(weights)
    answer = predict_pictures(compiled, [picture], device="cpu")
    assert answer == predict_pictures(weights, [picture], device="cpu")


def test_a_model_has_no_checkpoints(weights, picture) -> None:
    with pytest.raises(UsageError, match="checkpoint is for a run's folder, got 'best' beside"):
        predict_pictures(weights, [picture], checkpoint="best")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_of_another_precision(dtype, weights, picture) -> None:
    wanted = by_hand(weights, picture)
    (answer,) = predict_pictures(weights.to(dtype), [picture], device="cpu")
    assert dict(answer) == pytest.approx(wanted, abs=0.01)


def test_classes_without_names_are_numbers(weights, picture) -> None:
    weights.reset_classifier(3)
    (answer,) = predict_pictures(weights, [picture], device="cpu")
    assert sorted(name for name, _ in answer) == ["0", "1", "2"]
    weights.reset_classifier(0)
    with pytest.raises(UsageError, match="the model has no classes"):
        predict_pictures(weights, [picture])
    with pytest.raises(UsageError, match="for these weights is not known"):
        predict_pictures(cct_2_3x2(), [picture])
    four = create_model("cct_2_3x2", in_chans=4)
    four.pretrained_cfg = {"mean": (0.5,) * 4, "std": (0.5,) * 4}
    with pytest.raises(UsageError, match="gray or coloured pictures, it sees 4 channels"):
        predict_pictures(four, [picture])
    weights.reset_classifier(4)
    weights.pretrained_cfg["interpolation"] = "bicubic"
    with pytest.raises(UsageError, match="want pictures bicubic, crop_pct 1, not as"):
        predict_pictures(weights, [picture])


@pytest.mark.parametrize("name", ["cct_2_3x2", "cct_2_3x2.animals", "./folder", "folder"])
def test_the_command(name, weights, picture, monkeypatch, capsys) -> None:
    monkeypatch.chdir(picture.parent)
    assert main(["--pretrained", name, "a.png", str(picture), "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[5], len(lines)) == ("a.png", str(picture), 10)
    best, probability = max(by_hand(weights, picture).items(), key=lambda item: item[1])
    assert lines[1] == lines[6] == f"  {100 * probability:6.2f}%  {best}"
    assert main(["a.png", "--pretrained", name, "--json", "--top", "1", "--device", "cpu"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["picture"], row["classes"][0]["class"]) == ("a.png", best)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--pretrained cct_2_3x2", "arguments are required: RUN PICTURE"),
        (
            "--pretrained cct_6_3x1 a.png",
            "error: pretrained must be a folder that export or save_pretrained wrote, a model on "
            "the hub (USER/NAME), or weights in the package (cct_2_3x2), got 'cct_6_3x1', which "
            "does not exist: did you mean 'cct_2_3x2'?\n",
        ),
        ("--pretrained cct_2_3x2.plants a.png", "exist: did you mean 'cct_2_3x2.animals'?"),
        ("--pretrained foldr a.png", "(cct_2_3x2), got 'foldr', which does not exist\n"),
        ("--pretrained no/where/at/all a.png", "got 'no/where/at/all', which does not exist"),
        (
            "--pretrained a.png a.png",
            "'a.png' is a file: give the folder it is in, with config.json",
        ),
        ("--pretrained cct_2_3x2 b.png", "no picture at b.png"),
        ("--pretrained cct_2_3x2 a.png --checkpoint last", "--checkpoint is of a run"),
        ("--pretrained cct_2_3x2 a.png --top 0", "top must be a whole number"),
        ("--pretraind cct_2_3x2 a.png", "did you mean '--pretrained'?"),
    ],
)
def test_what_is_refused(words, message, picture, monkeypatch, capsys) -> None:
    monkeypatch.chdir(picture.parent)
    try:
        status = main(words.split())
    except SystemExit as leaving:
        status = leaving.code
    captured = capsys.readouterr()
    assert (status, captured.out, captured.err.count("\n")) == (2, "", 1)
    assert message in captured.err
