"""``python -m compact_vit.page``: a run's page, as training writes it and made anew."""

from __future__ import annotations

import base64
import io
import json
import math
import shutil
from html import escape, unescape
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from compact_vit.data import load_dataset
from compact_vit.data.augment import Normalize
from compact_vit.page import main, run_page
from compact_vit.pages import picture_uri, weights_uri
from compact_vit.plots import attention_maps
from compact_vit.train import page as writing, train
from compact_vit.train.config import TrainConfig

#: markup that a folder can be called
WILD = ("<img src=x onerror=alert(1)>", "\"&'")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A finished run on the digits, an epoch of the smallest model."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    config = TrainConfig(model="cvt_2_8", epochs=1, device="cpu", precision="fp32")
    train(config, output=folder, quiet=True)
    return folder


def refused(capsys, *words: object) -> str:
    """The one line that ``words`` are refused with."""
    assert main([str(word) for word in words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def decoded(uri: str) -> np.ndarray:
    """The pixels of a picture within a page."""
    start = "data:image/png;base64,"
    assert uri.startswith(start)
    with Image.open(io.BytesIO(base64.b64decode(uri.removeprefix(start)))) as image:
        return np.asarray(image)


def test_training_writes_it_and_the_command_makes_the_same_anew(run, capsys) -> None:
    path = run / "report.html"
    written = path.read_text(encoding="utf-8")
    path.unlink()
    assert main([str(run)]) == 0
    assert capsys.readouterr().out == f"page: {path}\n"
    assert path.read_text(encoding="utf-8") == written


def test_what_it_says_is_what_the_run_says(run) -> None:
    page = run_page(run)
    summary = json.loads((run / "summary.json").read_text())
    for text in (
        "<h1>cvt_2_8 on digits</h1>",
        f"{summary['final']['accuracy']:.2f}%",
        f"{summary['parameters_without_positions']:,}",
        f"{summary['macs'] / 1e6:,.1f}M",
        escape(summary["hardware"]),
        "No results are kept here",
    ):
        assert text in page
    assert page.count('alt="attention roll-out"') == page.count('alt="sequence pool"') == 6
    mistakes = page.count("<br>true:")
    assert mistakes == 12 + 3
    assert len(page) < 400_000


def test_the_confusion_matrix_counts_the_test_pictures(run) -> None:
    """Its diagonal is the accuracy, its sum all pictures."""
    from compact_vit.evaluate import evaluate_run
    from compact_vit.evaluated import class_report

    trained, evaluation = evaluate_run(run, checkpoint="last")
    said = evaluation.probabilities.argmax(dim=1)
    classes = len(trained.classes)
    pairs = torch.bincount(evaluation.labels * classes + said, minlength=classes**2)
    counts = pairs.view(classes, classes).tolist()
    assert counts == class_report(evaluation, trained.classes)["confusion"]
    page = run_page(run)
    written = [int(part.split(" pictures")[0]) for part in page.split('title="')[1:]]
    assert written == [n for row in counts for n in row]


def test_a_picked_epoch_is_what_is_shown(picked, capsys) -> None:
    """As ``evaluate``, ``predict`` and ``export`` take it: its figures are theirs."""
    from compact_vit.evaluate import main as evaluate

    page = (picked / "report.html").read_text(encoding="utf-8")
    assert f"{run_page(picked)}\n" == page
    summary = json.loads((picked / "summary.json").read_text())
    best, final = summary["best"], summary["final"]
    assert (best["epoch"], final["epoch"]) == (2, 4)
    assert best["accuracy"] != final["accuracy"]
    assert evaluate([str(picked), "--device", "cpu", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["epoch"], answer["accuracy"]) == (2, best["accuracy"])
    written = [int(part.split(" pictures")[0]) for part in page.split('title="')[1:]]
    assert written == [n for row in answer["confusion"] for n in row]
    assert f"Balanced accuracy {answer['balanced_accuracy']:.2f}%" in page
    assert f"error {answer['ece']:.2f}% in" in page
    assert "<h2>Confusion, epoch 2</h2>" in page
    assert f"{final['accuracy']:.2f}%" in page  # the headline is the last epoch's


def test_without_a_picked_epoch_it_is_of_the_last(run) -> None:
    page = run_page(run)
    assert "<h2>Calibration, epoch 1</h2>" in page
    assert "picked" not in page


def test_a_best_checkpoint_that_is_gone_leaves_the_last(picked, tmp_path) -> None:
    folder = shutil.copytree(picked, tmp_path / "copy")
    (folder / "best.pt").unlink()
    page = run_page(folder)
    assert "<h2>Confusion, epoch 4</h2>" in page
    assert "which was picked on" not in page


def test_predictions_are_of_their_sort(run, monkeypatch) -> None:
    """The wrong ones are the surest of all mistakes; the right ones are right.

    Each stands by its own picture, and what is looked at is of that as the model sees it.
    """
    from compact_vit.evaluate import evaluate_run

    shown = {}
    monkeypatch.setattr(writing, "page_of_run", lambda **content: shown.update(content) or "")
    run_page(run)
    trained, evaluation = evaluate_run(run, checkpoint="last")
    surest, said = evaluation.probabilities.max(dim=1)
    images = {picture_uri(image): image for image in load_dataset("digits").test.images}
    pictures = zip(images, surest, said, evaluation.labels, strict=True)
    mistakes = [(100 * float(p), uri) for uri, p, s, t in pictures if s != t]
    mistakes.sort(key=lambda mistake: -mistake[0])
    assert [(s.confidence, s.picture) for s in shown["wrong"]] == mistakes[:12]
    assert all(s.said != s.truth for s in shown["wrong"])
    assert len(shown["right"]) == 12
    assert all(s.said == s.truth for s in shown["right"])
    assert [s[:4] for s in shown["attended"]] == [
        s[:4] for s in (*shown["wrong"][:3], *shown["right"][:3])
    ]
    for sample in shown["attended"]:
        image = images[sample.picture]
        seen = Normalize(trained.mean, trained.std)(image[None])
        for name, (laid,) in attention_maps(trained.model, seen).items():
            # in a batch the last digits of a weight differ
            apart = decoded(sample.maps[name]).astype(int) - decoded(weights_uri(image, laid))
            assert abs(apart).max() <= 1


def test_pictures_are_the_data_sets_own(run) -> None:
    gray = load_dataset("digits", img_size=16).test.images[0]
    assert (decoded(picture_uri(gray)) == gray[0].numpy()).all()
    colour = torch.randint(256, (3, 20, 30), dtype=torch.uint8)
    assert (decoded(picture_uri(colour)) == colour.permute(1, 2, 0).numpy()).all()
    large = torch.zeros(3, 300, 600, dtype=torch.uint8)
    assert decoded(picture_uri(large)).shape == (56, 112, 3)
    weights = torch.zeros(20, 30)
    weights[5, 7] = 2.0
    laid = decoded(weights_uri(torch.full((3, 20, 30), 100, dtype=torch.uint8), weights))
    assert laid.shape == (20, 30, 3)
    assert (laid.sum(axis=2) == laid[0, 0].sum()).sum() == 599
    assert laid[5, 7].sum() > laid[0, 0].sum() + 200


@pytest.fixture(scope="module")
def wild_run(tmp_path_factory) -> Path:
    """A run on a folder of ten classes, two of them called like markup."""
    import numpy as np
    from PIL import Image

    root = tmp_path_factory.mktemp("wild")
    random = np.random.default_rng(0)
    for part, count in (("train", 4), ("test", 2)):
        for name in (*WILD, *"abcdefgh"):
            (root / "<i>" / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 256, (16, 16, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(root / "<i>" / part / name / f"{i}.png")
    config = TrainConfig(
        dataset="folder",
        data_dir=str(root / "<i>"),
        model="vit_lite_2_8",
        img_size=16,
        epochs=1,
        batch_size=20,
        device="cpu",
    )
    train(config, output=root / "<b>&", quiet=True)
    return root / "<b>&"


def test_names_of_folders_and_classes_are_escaped(wild_run) -> None:
    page = run_page(wild_run)
    assert "<img src=x" not in page
    assert page.count(escape(WILD[0])) >= 2  # the confusion matrix: a row and a column
    assert WILD[1] in unescape(page)
    assert "<h1>vit_lite_2_8 on &lt;i&gt;</h1>" in page
    assert "<i>" not in page
    assert 'alt="class token"' in page  # no sequence pool in this model
    assert "--published" in page  # whose pictures these are is not known


def test_a_folder_among_the_published(wild_run, capsys) -> None:
    before = sorted(wild_run.iterdir())
    assert "cannot be compared with cifar100" in refused(
        capsys, wild_run, "--published", "cifar100"
    )
    assert "did you mean 'cifar10'" in refused(capsys, wild_run, "--published", "cifar-10")
    assert sorted(wild_run.iterdir()) == before
    page = run_page(wild_run, published="cifar10")
    assert page.count('<tr class="own">') == 1
    assert "CCT-7/3x2" in page
    assert "comparable as far as the folder holds the same" in page


def test_what_is_learnt_by_heart_is_not_called_test(tmp_path) -> None:
    config = TrainConfig(model="mlp", epochs=2, overfit=20, device="cpu")
    train(config, output=tmp_path / "run", quiet=True)
    page = run_page(tmp_path / "run")
    assert page.count('<span class="test">learnt</span>') == 2
    assert '<span class="test">test</span>' not in page
    assert "learnt accuracy at epoch 2: " in page


def test_pictures_that_have_moved(wild_run, tmp_path, capsys) -> None:
    page = run_page(wild_run)
    data = Path(json.loads((wild_run / "config.json").read_text())["data_dir"])
    moved = data.rename(tmp_path / "elsewhere")
    try:
        assert str(data) in refused(capsys, wild_run)
        assert run_page(wild_run, data_dir=str(moved)) == page
    finally:
        moved.rename(data)


def test_other_pictures_are_not_set_beside_the_runs_figures(wild_run, tmp_path, capsys) -> None:
    data = Path(json.loads((wild_run / "config.json").read_text())["data_dir"])
    other = shutil.copytree(data, tmp_path / "other")
    before = sorted(wild_run.iterdir())
    next((other / "test" / "a").iterdir()).unlink()
    assert "of 20, and here " in refused(capsys, wild_run, "--data-dir", other)
    copy = shutil.copytree(wild_run, tmp_path / "copy")
    final = json.loads((copy / "summary.json").read_text())["final"]
    change(copy, final=final | {"accuracy": (final["accuracy"] + 50) % 100})
    said = refused(capsys, copy)
    assert "these are not the pictures that the run was tested on" in said
    assert sorted(wild_run.iterdir()) == before
    change(copy, final=final | {"accuracy": final["accuracy"] + 5})  # one picture of 20
    assert main([str(copy)]) == 0


def change(run: Path, **values: object) -> None:
    """Give a copy of a run other values in its summary."""
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | values))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda run: (run / "summary.json").unlink(), "not finished, go on with --resume"),
        (lambda run: (run / "summary.json").write_text("{"), "is not JSON"),
        (lambda run: (run / "summary.json").write_text("{}"), "in its summary.json model is None"),
        (lambda run: change(run, recipe=None), "in its summary.json recipe is None"),
        (
            lambda run: change(run, best={"picked_on": "val"}),
            "in its summary.json best is {'picked_on': 'val'}",
        ),
        (lambda run: change(run, score=5), "in its summary.json score.value is None"),
        (lambda run: change(run, seconds=math.nan), "in its summary.json seconds is nan"),
        (lambda run: (run / "metrics.jsonl").write_text("nothing\n"), "is damaged"),
        (lambda run: (run / "metrics.jsonl").unlink(), "has no epoch to draw yet"),
        (lambda run: (run / "best.pt").write_bytes(b"no"), "best.pt"),
        (lambda run: (run / "config.json").unlink(), "is not the folder of a run"),
    ],
)
def test_what_is_no_finished_run_is_refused(run, tmp_path, capsys, damage, said) -> None:
    folder = shutil.copytree(run, tmp_path / "copy")
    (folder / "report.html").unlink(missing_ok=True)
    damage(folder)
    before = sorted(folder.iterdir())
    assert said in refused(capsys, folder)
    assert sorted(folder.iterdir()) == before


def test_wrong_words(run, tmp_path, capsys) -> None:
    assert "must end in .html" in refused(capsys, run, "--output", tmp_path / "a.pdf")
    assert "is not the folder of a run" in refused(capsys, tmp_path / "nowhere")
    assert "device" in refused(capsys, run, "--device", "cpx")
    assert list(tmp_path.iterdir()) == []
    assert main([str(run), "--output", str(tmp_path / "deep" / "a.html")]) == 0
    assert (tmp_path / "deep" / "a.html").read_text().startswith("<!DOCTYPE html>")


def test_a_page_that_fails_does_not_fail_the_run(tmp_path, monkeypatch, capsys) -> None:
    def broken(**content: object) -> str:
        raise RuntimeError("no room")

    monkeypatch.setattr(writing, "page_of_run", broken)
    folder = tmp_path / "run"
    config = TrainConfig(model="cvt_2_8", epochs=1, device="cpu", precision="fp32")
    result = train(config, output=folder, quiet=True)
    assert result.summary == json.loads((folder / "summary.json").read_text())
    assert not (folder / "report.html").exists()
    assert "report.html is missing: RuntimeError: no room" in capsys.readouterr().err
