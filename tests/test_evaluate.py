"""``python -m compact_vit.evaluate``: figures against hand computation and scikit-learn."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
from pathlib import Path

import pytest
import torch

from compact_vit import CompactTransformer
from compact_vit.data import load_dataset
from compact_vit.errors import UsageError
from compact_vit.evaluate import evaluate_pictures, evaluate_run, main
from compact_vit.evaluated import class_report, own_precision, told
from compact_vit.export import export_run, main as export
from compact_vit.models import shipped
from compact_vit.scoring import accuracy_interval
from compact_vit.train import load_model, metrics, train
from compact_vit.train.calibration import calibrate
from compact_vit.train.checkpoint import save_checkpoint
from compact_vit.train.config import TrainConfig
from compact_vit.train.metrics import Evaluating, check_finite, evaluate_model, score_logits


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A finished run on the digits, an epoch of the smallest model, with a validation split."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    config = TrainConfig(
        model="cvt_2_8", epochs=2, val_fraction=0.2, device="cpu", precision="fp32"
    )
    train(config, output=folder, quiet=True)
    return folder


def test_figures_by_hand() -> None:
    logits = torch.tensor(
        [
            [9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0],  # true 0: first
            [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0],  # true 4: fifth
            [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0],  # true 5: sixth
            [1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.5],  # true 0: second
        ]
    )
    labels = torch.tensor([0, 4, 5, 0])
    evaluation = score_logits(logits, labels)
    assert (evaluation.n, evaluation.accuracy, evaluation.top5) == (4, 25.0, 75.0)
    powers = logits.double().exp()
    shares = powers / powers.sum(dim=1, keepdim=True)
    loss = -sum(shares[i, label].log().item() for i, label in enumerate(labels.tolist())) / 4
    assert evaluation.loss == pytest.approx(loss)
    assert torch.allclose(evaluation.probabilities.double(), shares)


def test_of_equal_answers_all_figures_take_the_same() -> None:
    """bf16 has few numbers: two classes are often said alike."""
    logits = torch.randn(4000, 10, generator=torch.Generator().manual_seed(0))
    logits, labels = logits.bfloat16().float(), torch.arange(4000) % 10
    best = logits.sort(dim=1, descending=True).values
    assert (best[:, 0] == best[:, 1]).sum() > 10
    evaluation = score_logits(logits, labels)
    confusion = torch.tensor(class_report(evaluation, list("abcdefghij"))["confusion"])
    assert evaluation.accuracy == pytest.approx(confusion.trace().item() / 40)
    table = calibrate(evaluation.probabilities, labels)
    rows = zip(table.counts, table.accuracies, strict=True)
    assert evaluation.accuracy == pytest.approx(sum(n * a for n, a in rows) / 4000)
    assert evaluation.accuracy <= evaluation.top5


def test_fewer_than_five_classes_are_all_in_the_top_five() -> None:
    evaluation = score_logits(torch.tensor([[1.0, 2.0], [3.0, 1.0]]), torch.tensor([0, 0]))
    assert (evaluation.accuracy, evaluation.top5) == (50.0, 100.0)


def test_pictures_are_seen_as_they_are_and_the_mode_comes_back() -> None:
    class Counter(torch.nn.Module):
        """Logits from the mean level; sees whether it is in training."""

        def forward(self, x):
            assert not self.training
            level = x.mean(dim=(1, 2, 3))
            return torch.stack([level * i for i in range(10)], dim=1)

    splits = load_dataset("digits")
    heard = []
    model = Counter().train()
    evaluation = evaluate_model(
        model,
        splits.test,
        Evaluating(
            lambda images: images.float() / 255,
            torch.device("cpu"),
            batch_size=100,
            on_batch=heard.append,
        ),
    )
    assert model.training
    assert heard == [100, 100, 100, 60]
    level = splits.test.images.float().div(255).mean(dim=(1, 2, 3))
    wanted = torch.stack([level * i for i in range(10)], dim=1).softmax(dim=1)
    assert torch.allclose(evaluation.probabilities, wanted, atol=1e-6)
    assert torch.equal(evaluation.labels, splits.test.labels)


def test_it_repeats_what_training_said(run) -> None:
    summary = json.loads((run / "summary.json").read_text())
    for name, key in (("last", "final"), ("best", "best"), (None, "best")):
        trained, evaluation = evaluate_run(run, checkpoint=name, device="cpu")
        said = summary[key]
        assert trained.epoch == said["epoch"]
        assert evaluation.n == said["n"] == 360
        assert evaluation.figures() == {k: said[k] for k in ("loss", "accuracy", "top5")}


def test_figures_from_the_model_itself(run) -> None:
    """The whole way by hand: pixels, published formula of the normalisation, model, counting."""
    trained, evaluation = evaluate_run(run, device="cpu")
    splits = load_dataset("digits")
    x = (splits.test.images.double() / 255 - trained.mean[0]) / trained.std[0]
    with torch.no_grad():
        logits = trained.model(x.float()).double()
    labels = splits.test.labels
    order = logits.argsort(dim=1, descending=True)
    assert evaluation.accuracy == pytest.approx(100 * (order[:, 0] == labels).double().mean())
    in_five = (order[:, :5] == labels[:, None]).any(dim=1)
    assert evaluation.top5 == pytest.approx(100 * in_five.double().mean())
    likelihoods = logits.softmax(dim=1).log()[torch.arange(360), labels]
    assert evaluation.loss == pytest.approx(-likelihoods.mean().item(), rel=1e-5)


def test_the_splits_of_a_run(run) -> None:
    counts = {name: evaluate_run(run, split=name, device="cpu")[1].n for name in ("train", "val")}
    assert counts == {"train": 1149, "val": 288}
    picked = json.loads((run / "summary.json").read_text())["best"]["val_accuracy"]
    assert evaluate_run(run, split="val", device="cpu")[1].accuracy == picked


def test_class_report_by_hand() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    said = torch.tensor([0, 0, 1, 1, 0, 1])
    evaluation = score_logits(torch.nn.functional.one_hot(said, 4).float(), labels)
    report = class_report(evaluation, ["a", "b", "c", "d"])
    assert report["confusion"] == [[2, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    names = ("class", "precision", "recall", "f1", "pictures")
    rows = [tuple(row[name] for name in names) for row in report["classes"]]
    assert rows == [
        ("a", pytest.approx(200 / 3), pytest.approx(200 / 3), pytest.approx(200 / 3), 3),
        ("b", pytest.approx(100 / 3), 50.0, pytest.approx(40.0), 2),
        ("c", None, 0.0, 0.0, 1),  # never said
        ("d", None, None, None, 0),  # nor asked about
    ]
    assert report["balanced_accuracy"] == pytest.approx((200 / 3 + 50 + 0) / 3)


def test_a_class_without_pictures_that_is_said() -> None:
    """It is never right, but no picture says that it would not have been recognised."""
    evaluation = score_logits(torch.eye(3)[[0, 2, 1]], torch.tensor([0, 0, 1]))
    report = class_report(evaluation, ["a", "b", "c"])
    row = report["classes"][2]
    assert (row["precision"], row["recall"], row["f1"], row["pictures"]) == (0.0, None, None, 0)
    assert row["recall_interval"] is None
    assert report["balanced_accuracy"] == 75.0


def test_unequal_classes_against_scikit_learn() -> None:
    from sklearn.metrics import balanced_accuracy_score, recall_score

    generator = torch.Generator().manual_seed(0)
    labels = torch.multinomial(torch.tensor([80.0, 15, 4, 1]), 500, True, generator=generator)
    logits = torch.randn(500, 4, generator=generator)
    logits[:, 0] += 1
    logits[torch.arange(500), labels] += 1
    evaluation = score_logits(logits, labels)
    report = class_report(evaluation, list("abcd"))
    said = logits.argmax(dim=1)
    wanted = 100 * balanced_accuracy_score(labels, said)
    assert report["balanced_accuracy"] == pytest.approx(wanted)
    assert abs(report["balanced_accuracy"] - evaluation.accuracy) > 5
    recalls = recall_score(labels, said, average=None)
    for row, recall in zip(report["classes"], recalls, strict=True):
        low, high = row["recall_interval"]
        # Wilson 1927, eq. (1): the true shares from which the seen one is 1.96 deviations away
        for end in (low / 100, high / 100):
            deviation = math.sqrt(end * (1 - end) / row["pictures"])
            assert abs(recall - end) == pytest.approx(1.959964 * deviation, rel=1e-5)


def test_what_is_told_of_the_classes() -> None:
    said = torch.tensor([0, 0, 1, 1, 0, 1])
    evaluation = score_logits(torch.eye(4)[said], torch.tensor([0, 0, 0, 1, 1, 2]))
    report = {
        "model": "m", "dataset": "d", "split": "test", "epoch": None, "n": 6, "ece": 1.0,
        "finished": None, "planned_epochs": None, "precision": "fp32",
        "accuracy": 50.0, "loss": 1.0, "accuracy_interval": [18.761, 81.239],
        "reliability": {"counts": [6]}, "confusion_picture": "a", "reliability_picture": "b",
    }  # fmt: skip
    lines = told(report | class_report(evaluation, ["a", "b", "c", "d"])).splitlines()
    assert lines[0] == "m on d (test, 6 pictures), in fp32"
    assert lines[1] == "top-1 50.00% (18.76 to 81.24), loss 1.0000 nats"
    assert lines[2].startswith("balanced accuracy 38.89%, ")
    assert lines[6].split() == ["a", "66.67%", "66.67%", "20.8", "to", "93.9", "66.67%", "3"]
    assert lines[8].split() == ["c", "-", "0.00%", "0.0", "to", "79.3", "0.00%", "1"]
    assert lines[9].split() == ["d", "-", "-", "-", "-", "0"]
    assert len({len(line) for line in lines[5:10]}) == 1
    assert "never recognised: c" in lines
    many = class_report(
        score_logits(torch.eye(12)[[0] * 12], torch.arange(12)), list("abcdefghijkl")
    )
    assert "never recognised: b, c, d, e, f, g, h, i and 3 more\n" in told(
        report | many | {"top5": 1}
    )
    right = class_report(score_logits(torch.eye(2), torch.arange(2)), ["a", "b"])
    assert "never" not in told(report | right)


def test_the_command(run, tmp_path, capsys) -> None:
    picture = tmp_path / "deep" / "matrix.pdf"
    assert main([str(run), "--device", "cpu", "--output", str(picture)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert picture.read_bytes().startswith(b"%PDF")
    summary = json.loads((run / "summary.json").read_text())["best"]
    assert captured.out.startswith("cvt_2_8 on digits (test, 360 pictures), epoch")
    low, high = accuracy_interval(summary["accuracy"], 360)
    top1 = f"top-1 {summary['accuracy']:.2f}% ({low:.2f} to {high:.2f})"
    assert f"\n{top1}, top-5 {summary['top5']:.2f}%, loss " in captured.out
    table = captured.out.split("\n\n")[1].splitlines()
    assert [line.split()[0] for line in table[1:]] == list("0123456789")
    assert sum(int(line.split()[-1]) for line in table[1:]) == 360
    beside = picture.with_name("matrix-reliability.pdf")
    assert beside.read_bytes().startswith(b"%PDF")
    assert captured.out.endswith(f"confusion matrix: {picture}\nreliability diagram: {beside}\n")
    _, evaluation = evaluate_run(run, device="cpu")
    error = calibrate(evaluation.probabilities, evaluation.labels).error
    assert f"expected calibration error {error:.2f}% in 15 bins" in captured.out


@pytest.fixture
def seen(monkeypatch) -> list[str]:
    """The precisions that pictures are shown in."""
    asked, shown = [], metrics.autocast

    def watched(device, precision):
        asked.append(precision)
        return shown(device, precision)

    monkeypatch.setattr(metrics, "autocast", watched)
    return asked


def rewritten(run: Path, name: str, **values) -> None:
    """Give a run's ``name`` other values; None takes one out."""
    content = json.loads((run / name).read_text()) | values
    content = {key: value for key, value in content.items() if value is not None}
    (run / name).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("summary", "config", "native", "expected"),
    [
        ("bf16", "auto", False, "bf16"),  # as it was, also where that is slow
        ("fp32", "auto", True, "fp32"),
        ("fp32", "bf16", True, "fp32"),
        (None, "auto", True, "bf16"),
        (None, "auto", False, "fp32"),
        (None, "bf16", True, "bf16"),
        (None, "bf16", False, "fp32"),  # nothing says that it was
        (None, "fp16", False, "fp16"),
    ],
)
def test_the_precision_of_a_run_is_its_own(
    run, tmp_path, monkeypatch, capsys, seen, summary, config, native, expected
) -> None:
    monkeypatch.setattr("compact_vit.train.machine.multiplies_bf16", lambda device: native)
    folder = shutil.copytree(run, tmp_path / "run")
    rewritten(folder, "config.json", precision=config)
    rewritten(folder, "summary.json", precision=summary)
    assert main([str(folder), "--device", "cpu"]) == 0
    assert f", in {expected}\n" in capsys.readouterr().out
    assert set(seen) == {expected}
    (folder / "summary.json").unlink()
    if summary is None:
        trained = load_model(folder)
        assert own_precision(folder, trained, "cpu") == expected


