"""``python -m compact_vit.evaluate RUN``: how well a finished run does, class by class."""

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

if TYPE_CHECKING:
    from .train.metrics import Evaluation
    from .train.run import TrainedModel

SPLITS = ("test", "val", "train")


def evaluate_run(
    run: str | os.PathLike[str],
    *,
    checkpoint: str | None = None,
    split: str = "test",
    data_dir: str | None = None,
    device: str = "auto",
) -> tuple[TrainedModel, Evaluation]:
    """Evaluate the model in the folder ``run`` on a ``split`` of its data set, unaugmented.

    ``checkpoint`` is ``"last"`` or ``"best"``, by default the best one if the run picked one.
    ``data_dir`` stands in where the data set has moved. Raises ``UsageError`` for a folder that is
    no run, a split that is not there, or a data set whose classes are not the model's.
    """
    from .data.augment import Normalize
    from .train.inputs import load_splits
    from .train.machine import pick_device
    from .train.metrics import evaluate_model
    from .train.run import load_model

    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    trained = load_model(run, checkpoint)
    config = trained.config
    if data_dir is not None:
        config = dataclasses.replace(config, data_dir=data_dir)
    where = pick_device(device)
    splits = load_splits(config)
    pictures = getattr(splits, split)
    if pictures is None:
        raise UsageError(f"the run held out no validation split: --split must be test, got {split}")
    if splits.classes != trained.classes:
        raise UsageError(
            f"the data set's classes are not the model's: it was trained on "
            f"{len(trained.classes)} ({', '.join(trained.classes[:3])}, ...), "
            f"got {len(splits.classes)} ({', '.join(splits.classes[:3])}, ...)"
        )
    evaluation = evaluate_model(
        trained.model.to(where),
        pictures,
        Normalize(trained.mean, trained.std),
        device=where,
        precision=config.precision,
    )
    return trained, evaluation


def class_report(evaluation: Evaluation, classes: Sequence[str]) -> dict[str, Any]:
    """Precision, recall, F1 (percent) and pictures of each class, and the confusion matrix.

    The matrix counts true classes in rows and predicted ones in columns.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    truth, said = evaluation.labels.numpy(), evaluation.probabilities.argmax(dim=1).numpy()
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


def _parser() -> Parser:
    parser = Parser("evaluate", description="Accuracy of a finished run, overall and per class.")
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
    parser.add_argument(
        "--output", metavar="FILE", help="the confusion matrix picture (default: in the run)"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    return parser


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Print top-1, top-5, every class's figures, and draw the confusion matrix."""
    args = _parser().parse_args(argv)
    from .plots import check_picture, plot_confusion

    picture = Path(args.output or Path(args.run) / f"confusion-{args.split}.png")
    check_picture(picture)
    trained, evaluation = evaluate_run(
        args.run,
        checkpoint=args.checkpoint,
        split=args.split,
        data_dir=args.data_dir,
        device=args.device,
    )
    report = class_report(evaluation, trained.classes)
    picture.parent.mkdir(parents=True, exist_ok=True)
    config = trained.config
    title = f"{config.model} on {config.dataset}, {args.split}, epoch {trained.epoch}"
    plot_confusion(report["confusion"], trained.classes, title).savefig(picture, dpi=150)
    head = {
        "model": trained.config.model,
        "dataset": trained.config.dataset,
        "split": args.split,
        "epoch": trained.epoch,
        "n": evaluation.n,
        **evaluation.figures(),
        "confusion_picture": str(picture),
    }
    print(json.dumps({**head, **report}, indent=2) if args.json else _told(head, report))
    return 0


def _told(head: dict[str, Any], report: dict[str, Any]) -> str:
    top5 = f", top-5 {head['top5']:.2f}%" if len(report["classes"]) > 5 else ""
    width = max(len("class"), *(len(row["class"]) for row in report["classes"]))
    lines = [
        f"{head['model']} on {head['dataset']} ({head['split']}, {head['n']:,} pictures), "
        f"epoch {head['epoch']}",
        f"top-1 {head['accuracy']:.2f}%{top5}, loss {head['loss']:.4f} nats",
        "",
        f"{'class':<{width}}  precision   recall       F1  pictures",
    ]
    lines += [
        f"{row['class']:<{width}}  {row['precision']:8.2f}%  {row['recall']:6.2f}%  "
        f"{row['f1']:6.2f}%  {row['pictures']:8,}"
        for row in report["classes"]
    ]
    return "\n".join([*lines, "", f"confusion matrix: {head['confusion_picture']}"])


if __name__ == "__main__":
    sys.exit(main())
