"""Learning a few pictures by heart: which ones, what is switched off, and how it ends."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from compact_vit.data import prefetch
from compact_vit.errors import UsageError
from compact_vit.evaluate import evaluate_run, main as evaluate
from compact_vit.train import load_model, objective, resume, train
from compact_vit.train.cli import main
from compact_vit.train.config import TrainConfig
from compact_vit.train.inputs import build_train_batch, load_splits
from compact_vit.train.recipes import RECIPES


def test_the_pictures_are_a_balanced_draw_of_the_training_set(tiny) -> None:
    whole = load_splits(tiny())
    splits = load_splits(tiny(overfit=11))
    assert splits.val is None
    assert splits.train is splits.test
    assert sorted(splits.train.labels.bincount().tolist()) == [3, 4, 4]
    pictures = {
        bytes(image.numpy().tobytes()): int(label)
        for image, label in zip(whole.train.images, whole.train.labels, strict=True)
    }
    assert len(pictures) == 36
    chosen = [bytes(image.numpy().tobytes()) for image in splits.train.images]
    assert len(set(chosen)) == 11
    assert [pictures[picture] for picture in chosen] == splits.train.labels.tolist()
    assert (splits.mean, splits.std) == (whole.mean, whole.std)
    fewer = load_splits(tiny(overfit=5))
    assert torch.equal(fewer.train.images, splits.train.images[:5])
    other = load_splits(tiny(overfit=11, seed=1))
    assert not torch.equal(other.train.images, splits.train.images)
    assert len(load_splits(tiny(overfit=36)).train) == 36
    with pytest.raises(UsageError, match="at most the 36 training pictures, got 37"):
        load_splits(tiny(overfit=37))


def test_a_part_of_the_training_set(tiny) -> None:
    """Balanced, the same pictures for the same seed, and validation is held out of it."""
    whole, part = load_splits(tiny()), load_splits(tiny(train_pictures=12))
    assert part.train.labels.bincount().tolist() == [4, 4, 4]
    assert torch.equal(part.test.images, whole.test.images)
    overfit = load_splits(tiny(overfit=12))
    assert torch.equal(part.train.images, overfit.train.images)
    held = load_splits(tiny(train_pictures=12, val_fraction=0.25))
    assert (len(held.train), len(held.val)) == (9, 3)
    both = {bytes(i.numpy().tobytes()) for i in (*held.train.images, *held.val.images)}
    assert both == {bytes(image.numpy().tobytes()) for image in part.train.images}
    with pytest.raises(UsageError, match=r"train_pictures must be at most the 36 .* got 37"):
        load_splits(tiny(train_pictures=37))


@pytest.mark.parametrize("values", [{"val_fraction": 0.25}, {"train_pictures": 12}])
def test_a_part_of_a_set_too_large_to_copy_trains_the_same(
    tiny, tmp_path, monkeypatch, values
) -> None:
    config = tiny(epochs=1, **values)
    whole = load_splits(tiny()).train.images
    copied = train(config, output=tmp_path / "copied", quiet=True)
    monkeypatch.setattr(prefetch, "machine_memory", lambda: whole.nbytes)
    part = load_splits(config).train
    assert part.images.shape == whole.shape
    assert len(part) == {"val_fraction": 27, "train_pictures": 12}[next(iter(values))]
    read = train(config, output=tmp_path / "read", quiet=True)
    _, seen = evaluate_run(tmp_path / "read", split="train")
    monkeypatch.setattr(prefetch, "machine_memory", lambda: None)
    _, told = evaluate_run(tmp_path / "copied", split="train")
    assert (seen.n, seen.loss) == (told.n, told.loss)
    assert torch.equal(seen.labels, told.labels)
    for name, value in copied.model.state_dict().items():
        assert torch.equal(value, read.model.state_dict()[name]), name


@pytest.mark.parametrize("recipe", RECIPES)
def test_nothing_keeps_the_model_from_it(recipe) -> None:
    config = TrainConfig(dataset="cifar10", recipe=recipe, overfit=20)
    for name in (
        "dropout",
        "attention_dropout",
        "drop_path",
        "label_smoothing",
        "weight_decay",
        "mixup",
        "cutmix",
        "erasing",
        "flip",
        "crop_padding",
        "ema",
        "val_fraction",
    ):
        assert getattr(config, name) == 0, name
    assert (config.auto_augment, config.min_crop_area, config.epochs) == ("none", 1.0, 100)
    taken = (config.optimizer, config.lr, config.batch_size)
    assert taken == ("adamw", 2e-3, 20)  # not the recipe's
    x = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
    splits = dataclasses.make_dataclass("Splits", ("mean", "std", "classes"))
    batch = build_train_batch(config, splits((0.0,) * 3, (1.0,) * 3, ("a", "b")))
    shown, labels = batch(x, torch.arange(4), 0, torch.Generator())
    assert torch.allclose(shown, x / 255)
    assert labels.tolist() == [0, 1, 2, 3]
    chosen = TrainConfig(overfit=20, lr=1e-4, epochs=7, batch_size=5, clip_grad=3.0, dropout=0.0)
    assert (chosen.lr, chosen.epochs, chosen.batch_size, chosen.clip_grad) == (1e-4, 7, 5, 3.0)


@pytest.mark.parametrize(
    "values",
    [{"dropout": 0.1}, {"auto_augment": "rand"}, {"mixup": 0.5}, {"val_fraction": 0.2},
     {"early_stopping": 3}, {"weight_decay": 0.1}, {"ema": 0.9}, {"min_crop_area": 0.5},
     {"mask_ratio": 0.5}],
)  # fmt: skip
def test_what_was_asked_for_otherwise_is_refused(values) -> None:
    ((name, value),) = values.items()
    with pytest.raises(UsageError, match=f"^{name} must be .* with overfit, which learns by "):
        TrainConfig(overfit=20, **values)
    assert getattr(TrainConfig(**({"val_fraction": 0.1} | values)), name) == value


def test_there_is_no_plateau_to_see(tiny) -> None:
    with pytest.raises(UsageError, match="schedule must not be 'plateau' with overfit, which hold"):
        tiny(overfit=20, schedule="plateau")


def test_it_ends_when_every_picture_is_learnt(tiny, tmp_path, capsys, picture_folder) -> None:
    words = ["--dataset", "folder", "--data-dir", str(picture_folder), "--model", "cvt_2_8",
             "--img-size", "16", "--overfit", "12", "--lr", "3e-3", "--device", "cpu",
             "--output", str(tmp_path / "run")]  # fmt: skip
    assert main(words) == 0
    told = capsys.readouterr()
    assert evaluate([str(tmp_path / "run"), "--device", "cpu"]) == 0
    assert "(train, 12 pictures)" in capsys.readouterr().out
    drawn = {path.name for path in (tmp_path / "run").glob("*-t*.png")}
    assert drawn == {"confusion-train.png", "reliability-train.png"}
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    epoch = len(rows)
    assert epoch < 100
    assert not [name for name in rows[0] if name.startswith("test")]
    assert [row["learnt_accuracy"] == 100 for row in rows] == [False] * (epoch - 1) + [True]
    assert summary["overfit"] == {"pictures": 12, "learnt_in_epoch": epoch}
    assert (summary["final"]["epoch"], summary["final"]["split"]) == (epoch, "train")
    assert summary["stopped_early"] is True
    assert told.out.splitlines()[0] == f"all 12 pictures are learnt by heart in epoch {epoch}"
    assert "test accuracy" not in told.out
    assert "score" not in told.out
    for checkpoint in ("last", "best"):
        assert load_model(tmp_path / "run", checkpoint).epoch == epoch
    assert evaluate_run(tmp_path / "run", device="cpu")[1].n == 12
    assert main(["--resume", str(tmp_path / "run")]) == 0
    told = capsys.readouterr()
    assert f"all 12 pictures are learnt by heart in epoch {epoch}: nothing is left" in told.err
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == summary


def test_it_says_when_it_was_not_learnt(tiny, tmp_path, monkeypatch, capsys) -> None:
    evaluate = objective.evaluate_model
    monkeypatch.setattr(
        objective, "evaluate_model",
        lambda *a, **o: dataclasses.replace(evaluate(*a, **o), accuracy=91.5),
    )  # fmt: skip
    result = train(tiny(overfit=12, epochs=3), output=tmp_path / "run", quiet=True)
    assert len(result.history) == 3
    assert result.summary["overfit"] == {"pictures": 12, "learnt_in_epoch": None}
    assert result.summary["stopped_early"] is False
    assert resume(tmp_path / "run", quiet=True).summary == result.summary
    capsys.readouterr()
    assert main(["--resume", str(tmp_path / "run"), "--quiet"]) == 0
    said = "91.50% of the 12 pictures learnt by heart after 3 epochs: try more, or another lr"
    assert capsys.readouterr().out.splitlines()[0] == said
