"""``python -m compact_vit.page RUN``: the page of a finished run, made anew."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli import Parser, program
from .errors import UsageError
from .files import check_is_file
from .published import published_datasets, published_results
from .tables import write_text

if TYPE_CHECKING:
    from .score.runs import Needed


def _is_epoch(best: dict[str, Any]) -> bool:
    """Whether what is told of an epoch picked can be shown."""
    epoch, accuracy = best.get("epoch"), best.get("accuracy")
    return isinstance(epoch, int) and isinstance(accuracy, (int, float)) and 0 <= accuracy <= 100


#: What a summary must hold to be shown, beyond what it must hold to be ranked.
_SHOWN: Needed = (
    ("recipe", str, bool),
    ("best", dict, lambda v: not v.get("picked_on") or _is_epoch(v)),
    ("versions", dict, bool),
    ("train_pictures", int, lambda v: v >= 1),
    ("seconds", (int, float), lambda v: 0 <= v < math.inf),
    ("final.top5", (int, float), lambda v: 0 <= v <= 100),
    ("score.value", (int, float), lambda v: 0 <= v < math.inf),
    ("score.floor", (int, float), lambda v: 0 <= v <= 100),
)


#: Points of accuracy that rounding may cost.
_NEAR = 0.5


def run_page(
    run: str | os.PathLike[str],
    *,
    published: str | None = None,
    data_dir: str | None = None,
    device: str = "auto",
) -> str:
    """The page of HTML that training wrote of the finished run in the folder ``run``.

    Its model is tested again on the test pictures, on ``device``: the weights of the epoch that the
    run picked, if it did, as ``evaluate`` takes them, else of the last.
    ``published`` names the data set whose published results a folder of its pictures is set
    among; ``data_dir`` stands in where the pictures have moved. Raises ``UsageError`` for a folder
    that is no finished run, or whose pictures are not there or are others.
    """
    from .evaluate import evaluate_pictures, open_split
    from .evaluated import own_precision
    from .score.runs import RANKED, may_be_of, pictures_of, read_summary
    from .train.machine import pick_device
    from .train.page import page_of
    from .train.run import RunFolder

    pick_device(device)  # a wrong name is said before the pictures are read
    folder = RunFolder.open(run)
    config = folder.read_json("config.json")
    if config.get("objective", "classify") != "classify":
        raise UsageError(f"'{run}' is pretraining, which has learnt no answers to show")
    summary = read_summary(folder, RANKED + _SHOWN)
    if published is not None:
        published_results(published)  # a misspelt name is no data set without results
        own = pictures_of(summary, config)
        if not may_be_of(own, published):
            raise UsageError(f"the run is of {own}, which cannot be compared with {published}")
    history = folder.history()
    split = "val" if summary["final"]["split"] == "val" else "test"
    trained, pictures = open_split(run, split=split, data_dir=data_dir)
    precision = own_precision(run, trained, device)
    evaluation = evaluate_pictures(trained, pictures, device, precision)
    final, best = summary["final"], summary["best"]
    picked = best.get("picked_on") and best["epoch"] == trained.epoch
    accuracy = (best if picked else final)["accuracy"]
    # another device or precision turns a picture or two
    near = max(_NEAR, 100 / final["n"]) + 1e-9
    if evaluation.n != final["n"] or abs(evaluation.accuracy - accuracy) > near:
        raise UsageError(
            f"these are not the pictures that the run was tested on: it got "
            f"{accuracy:.2f}% of {final['n']:,}, and here {evaluation.accuracy:.2f}% of "
            f"{evaluation.n:,}: say with --data-dir where its own are"
        )
    return page_of(trained, pictures, evaluation, summary, history, published)


def _parser() -> Parser:
    parser = Parser(
        "page",
        description="Write a finished run as one HTML page: configuration, curves, size, score, "
        "confusion, calibration, predictions, attention. Training does so at its end; this makes "
        "it anew.",
    )
    parser.add_argument("run", metavar="RUN", help="the folder that training wrote")
    parser.add_argument(
        "--published",
        metavar="DATASET",
        help=f"whose published results to set it among, {' or '.join(published_datasets())}: for a "
        "folder that holds their pictures (default: its own data set's)",
    )
    parser.add_argument("--data-dir", metavar="PATH", help="where the data set is now")
    parser.add_argument("--device", metavar="NAME", default="auto", help="auto, cpu, cuda, ...")
    parser.add_argument(
        "--output", metavar="FILE", help="an .html file (default: report.html in the run)"
    )
    return parser


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Write the page, and say where it is."""
    args = _parser().parse_args(argv)
    output = Path(args.output or Path(args.run) / "report.html")
    if output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"output must end in .html, got '{output}'")
    check_is_file(output)
    page = run_page(args.run, published=args.published, data_dir=args.data_dir, device=args.device)
    write_text(output, page)
    print(f"page: {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
