"""A run on a folder of pictures: what it computes, what it writes, what it looks at."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from compact_vit.data.augment import (
    AutoAugment,
    Mix,
    RandAugment,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomMask,
    RandomResizedCrop,
)
from compact_vit.errors import UsageError
from compact_vit.evaluate import evaluate_run
from compact_vit.predict import predict_pictures
from compact_vit.train import estimate, load_model, loop, objective, resume, train
from compact_vit.train.config import TrainConfig
from compact_vit.train.distributed import Processes
from compact_vit.train.inputs import build_train_batch, load_splits
from compact_vit.train.run import RunFolder
from compact_vit.train.state import build_state
from compact_vit.train.step import train_step

CPU = torch.device("cpu")
STILL = {"dropout": 0.0, "attention_dropout": 0.0, "drop_path": 0.0}


@pytest.fixture
def gradients():
    """The norm of all gradients, as every optimiser step found them."""
    norms = []

    def look(optimizer, args, kwargs) -> None:
        every = [p.grad for group in optimizer.param_groups for p in group["params"]]
        squares = [g.square().sum() for g in every if g is not None]
        norms.append(float(torch.stack(squares).sum().sqrt()))

    hook = register_optimizer_step_pre_hook(look)
    yield norms
    hook.remove()


def first_batch(config: TrainConfig):
    """The model, pictures and targets of a run's first step, rebuilt from its parts."""
    splits = load_splits(config)
    state = build_state(config, splits, CPU)
    images, labels = next(iter(state.loader))
    state.reseed()
    x, targets = build_train_batch(config, splits)(images, labels, 0, state.augmentation)
    return state.model, x, targets


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_the_model_of_a_run_knows_its_pictures(tiny, tmp_path, picture_folder, ema) -> None:
    result = train(tiny(ema=ema), output=tmp_path / "run", quiet=True)
    path = next((picture_folder / "test" / "red").iterdir())
    trained = load_model(tmp_path / "run")
    assert predict_pictures(result.model, [path]) == predict_pictures(trained, [path])
    assert result.model.transforms().mean == trained.mean
    again = resume(tmp_path / "run", quiet=True)  # which has finished
    assert predict_pictures(again.model, [path]) == predict_pictures(trained, [path])


@pytest.mark.parametrize("mix", [{}, {"mixup": 0.8}, {"mixup": 0.8, "cutmix": 1.0}])
def test_the_loss_is_the_smoothed_cross_entropy(everything, tmp_path, mix) -> None:
    values = {"mixup": 0.0, "cutmix": 0.0, "epochs": 1, "batch_size": 36} | STILL | mix
    config = everything(label_smoothing=0.2, **values)
    model, x, targets = first_batch(config)
    with torch.no_grad():
        logits = model(x).double()
    if mix:
        assert targets.shape == (36, 3)
        assert ((targets > 0).sum(dim=1) == 2).any()
        given = targets.double()
    else:
        given = torch.nn.functional.one_hot(targets, 3).double()
    assert torch.allclose(given.sum(dim=1), torch.ones(36).double())
    wanted = 0.8 * given + 0.2 / 3
    likelihoods = logits - logits.exp().sum(dim=1, keepdim=True).log()
    loss = -(wanted * likelihoods).sum(dim=1).mean().item()
    right = (logits.argmax(dim=1) == given.argmax(dim=1)).double().mean().item()

    row = train(config, output=tmp_path / "run", quiet=True).history[0]
    assert row["train_loss"] == pytest.approx(loss, rel=1e-5)
    assert row["train_accuracy"] == pytest.approx(100 * right)


def test_an_epoch_counts_every_picture_alike(tiny, tmp_path) -> None:
    """Two steps that hardly move anything: the loss is that of all pictures at once."""
    values = {"epochs": 1, "lr": 1e-12, "min_lr": 0.0, "warmup_lr": 0.0, "crop_padding": 0}
    values |= {"flip": 0.0, "label_smoothing": 0.0, "clip_grad": 0.0} | STILL
    for batch_size, accumulation in ((36, 1), (18, 1), (36, 5), (12, 4)):
        config = tiny(batch_size=batch_size, accumulation=accumulation, **values)
        output = tmp_path / f"{batch_size}-{accumulation}"
        row = train(config, output=output, quiet=True).history[0]
        evaluation = evaluate_run(output, split="train", device="cpu")[1]
        assert row["train_loss"] == pytest.approx(evaluation.loss, rel=1e-5)
        assert row["train_accuracy"] == pytest.approx(evaluation.accuracy)