def test_the_precision_that_is_asked_for(run, capsys, caplog, monkeypatch, seen) -> None:
    monkeypatch.setattr("compact_vit.train.machine.multiplies_bf16", lambda device: False)
    answers = {}
    for precision in ("fp32", "bf16", "auto"):
        seen.clear()
        caplog.clear()
        assert main([str(run), "--device", "cpu", "--precision", precision, "--json"]) == 0
        answers[precision] = json.loads(capsys.readouterr().out)
        assert answers[precision]["precision"] == ("fp32" if precision == "auto" else precision)
        assert set(seen) == {answers[precision]["precision"]}
        slow = ["note: precision bf16: this CPU only emulates it, and fp32 would be faster"]
        assert caplog.messages == (slow if precision == "bf16" else [])
    assert answers["auto"] == answers["fp32"]
    assert answers["bf16"]["loss"] != answers["fp32"]["loss"]
    trained, _ = evaluate_run(run, device="cpu")
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        x = (load_dataset("digits").test.images / 255 - trained.mean[0]) / trained.std[0]
        # in batches, as the evaluation: the kernels' order of sums is of their size
        logits = torch.cat([trained.model(part).float() for part in x.split(64)])
    expected = score_logits(logits, load_dataset("digits").test.labels)
    assert answers["bf16"]["loss"] == pytest.approx(expected.loss)
    with pytest.raises(UsageError, match="unknown precision 'fp23': did you mean 'fp32'"):
        evaluate_run(run, precision="fp23")


