"""``python -m compact_vit.experiment grid FILE`` and ``search FILE``.

Imports no torch, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..cli import Chooser, Parser, program, several
from ..errors import UsageError, tell
from ..strict_yaml import assignment
from .fields import check_field
from .plan import MEANS, PAGE, PICTURE, TABLE, read_experiment


def _grid(args: argparse.Namespace) -> int:
    from .grid import run_grid, told

    experiment = read_experiment(args.file, _overrides(args))
    result = run_grid(experiment, **_how(args))
    if args.json:
        print(json.dumps({"rows": result.rows, "means": result.means}, indent=2))
    else:
        print(told("table", result.rows, result.means, experiment.varied))
        print(_whereabouts(result.output, (PAGE, TABLE, MEANS, PICTURE), "a folder a run"))
    return _status(result.failed, f"{len(result.rows)} runs")


def _search(args: argparse.Namespace) -> int:
    from .search import BEST, SEARCH_PICTURE, run_search, told

    experiment = read_experiment(args.file, _overrides(args))
    result = run_search(experiment, **_how(args))
    if args.json:
        print(json.dumps({"rows": result.rows, "best": result.best}, indent=2))
    else:
        assert experiment.search is not None  # or it would have been refused
        space = list(experiment.search.space)
        print(told("table", result.rows, space, result.best, result.looks))
        names = (BEST, PAGE, TABLE, SEARCH_PICTURE)
        print(_whereabouts(result.output, names, "a folder a trial"))
    return _status(result.failed, f"{len(result.rows)} trials")


def _how(args: argparse.Namespace) -> dict[str, Any]:
    """What both kinds of experiment are asked alike."""
    if several():
        raise UsageError(
            "an experiment must be started once, without torchrun: --workers trains several runs "
            "at a time"
        )
    return {k: getattr(args, k) for k in ("output", "cores", "workers", "retry", "quiet")}


def _whereabouts(output: Path, names: Sequence[str], folders: str) -> str:
    """What the command says of the files called ``names``, and of ``folders``, that are there."""
    there = [name for name in names if (output / name).exists()]
    there += [folders] if any(entry.is_dir() for entry in output.iterdir()) else []
    return f"\neverything is in {output}: {', '.join(there)}"


def _status(failed: int, of: str) -> int:
    """What the command leaves with; says what to do if there are any that ``failed``."""
    if failed:
        again = "the same command goes on with what was stopped, and --retry with the rest"
        tell(f"{failed} of {of} failed: {again}")
    return 1 if failed else 0


#: what to do -> (about it, how)
ACTIONS: dict[str, tuple[str, Callable[[argparse.Namespace], int]]] = {
    "grid": ("run every combination of values and compare them", _grid),
    "search": ("look for the best values by the validation split", _search),
}


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment in a file, or go on with it, and print what came of it."""
    words = list(sys.argv[1:] if argv is None else argv)
    chooser = Chooser(
        "experiment",
        "action",
        {name: about for name, (about, _) in ACTIONS.items()},
        description="Run an experiment that a YAML file describes; the same command goes on.",
        usage="FILE [options]",
    )
    name = chooser.chosen(words)
    if name is None:
        return 0
    about, run = ACTIONS[name]
    parser = Parser(f"experiment {name}", description=f"{about.capitalize()}.")
    _add_flags(parser)
    return run(parser.parse_args(words[1:]))


def _add_flags(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="the experiment, in YAML")
    parser.add_argument(
        "--output", metavar="FOLDER", help="where to write (default: runs/ and the file's name)"
    )
    parser.add_argument(
        "--cores",
        type=_count,
        metavar="N",
        help="to compute on (default: those there are for this process)",
    )
    parser.add_argument(
        "--workers",
        type=_count,
        metavar="N",
        default=1,
        help="runs at once, which share the cores (default: 1)",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        type=assignment("FIELD=VALUE, such as epochs=3"),
        action="extend",
        metavar="FIELD=VALUE",
        default=[],
        help="in place of what the file says under train: epochs=3 dataset=folder",
    )
    parser.add_argument("--dataset", metavar="NAME", help="the same as --set dataset=NAME")
    parser.add_argument("--data-dir", metavar="PATH", help="where the data set is")
    parser.add_argument(
        "--retry", action="store_true", help="try again what failed, not only what was stopped"
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def _overrides(args: argparse.Namespace) -> dict[str, Any]:
    """Fields as the command line sets them."""
    pairs = [*args.set]
    pairs += [("dataset", args.dataset)] if args.dataset is not None else []
    pairs += [("data_dir", args.data_dir)] if args.data_dir is not None else []
    given: dict[str, Any] = {}
    for field, value in pairs:
        check_field(field, "--set")
        if field in given:
            raise UsageError(f"{field} is set twice: {given[field]!r:.40} and {value!r:.40}")
        given[field] = value
    return given


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"wanted a whole number from 1 to 1024, got {text!r}")
    return int(text)
