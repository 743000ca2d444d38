"""What is learnt: classes, a teacher's answers, hidden pixels; and what of a run that changes."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from compact_vit import page
from compact_vit.data.augment import Normalize, RandomMask
from compact_vit.errors import Stopped, UsageError
from compact_vit.evaluate import evaluate_run
from compact_vit.layers import LabelSmoothingCrossEntropy
from compact_vit.plots import compare_curves, plot_curves
from compact_vit.predict import predict_pictures
from compact_vit.score.runs import read_runs
from compact_vit.train import epoch, load_model, objective, resume, summary as told, train
from compact_vit.train.checkpoint import load_checkpoint
from compact_vit.train.cli import main
from compact_vit.train.config import TrainConfig, with_whole_paths
from compact_vit.train.inputs import build_train_batch, load_splits
from compact_vit.train.objective import Classification, Rebuilt, Reconstruction, build_objective
from compact_vit.train.state import build_state
from compact_vit.train.step import train_step
from compact_vit.train.teacher import Statistics, Teacher, load_teacher

CPU = torch.device("cpu")


def softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits)
    return exponents / exponents.sum(axis=1, keepdims=True)


def teacher_of(model, mean=(0.5,) * 3, std=(0.2,) * 3, size=(16, 16)) -> Teacher:
    pupils = Statistics((0.5,) * 3, (0.2,) * 3)
    return Teacher(model, size, Statistics(mean, std), pupils, CPU, "fp32")


class Answering(nn.Module):
    """Always says the same, and remembers what it saw."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = x
        return self.logits


def test_the_loss_of_distillation_by_hand() -> None:
    rng = np.random.default_rng(0)
    said, wanted = rng.normal(size=(2, 5, 4))
    labels = np.array([0, 3, 1, 1, 2])
    share, temperature = 0.3, 2.5
    t, s = softmax(wanted / temperature), softmax(said / temperature)
    apart = (t * np.log(t / s)).sum(axis=1).mean()
    entropy = -np.log(softmax(said)[np.arange(5), labels]).mean()
    by_hand = (1 - share) * entropy + share * temperature**2 * apart
    teacher = teacher_of(Answering(torch.tensor(wanted, dtype=torch.float32)))
    learnt = Classification(LabelSmoothingCrossEntropy(0.0), teacher, share, temperature)
    x, outputs = torch.zeros(5, 3, 16, 16), torch.tensor(said, dtype=torch.float32)
    loss = learnt.loss(outputs, x, torch.tensor(labels))
    assert loss.item() == pytest.approx(by_hand, rel=1e-5)
    mixed = torch.full((5, 4), 0.25)
    entropy = -np.log(softmax(said)).mean()
    by_hand = (1 - share) * entropy + share * temperature**2 * apart
    assert learnt.loss(outputs, x, mixed).item() == pytest.approx(by_hand, rel=1e-5)


def test_a_teacher_sees_pictures_as_it_was_taught() -> None:
    """Normalised with its own statistics, at its own size; and it takes no gradient."""
    model = Answering(torch.zeros(1, 2))
    teacher = teacher_of(model, mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0), size=(8, 8))
    pixels = torch.rand(1, 3, 1, 1).expand(1, 3, 16, 16)
    x = ((pixels - 0.5) / 0.2).requires_grad_()
    assert not teacher(x).requires_grad
    wanted = (pixels - torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)) / torch.tensor(
        [0.5, 1.0, 2.0]
    ).view(1, 3, 1, 1)
    assert model.seen.shape == (1, 3, 8, 8)
    assert torch.allclose(model.seen, wanted[:, :, :8, :8], atol=1e-5)
    assert not model.logits.requires_grad


def test_a_teacher_evaluates() -> None:
    """Its dropout leaves nothing out, and its batch norm neither sees nor learns a batch."""
    norm = nn.BatchNorm1d(768)
    model = nn.Sequential(nn.Flatten(), norm, nn.Dropout(0.5), nn.Linear(768, 2)).train()
    teacher, x = teacher_of(model), torch.rand(4, 3, 16, 16)
    assert torch.equal(teacher(x), teacher(x))
    assert norm.num_batches_tracked == 0


