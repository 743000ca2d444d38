"""``python -m compact_vit.evaluate RUN``: how well a finished run does, class by class.

With ``--dataset`` it is how well weights alone do: those in a folder, or in the package.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli import Parser, program
from .errors import UsageError, unknown
from .train.config import data_name

if TYPE_CHECKING:
    from .data.pictures import Pictures
    from .train.metrics import Evaluation
    from .train.trained import TrainedModel

SPLITS = ("test", "val", "train")


def open_split(
    run: str | os.PathLike[str],
    *,
    checkpoint: str | None = None,
    split: str = "test",
    data_dir: str | None = None,
    dataset: str | None = None,
) -> tuple[TrainedModel, Pictures]:
    """The model in the folder ``run`` and a ``split`` of its data set, as ``evaluate_run`` asks."""
    from .train.inputs import load_splits
    from .train.trained import load_model

    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    if dataset is None:
        trained = load_model(run, checkpoint)
    else:
        trained = _open_weights(run, checkpoint, dataset, data_dir)
    moved = data_dir or trained.config.data_dir
    splits = load_splits(dataclasses.replace(trained.config, data_dir=moved))
    pictures: Pictures | None = getattr(splits, split)
    if pictures is None:
        raise UsageError(f"there is no validation split: --split must be test, got {split}")
    if splits.classes != trained.classes:
        raise UsageError(
            f"the data set's classes are not the model's: it was trained on "
            f"{len(trained.classes)} ({', '.join(trained.classes[:3])}, ...), "
            f"got {len(splits.classes)} ({', '.join(splits.classes[:3])}, ...)"
        )
    trained.check_divided(splits, split)
    if len(splits.mean) != len(trained.mean):
        raise UsageError(
            f"the data set's pictures must have {len(trained.mean)} channels, as the model sees, "
            f"got {len(splits.mean)}"
        )
    return trained, pictures


def _open_weights(
    source: str | os.PathLike[str], checkpoint: str | None, dataset: str, data_dir: str | None
) -> TrainedModel:
    """The model of weights, as a run on ``dataset`` would have left it."""
    from .models.config import name_of
    from .models.pretrained import build_pretrained, read_folder
    from .models.shipped import nothing_at, weights_at
    from .train.config import TrainConfig
    from .train.trained import TrainedModel

    folder = weights_at(source)
    if folder is None and os.path.isfile(os.path.join(source, "config.json")):
        raise UsageError(
            f"dataset is for weights, which '{source}' is not: leave it out where that is a run, "
            "which knows its own"
        )
    if folder is None:
        raise nothing_at(source, "with dataset, run must be the folder of weights")
    if checkpoint is not None:
        raise UsageError("checkpoint is of a run: leave it out with dataset")
    stored = read_folder(folder)
    model, training = build_pretrained(stored).eval(), stored.card.get("training")
    prepared, classes = model.transforms(), model.pretrained_cfg.get("label_names")
    if classes is None:
        raise UsageError(f"'{source}' does not name its classes: set label_names in pretrained_cfg")
    prepared.check_as_runs()
    config = TrainConfig(
        dataset=dataset,
        data_dir=data_dir,
        model=name_of(model.config),
        img_size=model.config.height_width,
    )
    epoch = training.get("epoch") if isinstance(training, dict) else None
    return TrainedModel(model, config, classes, prepared.mean, prepared.std, epoch)


def evaluate_pictures(
    trained: TrainedModel, pictures: Pictures, device: str = "auto"
) -> Evaluation:
    """Evaluate ``trained`` on ``pictures`` as they are; its model moves to ``device``.

    Raises ``UsageError`` for weights that do not answer in finite numbers.
    """
    from .data.augment import Normalize
    from .train.machine import pick_device
    from .train.metrics import Evaluating, check_finite, over_pictures, score_logits

    where = pick_device(device)
    how = Evaluating(Normalize(trained.mean, trained.std), where, trained.config.precision)
    model = trained.model.to(where)
    logits = over_pictures(model, lambda images: model(how.normalize(images)), pictures, how)
    return score_logits(check_finite(logits), pictures.labels)


def evaluate_run(
    run: str | os.PathLike[str],
    *,
    checkpoint: str | None = None,
    split: str = "test",
    data_dir: str | None = None,
    dataset: str | None = None,
    device: str = "auto",
) -> tuple[TrainedModel, Evaluation]:
    """Evaluate the model in the folder ``run`` on a ``split`` of its data set, unaugmented.

    ``checkpoint`` is ``"last"`` or ``"best"``, by default the best one if the run picked one.
    ``data_dir`` stands in where the data set has moved. With a ``dataset`` to be evaluated on,
    ``run`` is weights: a folder that ``export`` wrote, or the name of some in the package. Raises
    ``UsageError`` for a folder that is none of these, a split that is not there, or a data set
    whose classes are not the model's.
    """
    from .train.machine import pick_device

    pick_device(device)  # a wrong name is said before the pictures are read
    trained, pictures = open_split(
        run, checkpoint=checkpoint, split=split, data_dir=data_dir, dataset=dataset
    )
    return trained, evaluate_pictures(trained, pictures, device)


def class_report(evaluation: Evaluation, classes: Sequence[str]) -> dict[str, Any]:
    """Precision, recall, F1 (percent) and pictures of each class, and the confusion matrix.

    The matrix counts true classes in rows and predicted ones in columns.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    truth, said = evaluation.labels.numpy(), evaluation.probabilities.max(dim=1).indices.numpy()
    labels = range(len(classes))
    figures = precision_recall_fscore_support(truth, said, labels=labels, zero_division=0)
    return {
        "classes": [
            {
                "class": name,
                "precision": 100 * float(precision),
                "recall": 100 * float(recall),
                "f1": 100 * float(f1),
                "pictures": int(pictures),
            }
            for name, precision, recall, f1, pictures in zip(classes, *figures, strict=True)
        ],
        "confusion": confusion_matrix(truth, said, labels=labels).tolist(),
    }