def test_every_choice_reaches_the_augmentation(tiny) -> None:
    config = tiny(
        crop_padding=3, min_crop_area=0.7, flip=0.3, auto_augment="rand", rand_num_ops=3,
        rand_magnitude=7.5, rand_magnitude_std=0.25, erasing=0.15, mask_ratio=0.5, mask_block=8,
        mixup=0.4, cutmix=0.6, mix_switch=0.7,
    )  # fmt: skip
    splits = load_splits(config)
    batch = build_train_batch(config, splits)
    crops = RandomCrop(3), RandomResizedCrop(scale=(0.7, 1.0))
    policy = RandAugment(3, 7.5, 0.25)
    assert batch.augment.transforms == (*crops, RandomHorizontalFlip(0.3), policy)
    assert (batch.erase, batch.mask) == (RandomErasing(0.15), RandomMask(8, 0.5))
    assert batch.mix == Mix(3, mixup_alpha=0.4, cutmix_alpha=0.6, switch_prob=0.7)
    for name in ("cifar10", "svhn", "imagenet"):
        augment = build_train_batch(tiny(auto_augment=name), splits).augment
        assert augment.transforms[-1] == AutoAugment(name)


def test_a_mixed_batch_until_it_is_off(everything) -> None:
    config = everything(mix_off_epoch=2)
    splits = load_splits(config)
    batch, generator = build_train_batch(config, splits), torch.Generator().manual_seed(0)
    images, labels = splits.train.images[::4], splits.train.labels[::4]
    mixed = [batch(images, labels, epoch, generator)[1].ndim == 2 for epoch in range(4)]
    assert mixed == [True, True, False, False]
    always = build_train_batch(everything(mix_off_epoch=0), splits)
    assert always(images, labels, 9, generator)[1].ndim == 2


@pytest.mark.parametrize("accumulation", [2, 4, 5])
def test_accumulation_changes_nothing_but_memory(tiny, tmp_path, gradients, accumulation) -> None:
    plain = tiny(**STILL, mixup=0.8)
    parts = dataclasses.replace(plain, accumulation=accumulation)
    one = train(plain, output=tmp_path / "one", quiet=True)
    norms = gradients.copy()
    gradients.clear()
    other = train(parts, output=tmp_path / "other", quiet=True)
    assert gradients == pytest.approx(norms, rel=1e-3)
    assert len(norms) == 2 * 3  # one step a batch, however it is computed
    assert other.history[0]["train_loss"] == pytest.approx(one.history[0]["train_loss"], rel=1e-3)
    for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-3)  # Adam divides small gradients by themselves


@pytest.mark.parametrize("values", [{}, {"objective": "mae", "mask_block": 8}])
def test_gradients_are_clipped(tiny, tmp_path, gradients, values) -> None:
    """All together: those of a pretraining's decoder too."""
    train(tiny(clip_grad=0.0, **values), output=tmp_path / "free", quiet=True)
    free = gradients.copy()
    gradients.clear()
    train(tiny(clip_grad=min(free) / 2, **values), output=tmp_path / "clipped", quiet=True)
    assert gradients == pytest.approx([min(free) / 2] * 6, rel=1e-3)


def test_averaged_weights_are_the_hand_computed_ones(tiny, tmp_path, monkeypatch) -> None:
    from compact_vit.train import step

    steps = []
    update = step._follow

    def watched(ema, model, decay) -> None:
        steps.append([p.detach().clone().double() for p in model.parameters()])
        update(ema, model, decay)

    monkeypatch.setattr(step, "_follow", watched)
    result = train(tiny(ema=0.3, lr=1e-2), output=tmp_path / "run", quiet=True)
    assert len(steps) == 6
    average = steps[0]
    for taken, weights in enumerate(steps[1:], 1):
        kept = min(0.3, (1 + taken) / (10 + taken))  # the decay rises to its value
        average = [kept * a + (1 - kept) * w for a, w in zip(average, weights, strict=True)]
    for model in (result.model, load_model(tmp_path / "run", "last").model):
        for got, wanted in zip(model.parameters(), average, strict=True):
            assert torch.allclose(got.double(), wanted, atol=1e-6)
    # the figures of the run are those of the averaged weights
    figures = evaluate_run(tmp_path / "run", device="cpu")[1].figures()
    assert {k: result.summary["final"][k] for k in figures} == figures
    moved = zip(average, steps[-1], strict=True)
    assert not all(torch.allclose(a, w, atol=1e-4) for a, w in moved)