def test_share_and_temperature_are_the_configurations(tiny) -> None:
    config = tiny(teacher="wise", distillation=0.3, temperature=2.5, label_smoothing=0.2)
    learnt = build_objective(config, nn.Identity(), lambda name: f"the {name} one")
    assert (learnt.teacher, learnt.share, learnt.temperature) == ("the wise one", 0.3, 2.5)
    assert learnt.criterion.smoothing == 0.2


@pytest.fixture
def wise(tiny, tmp_path):
    """The folder of a run that can be learnt from."""
    train(tiny(epochs=6), output=tmp_path / "wise", quiet=True)
    return tmp_path / "wise"


def test_learning_from_a_run(tiny, tmp_path, wise, assert_same_run) -> None:
    """By a teacher's answers alone: wrong labels do not matter, and it stays as it was."""
    before = (wise / "last.pt").read_bytes()
    config = tiny(model="cvt_2_4", teacher=wise, distillation=1.0, epochs=6, seed=1)
    splits = load_splits(config)
    state = build_state(config, splits, CPU)
    batch = build_train_batch(config, splits)
    kept = {k: v.clone() for k, v in state.objective.teacher.model.state_dict().items()}
    wrong = (splits.train.labels + 1) % 3
    losses = []
    for _ in range(12):
        x, _ = batch(splits.train.images, splits.train.labels, 0, state.augmentation)
        losses.append(float(train_step(state, config, state.model, x, wrong)[0]))
    assert losses[-1] < losses[0] / 2
    said = state.model.eval()(batch.normalize(splits.test.images)).argmax(dim=1)
    assert (said == splits.test.labels).double().mean() > 0.9
    assert all(
        torch.equal(v, kept[k]) for k, v in state.objective.teacher.model.state_dict().items()
    )
    result = train(config, output=tmp_path / "run", quiet=True)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["teacher"] == str(wise)
    assert (wise / "last.pt").read_bytes() == before
    assert result.summary["final"]["accuracy"] > 90
    interrupted = stopped_after(config, tmp_path / "again", 1)
    assert_same_run(result, resume(interrupted, quiet=True))


def test_a_teacher_that_moved(tiny, tmp_path, wise, same) -> None:
    config = tiny(model="cvt_2_4", teacher=wise)
    result = train(config, output=tmp_path / "run", quiet=True)
    interrupted = stopped_after(config, tmp_path / "again", 1)
    moved = wise.rename(tmp_path / "moved")
    with pytest.raises(UsageError, match="if it has moved, --teacher says where to, also beside"):
        resume(interrupted, quiet=True)
    again = resume(interrupted, teacher=moved, quiet=True)
    assert same(again.model.state_dict(), result.model.state_dict())
    assert json.loads((interrupted / "config.json").read_text())["teacher"] == str(moved)


def stopped_after(config: TrainConfig, folder, steps: int):
    """The folder of a run that was stopped in the middle of an epoch."""
    original, calls = epoch.train_step, []

    def counted(*args):
        calls.append(1)
        if len(calls) == steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(epoch, "train_step", counted)
        with pytest.raises(Stopped):
            train(config, output=folder, quiet=True)
    return folder


def test_teachers_that_will_not_do(tiny, tmp_path, wise, picture_folder, monkeypatch) -> None:
    def refused(said: str, **values) -> None:
        with pytest.raises(UsageError, match=said) as caught:
            train(tiny(**values), output=tmp_path / "run", quiet=True)
        assert len(str(caught.value).splitlines()) == 1
        assert not (tmp_path / "run").exists()

    refused("is not the folder of a run", teacher=tmp_path / "nobody")
    refused("distillation must be left out without a teacher", distillation=0.2)
    refused("temperature must be left out without a teacher", temperature=1.0)
    refused(r"distillation must be a number in \(0, 1\], got 0", teacher=wise, distillation=0)
    refused("temperature must be a number above 0, got 0", teacher=wise, temperature=0)
    refused("teacher must be a path, got 3", teacher=3)
    refused("unknown model 'timm/resnet_18'", teacher="timm/resnet_18")
    train(tiny(objective="mae", mask_block=8, epochs=1), output=tmp_path / "mae", quiet=True)
    refused("is pretraining, which has learnt no answers", teacher=tmp_path / "mae")
    stopped = shutil.copytree(wise, tmp_path / "stopped")
    (stopped / "summary.json").unlink()
    refused("teacher must be a run that has finished, got .* after epoch ", teacher=stopped)
    for split in ("train", "test"):
        shutil.rmtree(picture_folder / split / "red")
    refused(r"must tell the data set's 2 classes \(.*got one of 3", teacher=wise)


