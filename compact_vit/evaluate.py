"""``python -m compact_vit.evaluate RUN``: how well a finished run does, class by class.

With ``--dataset`` it is how well weights alone do: those in a folder, or in the package. With
``--pictures`` a run or weights are tested on a folder of class folders.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .cli import Parser, program
from .errors import UsageError, listed, unknown
from .evaluated import class_report, of_epoch, own_precision, progress_of, told
from .labelled import check_own_splits, holds_training, open_pictures, open_weights
from .scoring import accuracy_interval
from .train.config import data_name
from .train.rules import PRECISIONS

if TYPE_CHECKING:
    from .data.pictures import Pictures
    from .train.metrics import Evaluation
    from .train.trained import TrainedModel

_log = logging.getLogger(__name__)

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
    from .train.inputs import load_again
    from .train.trained import load_model

    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    if dataset is None:
        trained = load_model(run, checkpoint)
    else:
        trained = open_weights(run, checkpoint, dataset, data_dir)
    config = dataclasses.replace(trained.config, data_dir=data_dir or trained.config.data_dir)
    check_own_splits(config)
    splits = load_again(config, run)
    pictures: Pictures | None = getattr(splits, split)
    if pictures is None:
        raise UsageError(f"there is no validation split: --split must be test, got {split}")
    if splits.classes != trained.classes:
        ours, theirs = set(trained.classes), set(splits.classes)
        raise UsageError(
            f"the data set's classes are not the model's: of the model's {len(ours)} it lacks "
            f"{listed(sorted(ours - theirs))}, and of its {len(theirs)} the model does not know "
            f"{listed(sorted(theirs - ours))}: give --data-dir the pictures trained on, or rename "
            "the folders"
        )
    trained.check_divided(splits, split)
    if len(splits.mean) != len(trained.mean):
        raise UsageError(
            f"the data set's pictures must have {len(trained.mean)} channels, as the model sees, "
            f"got {len(splits.mean)}"
        )
    return trained, pictures


def evaluate_pictures(
    trained: TrainedModel, pictures: Pictures, device: str = "auto", precision: str = "fp32"
) -> Evaluation:
    """Evaluate ``trained`` on ``pictures`` as they are; its model moves to ``device``.

    Raises ``UsageError`` for weights that do not answer in finite numbers.
    """
    from .data.augment import Normalize
    from .train.machine import pick_device
    from .train.metrics import Evaluating, check_finite, over_pictures, score_logits

    where = pick_device(device)
    model = trained.model.to(where)
    dtype = next(model.parameters()).dtype
    how = Evaluating(Normalize(trained.mean, trained.std, dtype), where, precision)
    logits = over_pictures(model, lambda images: model(how.normalize(images)), pictures, how)
    return score_logits(check_finite(logits), pictures.labels)


def evaluate_run(
    run: str | os.PathLike[str],
    *,
    checkpoint: str | None = None,
    split: str = "test",
    data_dir: str | None = None,
    dataset: str | None = None,
    pictures: str | os.PathLike[str] | None = None,
    on_bad_picture: str = "refuse",
    device: str = "auto",
    precision: str = "auto",
) -> tuple[TrainedModel, Evaluation]:
    """Evaluate the model in the folder ``run`` on a ``split`` of its data set, unaugmented.

    ``checkpoint`` is ``"last"`` or ``"best"``, by default the best one if the run picked one.
    ``data_dir`` stands in where the data set has moved. With a ``dataset`` to be evaluated on,
    ``run`` is weights: a folder that ``export`` wrote, or the name of some in the package. In
    place of both, ``pictures`` is a folder with one of pictures for each class, which may be some
    of the model's, and ``run`` either; files in it that are no pictures are refused, or with
    ``on_bad_picture`` ``"skip"`` left out. ``precision`` is ``"fp32"``, ``"bf16"`` or ``"fp16"``;
    ``"auto"`` is ``own_precision``. Raises ``UsageError`` for a folder that is none of these, a
    split that is not there, or a data set whose classes are not the model's.
    """
    from .train.machine import choose_precision, pick_device

    where = pick_device(device)  # wrong names are said before the pictures are read
    if precision not in ("auto", *PRECISIONS):
        raise unknown("precision", str(precision), ("auto", *PRECISIONS))
    if pictures is None:
        if on_bad_picture != "refuse":
            raise UsageError("on_bad_picture is for pictures: leave it out, a run knows its own")
        trained, tested = open_split(
            run, checkpoint=checkpoint, split=split, data_dir=data_dir, dataset=dataset
        )
    else:
        named = {"dataset": dataset, "data_dir": data_dir}
        named["split"] = None if split == "test" else split
        if given := [name for name, value in named.items() if value is not None]:
            raise UsageError(f"pictures are tested all together: leave out {', '.join(given)}")
        trained, tested = open_pictures(
            run, pictures, checkpoint=checkpoint, on_bad_picture=on_bad_picture
        )
    if precision == "auto":
        precision = own_precision(run, trained, device)
    if note := choose_precision(precision, where)[1]:
        _log.warning("note: %s", note)
    return trained, evaluate_pictures(trained, tested, device, precision)


def describe(trained: TrainedModel, split: str) -> str:
    """What a picture of a run's results is titled."""
    data = data_name(trained.config)
    part = tested_on(trained, split)
    return f"{trained.config.model} on {data}, {part}{of_epoch(trained.epoch)}"