def describe(trained: TrainedModel, split: str) -> str:
    """What a picture of a run's results is titled."""
    data = data_name(trained.config)
    part = tested_on(trained, split)
    return f"{trained.config.model} on {data}, {part}{_of_epoch(trained.epoch)}"


def tested_on(trained: TrainedModel, split: str) -> str:
    """What a ``split`` is: of a run that learns by heart, what it is trained on is tested."""
    return "train" if trained.config.overfit else split


def _of_epoch(epoch: int | None) -> str:
    return "" if epoch is None else f", epoch {epoch}"


def _parser() -> Parser:
    parser = Parser(
        "evaluate",
        description="Accuracy and calibration of a finished run, overall and per class.",
        epilog="With --dataset, RUN is weights: a folder that export wrote, or the name of some in "
        "the package, as cct_2_3x2.",
    )
    add_run_flags(parser)
    parser.add_argument(
        "--dataset", metavar="NAME", help="what to evaluate weights on, which know no data set"
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="the confusion matrix; the reliability diagram goes beside it (default: in the folder "
        "RUN; of weights by name, here)",
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    return parser


def add_run_flags(parser: Parser) -> None:
    """The run, and which of its checkpoints is evaluated on which pictures."""
    parser.add_argument("run", metavar="RUN", help="the folder that training wrote")
    parser.add_argument(
        "--checkpoint",
        metavar="NAME",
        help="last or best (default: best if the run held out a validation split, else last)",
    )
    parser.add_argument(
        "--split", metavar="NAME", default="test", help="test, val or train (default: test)"
    )
    parser.add_argument("--data-dir", metavar="FOLDER", help="where the data set is now")
    parser.add_argument("--device", metavar="NAME", default="auto", help="auto, cpu, cuda, ...")


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Print top-1, top-5, calibration, every class's figures; draw confusion and reliability."""
    args = _parser().parse_args(argv)
    from .plots import check_picture, plot_confusion, plot_reliability, save_figure

    folder = Path(args.run if os.path.isdir(args.run) else "")  # weights may be a name
    confusion = Path(args.output or folder / f"confusion-{args.split}.png")
    reliability = (
        confusion.with_stem(f"{confusion.stem}-reliability")
        if args.output
        else confusion.with_name(f"reliability-{args.split}.png")
    )
    check_picture(confusion)
    trained, evaluation = evaluate_run(
        args.run,
        checkpoint=args.checkpoint,
        split=args.split,
        data_dir=args.data_dir,
        dataset=args.dataset,
        device=args.device,
    )
    from .train.calibration import calibrate

    report = class_report(evaluation, trained.classes)
    calibration = calibrate(evaluation.probabilities, evaluation.labels)
    title = describe(trained, args.split)
    save_figure(plot_confusion(report["confusion"], trained.classes, title), confusion)
    save_figure(
        plot_reliability(
            calibration.counts, calibration.confidences, calibration.accuracies, title
        ),
        reliability,
    )
    whole = {
        "model": trained.config.model,
        "dataset": trained.config.dataset,
        "split": tested_on(trained, args.split),
        "epoch": trained.epoch,
        "n": evaluation.n,
        **evaluation.figures(),
        "ece": calibration.error,
        "confusion_picture": str(confusion),
        "reliability_picture": str(reliability),
        "reliability": dataclasses.asdict(calibration),
        **report,
    }
    print(json.dumps(whole, indent=2) if args.json else _told(whole))
    return 0


def _told(report: dict[str, Any]) -> str:
    top5 = f", top-5 {report['top5']:.2f}%" if len(report["classes"]) > 5 else ""
    bins = len(report["reliability"]["counts"])
    width = max(len("class"), *(len(row["class"]) for row in report["classes"]))
    lines = [
        f"{report['model']} on {report['dataset']} ({report['split']}, {report['n']:,} pictures)"
        f"{_of_epoch(report['epoch'])}",
        f"top-1 {report['accuracy']:.2f}%{top5}, loss {report['loss']:.4f} nats",
        f"expected calibration error {report['ece']:.2f}% in {bins} bins of confidence",
        "",
        f"{'class':<{width}}  precision   recall       F1  pictures",
    ]
    lines += [
        f"{row['class']:<{width}}  {row['precision']:8.2f}%  {row['recall']:6.2f}%  "
        f"{row['f1']:6.2f}%  {row['pictures']:8,}"
        for row in report["classes"]
    ]
    pictures = [
        f"confusion matrix: {report['confusion_picture']}",
        f"reliability diagram: {report['reliability_picture']}",
    ]
    return "\n".join([*lines, "", *pictures])


if __name__ == "__main__":
    sys.exit(main())