def test_learning_from_timm(monkeypatch, tiny) -> None:
    """Its weights cannot be fetched here; how they are asked for, and what is made of them."""
    import timm

    create, asked = timm.create_model, []

    def fetched(name, pretrained=False, **options):
        asked.append((name, pretrained))
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", fetched)
    splits = load_splits(tiny())
    with pytest.raises(UsageError, match=r"tells 1000 classes, and the data set has 3: train it"):
        load_teacher("timm/resnet10t.c3_in1k", splits, CPU, "fp32")
    assert asked == [("resnet10t.c3_in1k", True)]
    many = SimpleNamespace(mean=splits.mean, std=splits.std, classes=("a",) * 1000)
    teacher = load_teacher("timm/resnet10t.c3_in1k", many, CPU, "fp32")
    card = teacher.model.pretrained_cfg
    x = torch.randn(2, 3, 16, 16)
    assert teacher(x).shape == (2, 1000)
    seen = []
    teacher.model.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    black = -torch.tensor(splits.mean) / torch.tensor(splits.std)
    teacher(black.view(1, 3, 1, 1).expand(1, 3, 16, 16))
    wanted = -torch.tensor(card["mean"]) / torch.tensor(card["std"])
    assert seen[0].shape[1:] == card["input_size"]
    assert torch.allclose(seen[0][0, :, 5, 5], wanted, atol=1e-5)


# --- masks


def test_masks_are_for_training_alone(tiny) -> None:
    config = tiny(mask_ratio=0.5, mask_block=4, flip=0.0, auto_augment="none", crop_padding=0)
    splits = load_splits(config)
    batch, generator = build_train_batch(config, splits), torch.Generator().manual_seed(0)
    assert batch.mask == RandomMask(4, 0.5)
    x, labels = batch(splits.train.images, splits.train.labels, 0, generator)
    clean = batch.normalize(splits.train.images)
    hidden = (x == 0).all(dim=1)  # [B, H, W]
    assert hidden.flatten(1).sum(dim=1).tolist() == [128] * len(x)
    assert torch.equal(
        x[(~hidden).unsqueeze(1).expand_as(x)], clean[(~hidden).unsqueeze(1).expand_as(x)]
    )
    assert torch.equal(labels, splits.train.labels)
    assert build_train_batch(tiny(), splits).mask is None
    assert build_train_batch(tiny(objective="mae", mask_block=8), splits).mask is None


def test_what_is_masked_stays_masked(tiny) -> None:
    """Erasing, whose noise would show, comes before."""
    config = tiny(erasing=1.0, mask_ratio=0.5, mask_block=4, flip=0.0, crop_padding=0)
    splits, generator = load_splits(config), torch.Generator().manual_seed(0)
    x, _ = build_train_batch(config, splits)(splits.train.images, splits.train.labels, 0, generator)
    assert ((x == 0).all(dim=1).flatten(1).sum(dim=1) >= 128).all()


# --- masked autoencoders


@pytest.fixture
def masked(tiny):
    """The configuration of a pretraining with all that may move."""

    def configured(**values) -> TrainConfig:
        base = {"objective": "mae", "mask_block": 8, "ema": 0.9, "clip_grad": 1.0}
        return tiny(**base | {"auto_augment": "cifar10", "drop_path": 0.2} | values)

    return configured


