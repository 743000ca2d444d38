"""``python -m compact_vit.score``: what an accuracy is worth for its size, and among which others.

Nothing here imports torch before the arguments are understood.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..cli import Parser, add_format, one_of, program
from ..data.catalog import dataset_info, own_place
from ..errors import UsageError, tell
from ..published import published_datasets, published_results
from ..ranking import COUNTED, Result, from_published, ranked
from ..tables import FORMATS, render, write_text
from ..units import count
from .runs import LeftOut, Pictures, effective_parameters, read_runs
from .told import COLUMNS, as_dict, as_record, convention, one_score

AGAINST = ("parameters", "macs", "latency")
_POSITIONS = ("without", "with")


@dataclass(frozen=True)
class _Asked:
    """What is ranked, and what has to be said about it."""

    results: list[Result]
    left_out: list[LeftOut]
    dataset: str | None
    pictures: str | None
    """The data set in words."""
    remarks: list[str]


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Print a score with its convention, or a ranking of runs, of published results, of both."""
    args = _parser().parse_args(argv)
    _check(args)
    asked = _asked(args)
    rows = ranked(asked.results, args.floor)
    head = {"dataset": asked.dataset, **convention(args.floor, asked.results)}
    notes = [*head["conventions"], *asked.remarks]
    left_out = [f"left out: '{run}' {reason}" for run, reason in asked.left_out]
    if args.plot:
        from .drawn import draw

        against = args.against or AGAINST[0]
        figure, missing = draw(rows, against, asked.pictures, args.as_published)
        if missing:
            left_out.append(f"not in the picture, {against} unknown: {', '.join(missing)}")
    if args.format == "table" and args.accuracy is not None and len(rows) == 1:
        text = one_score(rows[0], args.floor, [*asked.remarks, *left_out])
    else:
        values_of = as_record if args.format == "csv" else as_dict
        dicts = [values_of(row, args.floor) for row in rows]
        text = render(args.format, COLUMNS, dicts, head, [*notes, *left_out])
    if args.plot:
        from ..plots import save_figure

        save_figure(figure, args.plot)
    if args.output:
        write_text(Path(args.output), text)
    else:
        print(text)
    if args.format == "csv" and (asked.remarks or left_out):
        tell("\n".join([*asked.remarks, *left_out]))  # a table has no place
    return 0


def _parser() -> Parser:
    parser = Parser(
        "score",
        description="The size/accuracy score, 100 x (accuracy in percent - floor) / millions of "
        "parameters: of one accuracy, or in a ranking of finished runs, of published results, or "
        "of both.",
        epilog="The score explodes for tiny models just above the floor: read it beside the "
        "accuracy and the Pareto front, which the tables mark and --plot draws.",
    )
    what = parser.add_argument_group("what is scored")
    what.add_argument("--accuracy", type=float, metavar="PERCENT", help="of one model")
    what.add_argument(
        "--parameters", type=count, metavar="N", help="its size: 3191397, 3.19M or 500k"
    )
    what.add_argument("--n", type=count, metavar="N", help="pictures tested on: gives an interval")
    what.add_argument(
        "--runs", nargs="+", metavar="RUN", help="folders of finished runs on the same pictures"
    )
    what.add_argument(
        "--published",
        nargs="?",
        const="",
        metavar="DATASET",
        help=f"published results of a data set, {' or '.join(published_datasets())} "
        "(default: the runs')",
    )
    how = parser.add_argument_group("how it is counted")
    how.add_argument("--floor", type=float, default=70.0, metavar="PERCENT", help="default: 70")
    how.add_argument(
        "--positions",
        type=one_of("kind", _POSITIONS),
        metavar="KIND",
        help="count the position table: with or without it (default: without)",
    )
    how.add_argument(
        "--effective",
        nargs="?",
        const="",
        metavar="FILE",
        help="count bytes instead, 4 to a parameter: of FILE with --accuracy (pruned or "
        "half-precision weights), of the weights in last.pt with --runs",
    )
    how.add_argument(
        "--as-published",
        action="store_true",
        help="leave published sizes as their sources count them, which is not alike",
    )
    _add_output(parser)
    return parser


def _add_output(parser: Parser) -> None:
    """What is made of it, and where that goes."""
    out = parser.add_argument_group("output")
    add_format(out, FORMATS)
    out.add_argument("--output", metavar="FILE", help="write there, not to the terminal")
    out.add_argument("--plot", metavar="FILE", help="a picture of it: .png, .pdf or .svg")
    out.add_argument(
        "--against",
        type=one_of("cost", AGAINST),
        metavar="COST",
        help="what accuracy is drawn against: parameters (default), macs, or latency, which is "
        "measured on this machine",
    )


