"""What is known of an evaluation: how it was made, its figures, and a few lines for a person.

Imports no torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .errors import listed
from .scoring import accuracy_interval, balanced_accuracy
from .train.rules import PRECISIONS

if TYPE_CHECKING:
    from .train.metrics import Evaluation
    from .train.trained import TrainedModel


def own_precision(run: str | os.PathLike[str], trained: TrainedModel, device: str = "auto") -> str:
    """The precision in which ``run`` tested itself at its end, so that its own figures come back.

    Of a run that does not say it is the one that it trains in, but fp32 where the machine only
    emulates that; of weights fp32.
    """
    from .train.machine import choose_precision, multiplies_bf16, pick_device
    from .train.run import RunFolder

    if not trained.marks:
        return "fp32"
    told = (RunFolder.open(run).summary() or {}).get("precision")
    if told in PRECISIONS:
        return str(told)
    where = pick_device(device)
    chosen, _ = choose_precision(trained.config.precision, where)
    return "fp32" if chosen == "bf16" and not multiplies_bf16(where) else chosen


def progress_of(run: str | os.PathLike[str], trained: TrainedModel) -> dict[str, Any]:
    """How many epochs ``run`` has trained of those planned, and whether it has finished.

    None where that is unknown, as of weights.
    """
    from .train.run import RunFolder

    if not trained.marks:
        return dict.fromkeys(("epochs", "planned_epochs", "finished"))
    folder = RunFolder.open(run)
    return {
        "epochs": folder.epochs_logged(),
        "planned_epochs": trained.config.epochs,
        "finished": folder.summary() is not None,
    }


def class_report(evaluation: Evaluation, classes: Sequence[str]) -> dict[str, Any]:
    """Figures of each class (percent), the confusion matrix and the balanced accuracy.

    A class without pictures has no recall and no F1, and one that was never said no precision:
    they are None. The recall goes with its 95% interval. The matrix counts true classes in rows
    and predicted ones in columns.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    truth, said = evaluation.labels.numpy(), evaluation.probabilities.max(dim=1).indices.numpy()
    labels = range(len(classes))
    figures = precision_recall_fscore_support(truth, said, labels=labels, zero_division=0)
    confusion = confusion_matrix(truth, said, labels=labels).tolist()
    predicted = [sum(column) for column in zip(*confusion, strict=True)]
    return {
        "balanced_accuracy": balanced_accuracy(confusion),
        "classes": [
            {
                "class": name,
                "precision": 100 * float(precision) if predictions else None,
                "recall": 100 * float(recall) if pictures else None,
                "recall_interval": list(accuracy_interval(100 * float(recall), int(pictures)))
                if pictures
                else None,
                "f1": 100 * float(f1) if pictures else None,
                "pictures": int(pictures),
            }
            for name, predictions, precision, recall, f1, pictures in zip(
                classes, predicted, *figures, strict=True
            )
        ],
        "confusion": confusion,
    }


def told(report: Mapping[str, Any]) -> str:
    """What ``evaluate`` prints of its ``report``."""
    rows = report["classes"]
    top5 = f", top-5 {report['top5']:.2f}%" if len(rows) > 5 else ""
    bins = len(report["reliability"]["counts"])
    split = "" if report["split"] is None else f"{report['split']}, "
    low, high = report["accuracy_interval"]
    going = report["finished"] is False
    unfinished = f" of {report['planned_epochs']:,}, not finished" if going else ""
    lines = [
        f"{report['model']} on {report['dataset']} ({split}{report['n']:,} pictures)"
        f"{of_epoch(report['epoch'])}{unfinished}, "
        f"in {report['precision']}",
        f"top-1 {report['accuracy']:.2f}% ({low:.2f} to {high:.2f}){top5}, "
        f"loss {report['loss']:.4f} nats",
        f"balanced accuracy {report['balanced_accuracy']:.2f}%, the mean recall of the classes "
        "that have pictures",
        f"expected calibration error {report['ece']:.2f}% in {bins} bins of confidence",
        "",
        *_table(rows),
        "",
        "in brackets and beside recall: 95% (Wilson), for having tested on so many pictures only",
    ]
    if missed := [row["class"] for row in rows if row["recall"] == 0]:
        lines.append(f"never recognised: {listed(missed)}")
    lines += [
        f"confusion matrix: {report['confusion_picture']}",
        f"reliability diagram: {report['reliability_picture']}",
    ]
    return "\n".join(lines)


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each class, ``-`` where there is nothing that a figure would be of."""
    width = max(len("class"), *(len(row["class"]) for row in rows))
    lines = [f"{'class':<{width}}  precision   recall           (95%)       F1  pictures"]
    for row in rows:
        precision, recall, f1 = (
            "-" if row[key] is None else f"{row[key]:.2f}%" for key in ("precision", "recall", "f1")
        )
        ends = row["recall_interval"]
        interval = "-" if ends is None else "{:.1f} to {:.1f}".format(*ends)
        lines.append(
            f"{row['class']:<{width}}  {precision:>9}  {recall:>7}  {interval:>14}  {f1:>7}  "
            f"{row['pictures']:8,}"
        )
    return lines


def of_epoch(epoch: int | None) -> str:
    """What is added of the epoch that a model is of, if that is known."""
    return "" if epoch is None else f", epoch {epoch}"