def test_a_pretraining_and_what_follows(masked, tiny, tmp_path, capsys, drawing) -> None:
    result = train(masked(epochs=12, lr=5e-3, ema=0.0), output=tmp_path / "mae", quiet=True)
    losses = [row["test_loss"] for row in result.history]
    assert losses[-1] < losses[0]
    assert not any("accuracy" in name for row in result.history for name in row)
    summary = result.summary
    assert (summary["objective"], summary["score"]) == ("mae", None)
    assert summary["final"] == {"split": "test", "n": 12, "epoch": 12, "loss": losses[-1]}
    assert summary["best"] == {**summary["final"], "picked_on": None}
    assert not (tmp_path / "mae" / "report.html").exists()
    assert (tmp_path / "mae" / "rebuilt.png").read_bytes().startswith(b"\x89PNG")
    drawing(tmp_path / "curves.png", result.history, result.config)
    assert [axes.get_ylabel() for axes in plot_curves(result.history).axes] == ["squared error"]

    tuned = tiny(init_from=tmp_path / "mae", epochs=1, seed=4)
    run = train(tuned, output=tmp_path / "tuned")
    assert "its pretraining, so with a new pooling and head" in capsys.readouterr().err
    state = build_state(tuned, load_splits(tuned), CPU)
    fresh = {k: v.clone() for k, v in state.model.state_dict().items()}
    from compact_vit.train.start import start_from

    start_from(state, TrainConfig(init_from=str(tmp_path / "mae")))
    learnt = result.model.state_dict()
    for name, value in state.model.state_dict().items():
        own = name.startswith(("head.", "pool."))
        assert torch.equal(value, fresh[name] if own else learnt[name]), name
    assert not torch.equal(fresh["blocks.0.norm1.weight"], learnt["blocks.0.norm1.weight"])
    assert (run.summary["objective"], run.summary["score"]["floor"]) == ("classify", 70)
    assert main(["--resume", str(tmp_path / "mae")]) == 0
    assert f"squared error {losses[-1]:.4f} of hidden pixels" in capsys.readouterr().out


def test_what_was_seen_stands_above_what_was_told(tiny, monkeypatch) -> None:
    splits, figures = load_splits(tiny()), []
    monkeypatch.setattr(told, "save_figure", lambda figure, path: figures.append(figure))
    images, normalize = splits.test.images[:2], Normalize(splits.mean, splits.std)
    rows = images, images // 2, 255 - images
    rebuilt = Rebuilt(2, 0.5, *map(normalize, rows[1:]))
    told.write_rebuilt(Path("rebuilt.png"), splits, splits.test, rebuilt)
    panels = figures[0].axes
    assert [axes.texts[0].get_text() for axes in panels[::2]] == ["original", "seen", "told"]
    for axes, wanted in zip(panels, torch.cat(rows), strict=True):
        drawn = torch.as_tensor(axes.images[0].get_array().data)
        assert torch.equal(drawn, wanted.permute(1, 2, 0))


def test_a_pretraining_goes_on_as_if_never_stopped(masked, tmp_path, assert_same_run) -> None:
    config = masked(epochs=3)
    whole = train(config, output=tmp_path / "whole", quiet=True)
    stopped = stopped_after(config, tmp_path / "stopped", 4)
    assert load_checkpoint(stopped / "last.pt")["training"]["unfinished"] is not None
    assert_same_run(whole, resume(stopped, quiet=True))


def test_a_batch_in_parts_hides_the_same(masked, tmp_path) -> None:
    runs = [
        train(
            masked(epochs=1, drop_path=0.0, accumulation=parts, ema=0.0),
            output=tmp_path / str(parts), quiet=True,
        )
        for parts in (1, 3)
    ]  # fmt: skip
    assert runs[0].history[0]["train_loss"] == pytest.approx(
        runs[1].history[0]["train_loss"], rel=1e-5
    )
    assert runs[0].history[0]["test_loss"] == pytest.approx(
        runs[1].history[0]["test_loss"], rel=1e-3
    )