def test_the_same_seed_is_the_same_run(everything, tmp_path, timeless, same) -> None:
    runs = [
        train(everything(epochs=2, seed=seed), output=tmp_path / str(i), quiet=True)
        for i, seed in enumerate((5, 5, 6))
    ]
    one, two, other = (run.model.state_dict() for run in runs)
    assert same(one, two)
    assert timeless(runs[0].history) == timeless(runs[1].history)
    assert not same(one, other)
    assert timeless(runs[0].history) != timeless(runs[2].history)


def test_weights_order_and_draws_are_of_the_seed(tiny) -> None:
    splits, seen = load_splits(tiny()), []
    for seed in (0, 1):
        state = build_state(tiny(seed=seed), splits, CPU)
        state.reseed()
        drawn = torch.rand(9), torch.rand(9, generator=state.augmentation)
        epochs = [torch.cat([images for images, _ in state.loader]) for _ in range(2)]
        assert not torch.equal(*epochs)  # each has an order of its own
        seen.append((state.model.head.weight, epochs[0], *drawn))
    assert not any(map(torch.equal, *seen))


def test_the_folder_holds_all_there_is_to_know(tiny, tmp_path, monkeypatch, drawing) -> None:
    monkeypatch.setattr(loop, "write_curves", drawing)
    config = tiny(seed=3, precision="fp32")
    result = train(config, output=tmp_path / "run", quiet=True)
    names = {"config.json", "metrics.jsonl", "summary.json", "curves.png", "report.html"}
    names |= {"last.pt", "last.previous.pt", "best.pt"}
    assert {path.name for path in result.output.iterdir()} == names
    assert RunFolder.open(result.output).config() == config
    rows = [json.loads(line) for line in (result.output / "metrics.jsonl").open()]
    assert rows == result.history
    assert [row["epoch"] for row in rows] == [1, 2]
    for row in rows:
        assert set(row) == {
            "epoch", "lr", "train_loss", "train_accuracy", "test_loss", "test_accuracy",
            "test_top5", "pictures_per_second", "seconds",
        }  # fmt: skip
        # 36 pictures; the epoch's seconds have its evaluation too
        assert row["pictures_per_second"] * row["seconds"] > 36
    assert (result.output / "curves.png").read_bytes().startswith(b"\x89PNG")

    summary = json.loads((result.output / "summary.json").read_text())
    assert summary == result.summary
    last = rows[-1]
    assert summary["final"] == {
        "split": "test",
        "n": 12,
        "epoch": 2,
        "loss": last["test_loss"],
        "accuracy": last["test_accuracy"],
        "top5": 100.0,  # there are three classes
    }
    assert summary["best"] == {**summary["final"], "picked_on": None}
    count = sum(p.numel() for p in result.model.parameters())
    assert summary["parameters"] == count
    assert summary["parameters_without_positions"] == count - 4 * 128
    assert summary["macs"] > summary["macs_without_attention"] > 0
    assert (summary["seed"], summary["train_pictures"], summary["num_classes"]) == (3, 36, 3)
    assert (summary["img_size"], summary["epochs"]) == ([16, 16], 2)
    assert summary["versions"]["torch"] == torch.__version__
    assert summary["hardware"]
    assert summary["seconds"] == pytest.approx(sum(row["seconds"] for row in rows))


def test_the_score_of_a_run(tiny, tmp_path, monkeypatch) -> None:
    """Points above 70% per million parameters without positions, of the last epoch."""
    evaluate = objective.evaluate_model
    monkeypatch.setattr(
        objective,
        "evaluate_model",
        lambda *a, **k: dataclasses.replace(evaluate(*a, **k), accuracy=75.0),
    )
    summary = train(tiny(epochs=1), output=tmp_path / "run", quiet=True).summary
    millions = summary["parameters_without_positions"] / 1e6
    assert summary["score"]["value"] == pytest.approx(100 * 5 / millions, rel=1e-3)
    assert summary["score"]["floor"] == 70