def tested_on(trained: TrainedModel, split: str) -> str:
    """What a ``split`` is: of a run that learns by heart, what it is trained on is tested."""
    return "train" if trained.config.overfit else split


def _parser() -> Parser:
    parser = Parser(
        "evaluate",
        description="Accuracy and calibration of a finished run, overall and per class.",
        epilog="With --dataset, RUN is weights: a folder that export wrote, or the name of some in "
        "the package, as cct_2_3x2. With --pictures it may be either.",
    )
    add_run_flags(parser)
    parser.add_argument(
        "--pictures",
        metavar="FOLDER",
        help="test on all pictures in its class folders, in place of a split of a data set",
    )
    parser.add_argument(
        "--on-bad-picture",
        metavar="WHAT",
        default="refuse",
        help="refuse or skip files of --pictures that are none (default: refuse)",
    )
    parser.add_argument(
        "--dataset", metavar="NAME", help="what to evaluate weights on, which know no data set"
    )
    parser.add_argument(
        "--precision",
        metavar="NAME",
        default="auto",
        help="auto, fp32, bf16 or fp16 (default: auto, of a run its own, of weights fp32)",
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
    parser.add_argument("--data-dir", metavar="PATH", help="where the data set is now")
    parser.add_argument("--device", metavar="NAME", default="auto", help="auto, cpu, cuda, ...")


def _places(args: argparse.Namespace) -> tuple[Path, Path]:
    """Where the confusion matrix goes, and the reliability diagram."""
    if args.output:
        confusion = Path(args.output)
        return confusion, confusion.with_stem(f"{confusion.stem}-reliability")
    folder = Path(args.run if os.path.isdir(args.run) else "")  # weights may be a name
    part = args.split if args.pictures is None else "pictures"
    return folder / f"confusion-{part}.png", folder / f"reliability-{part}.png"


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Print top-1, top-5, calibration, every class's figures; draw confusion and reliability."""
    args = _parser().parse_args(argv)
    from .plots import check_picture, plot_confusion, plot_reliability, save_figure

    check_picture(_places(args)[0])
    given = {k: v for k, v in vars(args).items() if k not in ("output", "json")}
    trained, evaluation = evaluate_run(**given)
    precision = args.precision
    if precision == "auto":
        precision = own_precision(args.run, trained, args.device)
    from .train.calibration import calibrate

    report = class_report(evaluation, trained.classes)
    calibration = calibrate(evaluation.probabilities, evaluation.labels)
    dataset, args.split = data_name(trained.config), tested_on(trained, args.split)
    confusion, reliability = _places(args)
    title = describe(trained, args.split)
    if args.pictures is not None:
        dataset = os.path.basename(os.path.realpath(args.pictures))
        title = f"{trained.config.model} on {dataset}{of_epoch(trained.epoch)}"
    save_figure(plot_confusion(report["confusion"], trained.classes, title), confusion)
    save_figure(
        plot_reliability(
            calibration.counts, calibration.confidences, calibration.accuracies, title
        ),
        reliability,
    )
    whole = {
        "model": trained.config.model,
        "dataset": dataset,
        "split": args.split if args.pictures is None else None,
        "epoch": trained.epoch,
        **progress_of(args.run, trained),
        "holds_training_pictures": None
        if args.pictures is None
        else holds_training(trained, args.pictures),
        "precision": precision,
        "n": evaluation.n,
        **evaluation.figures(),
        "accuracy_interval": list(accuracy_interval(evaluation.accuracy, evaluation.n)),
        "ece": calibration.error,
        "confusion_picture": str(confusion),
        "reliability_picture": str(reliability),
        "reliability": dataclasses.asdict(calibration),
        **report,
    }
    print(json.dumps(whole, indent=2) if args.json else told(whole))
    return 0


if __name__ == "__main__":
    sys.exit(main())