def test_a_run_that_has_not_finished_says_so(run, tmp_path, capsys) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    words = [str(folder), "--checkpoint", "last", "--device", "cpu"]

    def known() -> tuple[int, int, bool]:
        assert main([*words, "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        return answer["epochs"], answer["planned_epochs"], answer["finished"]

    assert known() == (2, 2, True)
    (folder / "summary.json").unlink()
    rewritten(folder, "config.json", epochs=200)
    assert known() == (2, 200, False)
    assert main(words) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == (
        "cvt_2_8 on digits (test, 360 pictures), epoch 2 of 200, not finished, in fp32"
    )


def test_json(run, capsys) -> None:
    from sklearn.metrics import classification_report

    assert main([str(run), "--device", "cpu", "--checkpoint", "last", "--json"]) == 0
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert Path(answer["confusion_picture"]) == run / "confusion-test.png"
    assert Path(answer["reliability_picture"]) == run / "reliability-test.png"
    for name in ("confusion-test.png", "reliability-test.png"):
        assert (run / name).read_bytes().startswith(b"\x89PNG")
    assert (answer["model"], answer["dataset"], answer["split"]) == ("cvt_2_8", "digits", "test")
    assert (answer["epoch"], answer["n"]) == (2, 360)
    matrix = torch.tensor(answer["confusion"])
    assert matrix.sum() == 360
    assert answer["accuracy"] == pytest.approx(100 * matrix.trace().item() / 360)
    assert answer["accuracy_interval"] == list(accuracy_interval(answer["accuracy"], 360))
    _, evaluation = evaluate_run(run, checkpoint="last", device="cpu")
    bins = answer["reliability"]
    assert sum(bins["counts"]) == 360
    gaps = zip(bins["counts"], bins["confidences"], bins["accuracies"], strict=True)
    assert answer["ece"] == pytest.approx(sum(n / 360 * abs(c - a) for n, c, a in gaps))
    said = evaluation.probabilities.argmax(dim=1)
    wanted = classification_report(
        evaluation.labels, said, output_dict=True, zero_division=0, target_names=list("0123456789")
    )
    for row in answer["classes"]:
        reference = wanted[row["class"]]
        if row["precision"] is not None:
            assert row["precision"] == pytest.approx(100 * reference["precision"])
        assert row["recall"] == pytest.approx(100 * reference["recall"])
        assert row["f1"] == pytest.approx(100 * reference["f1-score"])
        assert row["pictures"] == reference["support"]


@pytest.fixture
def on_pictures(picture_folder, tmp_path) -> Path:
    config = TrainConfig(
        dataset="folder",
        data_dir=str(picture_folder),
        model="cvt_2_8",
        epochs=1,
        device="cpu",
    )
    train(config, output=tmp_path / "run", quiet=True)
    return tmp_path / "run"


def test_a_data_set_that_moved(on_pictures, picture_folder) -> None:
    before = evaluate_run(on_pictures, device="cpu")[1]
    moved = picture_folder.rename(picture_folder.with_name("moved"))
    with pytest.raises(UsageError, match="does not exist"):
        evaluate_run(on_pictures, device="cpu")
    after = evaluate_run(on_pictures, data_dir=str(moved), device="cpu")[1]
    assert after.figures() == before.figures()


@pytest.mark.parametrize("drawn", ["test_fraction", "val_fraction", "train_pictures"])
def test_a_part_drawn_from_pictures_that_changed(on_pictures, picture_folder, tmp_path, drawn):
    """What was held out is drawn by the files' places: it would hold what was trained on."""
    train_ = picture_folder / "train"
    config = dataclasses.replace(
        load_model(on_pictures).config, **{drawn: 12 if drawn == "train_pictures" else 0.25}
    )
    split = "test" if drawn == "test_fraction" else "train"
    if drawn == "test_fraction":
        config = dataclasses.replace(config, data_dir=str(train_))
    train(config, output=tmp_path / "drawn", quiet=True)
    before = evaluate_run(tmp_path / "drawn", split=split, device="cpu")[1].figures()
    moved = next((train_ / "red").iterdir())
    other = moved.rename(moved.with_name(f"zzz{moved.suffix}"))
    with pytest.raises(UsageError, match=f"its {split} part.*would hold some that were trained on"):
        evaluate_run(tmp_path / "drawn", split=split, device="cpu")
    if drawn != "test_fraction":  # what lies apart has no part in it
        evaluate_run(tmp_path / "drawn", device="cpu")
    other.rename(moved)
    assert evaluate_run(tmp_path / "drawn", split=split, device="cpu")[1].figures() == before


def test_other_classes_are_refused(on_pictures, picture_folder, tmp_path) -> None:
    other = tmp_path / "other"
    shutil.copytree(picture_folder, other)
    for part in ("train", "test"):
        (other / part / "red").rename(other / part / "yellow")
    with pytest.raises(
        UsageError, match="it lacks red, and of its 3 the model does not know yellow: give"
    ):
        evaluate_run(on_pictures, data_dir=str(other), device="cpu")


def test_no_validation_split(on_pictures) -> None:
    with pytest.raises(UsageError, match="no validation split"):
        evaluate_run(on_pictures, split="val", device="cpu")
    with pytest.raises(UsageError, match="unknown split 'tset': did you mean 'test'"):
        evaluate_run(on_pictures, split="tset", device="cpu")


@pytest.fixture
def exported(on_pictures, tmp_path) -> Path:
    """The folder of weights that a run on pictures was exported to."""
    card = export_run(on_pictures, tmp_path / "exported", checkpoint="last", device="cpu")
    assert card["training"]["epoch"] == 1
    return tmp_path / "exported"


def test_weights_do_as_their_run(on_pictures, exported, picture_folder, tmp_path, capsys) -> None:
    pictures = ["--data-dir", str(picture_folder), "--device", "cpu", "--precision", "fp32"]
    answers, known = [], []
    for words in ([str(on_pictures)], [str(exported), "--dataset", "folder"]):
        for split in ("test", "train"):
            assert main([*words, *pictures, "--split", split, "--json"]) == 0
            answers.append(json.loads(capsys.readouterr().out))
            picture = Path(answers[-1].pop("confusion_picture"))
            assert picture == Path(words[0]) / f"confusion-{split}.png"
            assert picture.exists()
            del answers[-1]["reliability_picture"]
            keys = ("epochs", "planned_epochs", "finished")
            known.append([answers[-1].pop(key) for key in keys])
    assert answers[:2] == answers[2:]
    assert known == [[1, 1, True]] * 2 + [[None] * 3] * 2  # of weights nothing
    assert main([str(exported), "--dataset", "folder", *pictures]) == 0
    assert capsys.readouterr().out.startswith(
        "cvt_2_8 on pictures (test, 12 pictures), epoch 1, in fp32\n"
    )


def test_weights_see_pictures_by_their_own_statistics(
    exported, picture_folder, monkeypatch
) -> None:
    """By hand, on pictures that have other ones, and weights that do not say of what epoch."""
    monkeypatch.setattr("compact_vit.train.machine.multiplies_bf16", lambda device: False)
    model = CompactTransformer.from_pretrained(exported)
    model.pretrained_cfg |= {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7)}
    model.save_pretrained(exported)
    trained, evaluation = evaluate_run(
        exported, dataset="folder", data_dir=str(picture_folder), device="cpu"
    )
    assert trained.epoch is None
    images = load_dataset("folder", data_dir=str(picture_folder), img_size=32).test.images
    mean, std = (
        torch.tensor(values).view(3, 1, 1) for values in ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    )
    with torch.no_grad():
        expected = model((images / 255 - mean) / std).softmax(dim=1)
    torch.testing.assert_close(evaluation.probabilities, expected)


def test_weights_of_the_package_by_their_name(
    exported, picture_folder, tmp_path, monkeypatch, capsys
) -> None:
    exported.rename(tmp_path / "cvt_2_8.colours")
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    words = ["cvt_2_8", "--dataset", "folder", "--data-dir", str(picture_folder)]
    assert main([*words, "--device", "cpu"]) == 0
    assert capsys.readouterr().out.endswith("diagram: reliability-test.png\n")
    assert sorted(path.name for path in Path().iterdir()) == [  # no folder that hides the name
        "confusion-test.png", "reliability-test.png",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "options"),
    [("cct2_2_3x2", {"num_heads": 4}), ("cvt_2_8", {"depth": 3, "kernel_size": 5})],
)
def test_weights_that_no_name_describes(
    name, options, picture_folder, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    pictures = {"dataset": "folder", "data_dir": str(picture_folder)}
    config = TrainConfig(model=name, model_options=options, epochs=1, device="cpu", **pictures)
    train(config, output="run", quiet=True)
    card = export_run("run", "weights", checkpoint="last", device="cpu")
    assert card["architecture"] == "CompactTransformer"
    expected = evaluate_run("run", checkpoint="last", device="cpu", precision="fp32")[1].figures()
    assert evaluate_run("weights", device="cpu", **pictures)[1].figures() == expected
    words = ["weights", "--dataset", "folder", "--data-dir", str(picture_folder)]
    assert main([*words, "--device", "cpu"]) == 0
    assert " on pictures (test, 12 pictures), epoch 1, in fp32\n" in capsys.readouterr().out


def test_names_that_are_no_weights(on_pictures, exported, tmp_path, monkeypatch) -> None:
    (tmp_path / "package").mkdir()
    exported.rename(tmp_path / "package" / "cvt_2_8.colours")
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "package")
    monkeypatch.chdir(tmp_path)
    wanted = "with dataset, run must be the folder of weights, or weights in the package "
    for given, said in (
        ("cvt_2_9", "which does not exist: did you mean 'cvt_2_8'?"),
        (Path("cvt_2_8.color"), "which does not exist: did you mean 'cvt_2_8.colours'?"),
        ("package", "a folder of something else"),
        (__file__, "a file"),
    ):
        with pytest.raises(UsageError) as caught:
            evaluate_run(given, dataset="digits", device="cpu")
        assert str(caught.value) == f"{wanted}(cvt_2_8), got '{given}', {said}"
    with pytest.raises(UsageError, match="leave it out where that is a run"):
        evaluate_run(on_pictures, dataset="digits", device="cpu")