def test_what_answers_alone_does_not_learn_without(masked) -> None:
    config = masked()
    splits = load_splits(config)
    state = build_state(config, splits, CPU)
    assert isinstance(state.objective, Reconstruction)
    before = {k: v.clone() for k, v in state.module.state_dict().items()}
    batch = build_train_batch(config, splits)
    x, labels = batch(splits.train.images, splits.train.labels, 0, state.augmentation)
    hidden = state.objective.targets(x, labels, state.augmentation)
    assert hidden.sum(dim=1).tolist() == [3] * len(x)  # 0.75 of four blocks
    figures = train_step(state, config, state.module.train(), x, hidden)
    assert figures[1] == 0
    same = {k for k, v in state.module.state_dict().items() if torch.equal(v, before[k])}
    frozen = {k for k in before if k.startswith(("encoder.head.", "encoder.pool."))}
    assert frozen <= same
    assert same - frozen <= {"decoder_positions.table"}


def test_evaluations_of_a_pretraining_hide_the_same_blocks(masked) -> None:
    config = masked()
    splits = load_splits(config)
    state = build_state(config, splits, CPU)
    from compact_vit.train.metrics import Evaluating

    normalize = build_train_batch(config, splits).normalize
    wholes = [
        state.objective.evaluate(
            state.module, splits.train, Evaluating(normalize, CPU, batch_size=size)
        )
        for size in (36, 36, 5)
    ]
    assert wholes[0].loss == wholes[1].loss
    assert wholes[0].loss == pytest.approx(wholes[2].loss, rel=1e-5)
    assert wholes[0].n == 36


def test_a_pretraining_answers_nothing(masked, tmp_path, capsys) -> None:
    train(masked(epochs=1), output=tmp_path / "mae", quiet=True)
    for ask in (load_model, evaluate_run, lambda run: predict_pictures(run, ["x.png"])):
        with pytest.raises(UsageError, match="is pretraining, which has learnt no answers"):
            ask(tmp_path / "mae")
    assert page.main([str(tmp_path / "mae")]) == 2
    assert "is pretraining, which has learnt no answers" in capsys.readouterr().err
    with pytest.raises(UsageError, match="is pretraining: it has learnt no answers"):
        read_runs([tmp_path / "mae"])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model": "rn_1"}, "objective must be 'classify' with model 'rn_1', got 'mae'"),
        ({"mixup": 0.2}, "mixup must be 0.0 with objective 'mae', which has no answers, got 0.2"),
        ({"early_stopping": 3, "val_fraction": 0.2}, "early_stopping must be 0 with objective"),
        ({"teacher": "run"}, "teacher must be None with objective 'mae'"),
        ({"mask_ratio": 0.0}, "mask_ratio must be above 0 with objective 'mae', got 0"),
        ({"mask_ratio": 1.0}, r"mask_ratio must be a number in \[0, 1\), got 1.0"),
        ({"mask_block": 0}, "mask_block must be a whole number of at least 1, got 0"),
        ({"objective": "maw"}, "unknown objective 'maw': did you mean 'mae'"),
    ],
)
def test_pretrainings_that_are_refused(values, said) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        TrainConfig(**{"objective": "mae"} | values)
    assert len(str(caught.value).splitlines()) == 1