def test_rate_and_speed_of_an_epoch_by_hand(tiny, tmp_path, steps_of) -> None:
    """An epoch is a step of 25 of the 36 pictures."""
    steps_of(5.0, 10.0, 20.0)
    config = tiny(
        epochs=3, batch_size=25, lr=1e-2, min_lr=0.0, warmup_ratio=0.0, schedule="step",
        decay_epochs=1, decay_rate=0.1,
    )  # fmt: skip
    result = train(config, output=tmp_path / "run", quiet=True)
    assert [row["lr"] for row in result.history] == pytest.approx([1e-2, 1e-3, 1e-4])
    assert [row["pictures_per_second"] for row in result.history] == [5.0, 2.5, 1.25]
    assert result.summary["pictures_per_second"] == pytest.approx(75 / 35)


def test_an_epoch_lasts_until_its_device_has_done_it(tiny, tmp_path, monkeypatch, steps_of) -> None:
    """A GPU is given three steps in 3 s, and whoever asks for their sums waits another 6 s."""
    clock, gather = steps_of(1.0, 1.0, 1.0), Processes.gather

    def waiting(self: Processes, rows: torch.Tensor) -> torch.Tensor:
        clock.now += 6.0
        return gather(self, rows)

    monkeypatch.setattr(Processes, "gather", waiting)
    row = train(tiny(epochs=1), output=tmp_path / "run", quiet=True).history[0]
    assert row["pictures_per_second"] == 36 / 9


def test_a_batch_is_never_larger_than_the_data(tiny, tmp_path, steps_of) -> None:
    steps_of(10.0)
    config = tiny(batch_size=1000, epochs=1)
    row = train(config, output=tmp_path / "run", quiet=True).history[0]
    assert row["pictures_per_second"] == 3.6


