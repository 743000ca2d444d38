"""From a run, or a configuration, to its picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import nn

from ..data.augment import Normalize
from ..data.catalog import dataset_info
from ..errors import UsageError
from ..evaluate import (
    describe,
    evaluate_pictures,
    evaluate_run,
    open_split,
)
from ..evaluated import class_report, own_precision
from ..models.compact import CompactTransformer
from ..plots import (
    attention_maps,
    compare_curves,
    plot_attention,
    plot_confusion,
    plot_errors,
    plot_samples,
    plot_schedule,
)
from ..predict import read_for_model
from ..train.config import TrainConfig, data_name
from ..train.inputs import build_train_batch, load_splits
from ..train.machine import pick_device
from ..train.metrics import check_finite
from ..train.optim import build_optimizer
from ..train.run import RunFolder
from ..train.schedule import build_schedule
from ..train.summary import draw_curves, run_title
from ..train.trained import load_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Run: TypeAlias = str | os.PathLike[str]

#: Steps the learning rate is drawn at: enough for the eye, an instant to take.
_STEPS = 20_000


def curves(
    runs: Sequence[Run],
    axes: str = "linear",
    *,
    labels: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Loss and accuracy over the epochs: a run's splits, or several runs' held-out split.

    Runs still going are drawn as far as they are. Several are called by their ``labels``, else by
    their folders, with those above where two are called alike; those on different data sets are
    titled so, whatever the ``title``.
    """
    if labels is not None and (len(runs) == 1 or len(set(labels)) != len(runs)):
        wanted = "left out for a single run" if len(runs) == 1 else f"{len(runs)} different names"
        raise UsageError(f"labels must be {wanted}, got {', '.join(labels)}")
    paths = [Path(run).resolve() for run in runs]
    for run, path in zip(runs, paths, strict=True):
        if paths.count(path) > 1:
            raise UsageError(f"curves need every run once, got '{run}' twice")
    folders = [RunFolder.open(run) for run in runs]
    read = [(folder.config(), folder.history()) for folder in folders]
    if len(read) == 1:
        ((config, history),) = read
        return draw_curves(history, config, axes, title)
    names = list(labels or [path.name for path in paths])
    if len(set(names)) < len(names):
        above = os.path.commonpath([path.parent for path in paths])
        names = [os.path.relpath(path, above) for path in paths]
    data = [data_name(config) for config, _ in read]
    sets = {c.data_dir if dataset_info(c.dataset).own else c.dataset for c, _ in read}
    if len(sets) > 1:
        names = [f"{name}, {of}" for name, of in zip(names, data, strict=True)]
        apart = f"not comparable: different data sets ({', '.join(dict.fromkeys(data))})"
        title = f"{title}, {apart}" if title else apart
    title = title or f"{len(read)} runs on {data[0]}"
    histories = (history for _, history in read)
    return compare_curves(dict(zip(names, histories, strict=True)), title, axes)


def confusion(
    run: Run,
    *,
    checkpoint: str | None = None,
    split: str = "test",
    data_dir: str | None = None,
    device: str = "auto",
) -> Figure:
    """Which classes a finished run takes for which; the arguments are ``evaluate_run``'s."""
    trained, evaluation = evaluate_run(
        run, checkpoint=checkpoint, split=split, data_dir=data_dir, device=device
    )
    matrix = class_report(evaluation, trained.classes)["confusion"]
    return plot_confusion(matrix, trained.classes, describe(trained, split))


def errors(
    run: Run,
    *,
    count: int = 24,
    checkpoint: str | None = None,
    split: str = "test",
    data_dir: str | None = None,
    device: str = "auto",
) -> Figure:
    """The ``count`` mistakes that a finished run is surest of; the rest is ``evaluate_run``'s."""
    trained, pictures = open_split(run, checkpoint=checkpoint, split=split, data_dir=data_dir)
    evaluation = evaluate_pictures(trained, pictures, device, own_precision(run, trained, device))
    return plot_errors(
        pictures.at(slice(None)),
        evaluation.labels,
        evaluation.probabilities,
        trained.classes,
        describe(trained, split),
        count,
    )


def samples(config: TrainConfig, *, pictures: int = 8, draws: int = 4) -> Figure:
    """Training ``pictures``, then ``draws`` of what the configuration's augmentation makes of them.

    Everything between the data set and the model is shown, erasing and mixing too, as in the first
    epoch. ``config.seed`` decides the pictures and the draws.
    """
    for name, value in (("pictures", pictures), ("draws", draws)):
        if not 1 <= value <= 32:
            raise UsageError(f"{name} must be a whole number from 1 to 32, got {value}")
    splits = load_splits(config)
    batch = build_train_batch(config, splits)
    generator = torch.Generator().manual_seed(config.seed)
    chosen = torch.randperm(len(splits.train), generator=generator)[:pictures]
    images, labels = splits.train.at(chosen), splits.train.labels[chosen]
    seen = (batch(images, labels, 0, generator)[0] for _ in range(draws))
    rows = [batch.normalize.undone(x) for x in seen]
    title = f"{data_name(config)}, recipe {config.recipe}, seed {config.seed}"
    return plot_samples(images, rows, [splits.classes[i] for i in labels.tolist()], title)


def attention(
    run: Run,
    pictures: Sequence[str | os.PathLike[str]],
    *,
    checkpoint: str | None = None,
    device: str = "auto",
) -> Figure:
    """Where a finished run looks in picture files, each titled with its likeliest class.

    The pictures are shown as the model sees them, and read as ``predict_pictures`` does.
    """
    where = pick_device(device)
    trained = load_model(run, checkpoint)
    model = trained.model.to(where)
    if not isinstance(model, CompactTransformer):
        raise UsageError(f"only transformers attend, got a run of {trained.config.model}")
    images = torch.cat([read_for_model(path, trained) for path in pictures])
    x = Normalize(trained.mean, trained.std)(images.to(where))
    with torch.no_grad():
        probabilities, said = check_finite(model(x).float()).softmax(dim=1).max(dim=1)
    captions = [
        f"{Path(path).name}: {trained.classes[i]} {100 * p:.1f}%"
        for path, i, p in zip(pictures, said.tolist(), probabilities.tolist(), strict=True)
    ]
    title = f"{run_title(trained.config)}, epoch {trained.epoch}"
    return plot_attention(images, attention_maps(model, x), captions, title)


def schedule(config: TrainConfig) -> Figure:
    """The learning rate that the configuration's schedule takes over the epochs."""
    steps_per_epoch = max(1, min(100, _STEPS // config.epochs))
    optimizer = build_optimizer(nn.Linear(1, 1), config)
    stepped = build_schedule(optimizer, config, steps_per_epoch)
    rates = []
    for _ in range(config.epochs * steps_per_epoch):
        rates.append(float(stepped.get_last_lr()[0]))
        optimizer.step()
        stepped.step()
    epochs = [step / steps_per_epoch for step in range(len(rates))]
    title = f"{config.schedule}, recipe {config.recipe} on {data_name(config)}"
    if config.schedule == "plateau":
        title += "; as long as the validation loss falls"
    return plot_schedule(epochs, rates, title)
