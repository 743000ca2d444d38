"""``python -m compact_vit.plot PICTURE ...``: one table of pictures, a parser for each.

Imports no torch, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..cli import Chooser, Parser, program
from ..errors import UsageError
from ..evaluate import add_run_flags
from ..train.cli import add_training_flag
from ..train.config import TrainConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Fields that may be other than a run's own where its augmentation is drawn.
_OPEN_FIELDS = ("data_dir", "download", "seed")


def _curves_flags(parser: Parser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", help="folders that training wrote")
    parser.add_argument(
        "--axes", metavar="KIND", default="linear", help="linear or log-log (default: linear)"
    )
    parser.add_argument(
        "--labels", metavar="NAME", nargs="+", help="what the runs are called (their folders)"
    )
    parser.add_argument("--title", metavar="TEXT", help="above the picture (the data set's name)")


def _curves(args: argparse.Namespace) -> tuple[Figure, Path]:
    from . import figures

    where = Path(args.runs[0]) if len(args.runs) == 1 else Path()
    name = "curves" if args.axes == "linear" else f"curves-{args.axes}"
    figure = figures.curves(args.runs, args.axes, labels=args.labels, title=args.title)
    return figure, where / f"{name}.png"


def _confusion(args: argparse.Namespace) -> tuple[Figure, Path]:
    from . import figures

    return figures.confusion(**vars(args)), Path(args.run) / f"confusion-{args.split}.png"


def _errors_flags(parser: Parser) -> None:
    add_run_flags(parser)
    parser.add_argument(
        "--count", metavar="N", type=int, default=24, help="mistakes shown (default: 24)"
    )


def _errors(args: argparse.Namespace) -> tuple[Figure, Path]:
    from . import figures

    return figures.errors(**vars(args)), Path(args.run) / f"errors-{args.split}.png"


def _attention_flags(parser: Parser) -> None:
    parser.add_argument("run", metavar="RUN", help="the folder that training wrote")
    parser.add_argument("pictures", metavar="PICTURE", nargs="+", help="picture files")
    parser.add_argument("--checkpoint", metavar="NAME", help="last or best, as in evaluate")
    parser.add_argument("--device", metavar="NAME", default="auto", help="auto, cpu, cuda, ...")


def _attention(args: argparse.Namespace) -> tuple[Figure, Path]:
    from . import figures

    return figures.attention(**vars(args)), Path(args.run) / "attention.png"


def _training_flags(parser: Parser) -> None:
    parser.add_argument("run", metavar="RUN", nargs="?", help="a run, in place of training's flags")
    group = parser.add_argument_group("training's flags")
    for entry in dataclasses.fields(TrainConfig):
        add_training_flag(group, entry)


def _configuration(args: argparse.Namespace) -> TrainConfig:
    """The run's configuration, or that of the flags."""
    given = {
        entry.name: getattr(args, entry.name)
        for entry in dataclasses.fields(TrainConfig)
        if hasattr(args, entry.name)
    }
    if args.run is None:
        return TrainConfig(**given)
    extra = [name for name in given if name not in _OPEN_FIELDS]
    if extra:
        flags = ", ".join("--" + name.replace("_", "-") for name in extra)
        raise UsageError(f"a run brings its own configuration: leave out RUN, or {flags}")
    from ..train.run import RunFolder

    return dataclasses.replace(RunFolder.open(args.run).config(), **given)


def _samples_flags(parser: Parser) -> None:
    for flag, default, what in (("--pictures", 8, "columns"), ("--draws", 4, "rows below them")):
        parser.add_argument(
            flag, metavar="N", type=int, default=default, help=f"{what} (default: {default})"
        )
    _training_flags(parser)


def _samples(args: argparse.Namespace) -> tuple[Figure, Path]:
    config = _configuration(args)
    from . import figures

    figure = figures.samples(config, pictures=args.pictures, draws=args.draws)
    return figure, Path(args.run or "") / "samples.png"


def _schedule(args: argparse.Namespace) -> tuple[Figure, Path]:
    config = _configuration(args)
    from . import figures

    return figures.schedule(config), Path(args.run or "") / "schedule.png"


_Flags = Callable[[Parser], None]
_Draw = Callable[[argparse.Namespace], "tuple[Figure, Path]"]

#: picture -> (what it shows, its flags, how it is drawn and where it goes by default)
PICTURES: dict[str, tuple[str, _Flags, _Draw]] = {
    "curves": ("loss and accuracy of runs over the epochs", _curves_flags, _curves),
    "confusion": ("which classes a run takes for which", add_run_flags, _confusion),
    "samples": ("what the augmentation does to a batch", _samples_flags, _samples),
    "attention": ("where a run looks in pictures", _attention_flags, _attention),
    "errors": ("the mistakes a run is surest of", _errors_flags, _errors),
    "schedule": ("the learning rate over the epochs", _training_flags, _schedule),
}


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Draw the picture named first, write it, and say where it is."""
    words = list(sys.argv[1:] if argv is None else argv)
    chooser = Chooser(
        "plot",
        "picture",
        {name: about for name, (about, _, _) in PICTURES.items()},
        description="Draw pictures of runs, of a recipe, and of what a model does.",
    )
    name = chooser.chosen(words)
    if name is None:
        return 0
    about, add_flags, draw = PICTURES[name]
    parser = Parser(f"plot {name}", description=f"Draw {about}.")
    add_flags(parser)
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="a .png, .pdf or .svg file (default: a .png in the run, or here)",
    )
    args = parser.parse_args(words[1:])
    from ..plots import check_picture, save_figure

    output = vars(args).pop("output")
    if output is not None:
        check_picture(Path(output))
    figure, default = draw(args)
    print(f"{name}: {save_figure(figure, output or default)}")
    return 0
