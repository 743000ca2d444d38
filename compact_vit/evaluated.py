"""The figures of an evaluation in a few lines for a person. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def told(report: Mapping[str, Any]) -> str:
    """What ``evaluate`` prints of its ``report``."""
    top5 = f", top-5 {report['top5']:.2f}%" if len(report["classes"]) > 5 else ""
    bins = len(report["reliability"]["counts"])
    width = max(len("class"), *(len(row["class"]) for row in report["classes"]))
    split = "" if report["split"] is None else f"{report['split']}, "
    lines = [
        f"{report['model']} on {report['dataset']} ({split}{report['n']:,} pictures)"
        f"{of_epoch(report['epoch'])}",
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


def of_epoch(epoch: int | None) -> str:
    """What is added of the epoch that a model is of, if that is known."""
    return "" if epoch is None else f", epoch {epoch}"