def test_it_trains_alike_whatever_the_caller_has_set(tiny, tmp_path, same) -> None:
    """His draws go on as if no run had been between them."""
    plain = train(tiny(epochs=1), output=tmp_path / "plain", quiet=True).model.state_dict()
    torch.manual_seed(3)
    expected = torch.rand(2)
    for name, mode in (("grad", torch.no_grad()), ("inference", torch.inference_mode())):
        torch.manual_seed(3)
        first = torch.rand(1)
        with mode:
            found = train(tiny(epochs=1), output=tmp_path / name, quiet=True).model
        assert same(found.state_dict(), plain)
        assert torch.equal(torch.cat((first, torch.rand(1))), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_another_default_dtype_is_refused(tiny, tmp_path, dtype) -> None:
    torch.set_default_dtype(dtype)
    try:
        with pytest.raises(UsageError, match=f"must be float32 to train, got {dtype}"):
            train(tiny(epochs=1), output=tmp_path / "run", quiet=True)
    finally:
        torch.set_default_dtype(torch.float32)
    assert not (tmp_path / "run").exists()


def test_it_learns(tiny, tmp_path) -> None:
    config = tiny(epochs=12, lr=3e-3, label_smoothing=0.0)
    result = train(config, output=tmp_path / "run", quiet=True)
    first, last = result.history[0], result.history[-1]
    assert last["train_accuracy"] > 95
    assert last["test_accuracy"] > 95
    assert last["train_loss"] < first["train_loss"] / 3


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision(tiny, tmp_path, precision) -> None:
    config = tiny(precision=precision, lr=3e-3, clip_grad=1.0, ema=0.5)
    history = train(config, output=tmp_path / "run", quiet=True).history
    plain = dataclasses.replace(config, precision="fp32")
    wanted = train(plain, output=tmp_path / "plain", quiet=True).history
    assert history[0]["train_loss"] == pytest.approx(wanted[0]["train_loss"], rel=0.05)
    assert history[0]["train_loss"] != wanted[0]["train_loss"]
    assert history[-1]["train_loss"] < history[0]["train_loss"]


def test_a_loss_that_is_no_number_ends_the_run(tiny, tmp_path, monkeypatch) -> None:
    evaluate = objective.evaluate_model
    monkeypatch.setattr(
        objective,
        "evaluate_model",
        lambda *a, **k: dataclasses.replace(evaluate(*a, **k), loss=math.nan),
    )
    with pytest.raises(UsageError, match=r"the loss of epoch 1 is not finite: .* lr than 0.002"):
        train(tiny(), output=tmp_path / "run", quiet=True)


def test_a_long_forecast_leaves_the_draws_alone(everything, tmp_path, monkeypatch, capsys) -> None:
    """What a run says, on however slow a machine, does not change what it computes."""
    config = everything(epochs=2)  # it is said in the first, and the second draws on
    quiet = train(config, output=tmp_path / "quiet", quiet=True)
    monkeypatch.setattr(estimate, "LONG", 1e-9)
    told = train(config, output=tmp_path / "told")
    assert "will take about" in capsys.readouterr().err
    weights = quiet.model.state_dict()
    assert all(torch.equal(v, weights[k]) for k, v in told.model.state_dict().items())


@pytest.mark.parametrize("values", [{"batch_size": 1}, {"batch_size": 6, "accumulation": 6}])
@pytest.mark.parametrize("model", ["cct2_2_3x2", "mlp"])
def test_a_picture_alone_cannot_be_normalised(tiny, tmp_path, model, values) -> None:
    """Where a channel has one value, a batch norm has nothing to normalise by."""
    options = {"batch_norm": True} if model == "mlp" else {}
    config = tiny(model=model, model_options=options, img_size=4, epochs=1, **values)
    with pytest.raises(UsageError, match=r"^batch_size must be at least 2, and accumulation at"):
        train(config, output=tmp_path / "run", quiet=True)


def test_what_epochs_leave_out_is_said(tiny) -> None:
    """An epoch has whole batches: of 36 pictures 25 leave out 11, 12 none, and 35 no tenth."""
    for batch_size, said in ((25, True), (12, False), (35, False)):
        config = tiny(batch_size=batch_size)
        state = build_state(config, load_splits(config), CPU)
        assert {len(labels) for _, labels in state.loader} == {batch_size}
        notes = " ".join(state.choices.notes)
        assert ("leaves out another 11 of the 36 training pictures" in notes) == said
        assert ("leaves out" in notes) == said


def test_a_class_too_small_to_hold_out_of(tiny, picture_folder) -> None:
    """Its refusal counts what the user sees: what tests, or is not used, is of the class too."""

    def refusal(**values) -> str:
        with pytest.raises(UsageError) as caught:
            load_splits(tiny(val_fraction=0.3, **values))
        return str(caught.value)

    folders = "add pictures, remove the class, or give folders train/, val/ and test/"
    wanted = "val_fraction: wanted at least 2 pictures of every class to divide, got 1 of class"
    assert refusal(train_pictures=3).endswith("tests or is not used: take more train_pictures")
    for path in sorted((picture_folder / "train" / "red").iterdir())[2:]:
        path.unlink()
    divided = refusal(data_dir=str(picture_folder / "train"), test_fraction=0.4)
    assert divided == f"{wanted} 'red', which has 2: the rest tests or is not used: {folders}"
    next((picture_folder / "train" / "red").iterdir()).unlink()
    (picture_folder / "test").rename(picture_folder / "kept")
    shutil.copytree(picture_folder / "kept" / "blue", picture_folder / "test" / "blue")
    assert refusal() == f"{wanted} 'red': {folders}"


def test_parts_are_as_large_as_each_other(tiny, monkeypatch) -> None:
    config = tiny(model="cvt_2_8", batch_size=10, accumulation=4, epochs=1)
    state = build_state(config, load_splits(config), CPU)
    seen = []
    state.module.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    train_step(state, config, state.module, torch.rand(10, 3, 16, 16), torch.arange(10) % 3)
    assert seen == [3, 3, 2, 2]


def test_nothing_is_written_for_what_cannot_run(tiny, tmp_path) -> None:
    for wrong in ({"data_dir": str(tmp_path / "nowhere")}, {"device": "abacus"}):
        with pytest.raises(UsageError):
            train(tiny(**wrong), output=tmp_path / "run", quiet=True)
        assert not (tmp_path / "run").exists()


def test_no_part_of_a_batch_is_empty(tiny, tmp_path, capsys) -> None:
    """Of 36 pictures none has 64 parts: a mean over nothing is no number."""
    config = tiny(batch_size=128, accumulation=64, epochs=1)
    result = train(config, output=tmp_path / "run")
    assert "accumulation is 36, not 64" in capsys.readouterr().err
    assert result.summary["skipped_steps"] == 0