def _check(args: argparse.Namespace) -> None:
    """Refuse what does not go together, before anything is read or measured."""
    if args.accuracy is None and (args.parameters is not None or args.n is not None):
        raise UsageError("--parameters and --n belong to --accuracy, which is missing")
    if args.accuracy is None and args.runs is None and args.published is None:
        raise UsageError("nothing to score: give --accuracy with --parameters, --runs, --published")
    if args.accuracy is not None and args.runs is not None:
        raise UsageError("--accuracy and --runs exclude each other: a run brings its own accuracy")
    if args.as_published and args.published is None:
        raise UsageError("--as-published is of published results: add --published, or leave it out")
    if args.against and not args.plot:
        raise UsageError("--against is of the picture: add --plot FILE, or leave it out")
    if args.positions and args.effective is not None:
        raise UsageError("--positions and --effective exclude each other: bytes count everything")
    if args.effective and args.accuracy is None:
        raise UsageError("--effective takes a FILE with --accuracy only; a run has its last.pt")
    if args.accuracy is not None and (args.parameters is None) == (not args.effective):
        raise UsageError("--accuracy needs its size: either --parameters N or --effective FILE")
    if args.plot:
        from ..plots import check_picture

        check_picture(Path(args.plot))


def _asked(args: argparse.Namespace) -> _Asked:
    """The results that the arguments name."""
    counting = "effective" if args.effective is not None else args.positions or "without"
    results: list[Result] = []
    left_out: list[LeftOut] = []
    remarks: list[str] = []
    dataset: str | None = args.published or None
    shown: str | None = None
    wanted = published_results(dataset) if dataset else []
    if args.accuracy is not None:
        results.append(_given(args))
    if args.runs:
        results, left_out, pictures = read_runs(args.runs, counting, dataset)
        remarks.append(f"runs: {pictures}, the last epoch; ± over the seeds")
        if args.published is not None:
            dataset = dataset or _published_of(pictures)
            wanted = published_results(dataset)
            if place := own_place(pictures.dataset):
                shown = f"{dataset}, measured on a {place}"
                remarks.append(
                    f"the runs are of a {place}, the published results of {dataset}'s own test "
                    f"pictures: comparable as far as the {place} holds the same"
                )
        else:
            dataset = pictures.dataset
            shown = Path(pictures.place).name.removesuffix(".npz") if pictures.place else None
    elif args.published == "":
        raise UsageError(
            f"--published needs a data set without --runs: {' or '.join(published_datasets())}"
        )
    if wanted:
        assert dataset is not None
        classes = dataset_info(dataset).num_classes or 0
        results += [from_published(r, classes, counting, args.as_published) for r in wanted]
        remarks.append("published results are often the best of several runs")
    return _Asked(results, left_out, dataset, shown or dataset, remarks)


def _published_of(pictures: Pictures) -> str:
    if pictures.split != "test":
        raise UsageError(f"published results are of test pictures, the runs of {pictures}")
    if pictures.dataset in published_datasets():
        return pictures.dataset
    names = " or ".join(published_datasets())
    if place := own_place(pictures.dataset):
        raise UsageError(f"which pictures does the {place} hold? name them: --published {names}")
    raise UsageError(f"nothing is published here of {pictures.dataset}, only of {names}")


def _given(args: argparse.Namespace) -> Result:
    """What ``--accuracy`` says, with its size and how that is counted."""
    if args.effective:
        path = Path(args.effective)
        if path.name in ("last.pt", "best.pt") and (path.parent / "config.json").exists():
            raise UsageError(
                f"'{path}' is a checkpoint, which holds more than weights: "
                f"use --runs '{path.parent}' --effective"
            )
        with path.open("rb") as file:
            parameters = effective_parameters(file.seek(0, 2))
        if not parameters:
            raise UsageError(f"'{path}' is empty: wanted a file of weights")
        counted = f"{COUNTED['effective']}: '{path.name}'"
    else:
        parameters = args.parameters
        counted = COUNTED[args.positions or "without"]
        counted += "" if args.positions else " (assumed: --positions says)"
    return Result(
        name="given",
        origin="given",
        accuracy=args.accuracy,
        parameters=parameters,
        counted=counted,
        n=args.n,
        source="command line",
    )