def test_weights_that_are_not_evaluated(exported, picture_folder, tmp_path) -> None:
    def refused(said: str, **options) -> None:
        given = {"dataset": "folder", "data_dir": str(picture_folder), "device": "cpu", **options}
        with pytest.raises(UsageError, match=said) as caught:
            evaluate_run(exported, **given)
        assert "\n" not in str(caught.value)

    refused(
        "is weights and not a run: .* evaluate with --pictures FOLDER or --dataset", dataset=None
    )
    refused("checkpoint is of a run", checkpoint="last")
    refused("there is no validation split", split="val")
    refused("must be the path of a folder with train/ and test/", data_dir=None)
    refused("classes are not the model's", dataset="digits", data_dir=None)
    model = CompactTransformer.from_pretrained(exported)
    known = dict(model.pretrained_cfg)
    for change, said in (
        ({"label_names": None}, "does not name its classes"),
        ({"crop_pct": 0.9}, "want pictures bilinear, crop_pct 0.9, not as a run's"),
        ({"interpolation": "bicubic"}, "want pictures bicubic, crop_pct 1,"),
    ):
        model.pretrained_cfg = {k: v for k, v in (known | change).items() if v is not None}
        model.save_pretrained(exported)
        refused(said)
    model = CompactTransformer.from_pretrained(exported, in_chans=1)
    model.pretrained_cfg = known | {"mean": (0.5,), "std": (0.5,), "crop_pct": 1.0}
    model.save_pretrained(exported)
    refused("pictures must have 1 channels, as the model sees, got 3")
    tensors = exported / "model.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-4])
    refused("model.safetensors' is damaged")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_answer_no_numbers(run, value, tmp_path, capsys) -> None:
    damaged = tmp_path / "run"
    shutil.copytree(run, damaged)
    content = torch.load(damaged / "last.pt", weights_only=True)
    weights = content["weights"]
    weights["head.bias"][0] = value  # of one class: the argmax alone would not tell
    save_checkpoint(damaged / "last.pt", content)
    words = [str(damaged), "--checkpoint", "last", "--device", "cpu"]
    for command, more in ((main, ["--json"]), (export, ["--output", str(tmp_path / "out")])):
        assert command([*words, *more]) == 2
        captured = capsys.readouterr()
        assert (captured.out, captured.err) == (
            "",
            "error: the model's answers to 360 of 360 pictures are not finite: its weights are "
            "damaged, or overflow in this precision\n",
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_in_another_precision(run, dtype) -> None:
    trained, whole = evaluate_run(run, device="cpu")
    trained.model.to(dtype)
    cast = evaluate_pictures(trained, load_dataset("digits").test, "cpu")
    torch.testing.assert_close(cast.probabilities, whole.probabilities, atol=0.02, rtol=0)
    assert cast.probabilities.dtype == torch.float32


def test_where_no_picture_can_be_written_nothing_is_computed(
    run, capsys, monkeypatch, tmp_path
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != closed and real(path, mode))
    monkeypatch.setattr("compact_vit.evaluate.evaluate_run", lambda *args, **options: 1 / 0)
    assert main([str(run), "--output", str(closed / "new" / "a.png")]) == 2
    assert capsys.readouterr().err == (
        f"error: output '{closed}/new' cannot be written, as '{closed}' may not be written to: "
        "choose a folder that can be written to\n"
    )
    assert list(closed.iterdir()) == []


def test_pictures_without_an_answer_are_counted() -> None:
    logits = torch.zeros(1200, 3)
    assert check_finite(logits) is logits
    logits[7, 2], logits[9] = math.nan, math.inf
    with pytest.raises(UsageError, match="answers to 2 of 1,200 pictures are not finite"):
        check_finite(logits)


def test_the_run_itself_is_left_alone(run) -> None:
    trained = load_model(run)
    before = {k: v.clone() for k, v in trained.model.state_dict().items()}
    again, _ = evaluate_run(run, device="cpu")
    assert all(torch.equal(v, before[k]) for k, v in again.model.state_dict().items())
    assert dataclasses.asdict(again.config) == dataclasses.asdict(trained.config)