def test_blocks_that_do_not_fit_are_refused_before_anything_is_written(masked, tmp_path) -> None:
    with pytest.raises(UsageError, match="mask_block must divide the 16x16 pixels"):
        train(masked(mask_block=5), output=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


# --- what a run reports on, and to whom


def test_a_run_that_reports_on_validation_never_sees_the_test_set(
    tiny, tmp_path, monkeypatch, assert_same_run
) -> None:
    seen, evaluate = [], objective.evaluate_model

    def watched(model, pictures, *args):
        seen.append(len(pictures))
        return evaluate(model, pictures, *args)

    monkeypatch.setattr(objective, "evaluate_model", watched)
    config = tiny(val_fraction=0.25, report_on="val")
    result = train(config, output=tmp_path / "run", quiet=True)
    assert set(seen) == {9}  # the test split has 12
    final, best = result.summary["final"], result.summary["best"]
    assert (final["split"], final["n"], best["split"]) == ("val", 9, "val")
    assert final["accuracy"] == result.history[-1]["val_accuracy"]
    assert best["accuracy"] == best["val_accuracy"]
    text = (tmp_path / "run" / "report.html").read_text()
    assert page.run_page(tmp_path / "run", device="cpu") == text.rstrip("\n")
    with pytest.raises(UsageError, match="report_on must not be 'val' without a validation split"):
        train(tiny(report_on="val"), output=tmp_path / "other", quiet=True)


def test_who_asks_hears_of_every_epoch_once_it_is_saved(tiny, tmp_path, timeless) -> None:
    heard = []

    def listen(row) -> None:
        assert load_checkpoint(tmp_path / "run" / "last.pt")["epoch"] == row["epoch"]
        heard.append(row)
        if len(heard) == 2:
            raise LookupError("enough")

    config = tiny(epochs=3)
    with pytest.raises(LookupError, match="enough"):
        train(config, output=tmp_path / "run", quiet=True, on_epoch=listen)
    result = resume(tmp_path / "run", quiet=True, on_epoch=listen)
    assert [row["epoch"] for row in heard] == [1, 2, 3]
    assert heard == result.history
    whole = train(config, output=tmp_path / "whole", quiet=True)
    assert timeless(whole.history) == timeless(heard)
    assert math.isfinite(heard[0]["train_loss"])


def test_curves_of_a_pretraining_can_be_drawn(masked, tmp_path, capsys) -> None:
    from compact_vit.plot.cli import main as plot

    train(masked(epochs=1), output=tmp_path / "mae", quiet=True)
    assert plot(["curves", str(tmp_path / "mae"), "--output", str(tmp_path / "c.png")]) == 0
    assert (tmp_path / "c.png").exists()
    both = [{"epoch": 1, "train_loss": 1.0, "test_loss": 1.0}]
    classified = [{**both[0], "train_accuracy": 1.0, "test_accuracy": 1.0}]
    figure = compare_curves({"mae": both, "classified": classified})
    assert [axes.get_ylabel() for axes in figure.axes] == ["test loss"]


@pytest.mark.parametrize(
    ("model", "block"), [("cct_2_3x3", 8), ("cct_2_3x2", 4), ("cvt_7_8", 8), ("cct_6_3x1", 4)]
)
def test_a_block_is_a_token_at_least(model, block) -> None:
    config = TrainConfig(dataset="cifar10", model=model, objective="mae")
    assert config.mask_block == block
    assert TrainConfig(dataset="cifar10", model=model).mask_block == 4


def test_a_mask_that_hides_everything_is_refused(tiny) -> None:
    with pytest.raises(UsageError, match=r"mask_block must be less than .* longer side \(16\)"):
        tiny(mask_ratio=0.5, mask_block=16)


def test_other_statistics_are_another_run(tiny, tmp_path) -> None:
    """As those of timm's weights, which a run of an older version did not take."""
    import dataclasses

    from compact_vit.train import inputs

    config = tiny(epochs=2)
    stopped = stopped_after(config, tmp_path / "run", 1)
    load = inputs.load_splits

    def other(config):
        splits = load(config)
        return dataclasses.replace(splits, std=tuple(2 * s for s in splits.std))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "load_splits", other)
        with pytest.raises(
            UsageError, match=r"have changed since '.*run' was trained: their mean or"
        ):
            resume(stopped, quiet=True)
    resume(stopped, quiet=True)


def test_paths_lead_from_anywhere(tiny, tmp_path, monkeypatch) -> None:
    """A folder may be called timm too; a teacher of timm's is no path."""
    monkeypatch.chdir(tmp_path)
    config = with_whole_paths(
        tiny(init_from="timm/run", data_dir="timm/pictures", teacher="timm/resnet18")
    )
    assert config.init_from == str(tmp_path / "timm" / "run")
    assert config.data_dir == str(tmp_path / "timm" / "pictures")
    assert config.teacher == "timm/resnet18"
    options = {"pretrained": "w.pth", "head": (8,)}
    config = with_whole_paths(tiny(model="timm/resnet18", model_options=options))
    assert config.model_options == {"pretrained": str(tmp_path / "w.pth"), "head": (8,)}
