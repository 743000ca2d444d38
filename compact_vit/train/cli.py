"""The command line of training: every field of ``TrainConfig`` is a flag of the same name."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..cli import Parser, pixels, program, speaks
from ..data.catalog import DATASETS
from ..errors import UsageError
from ..strict_yaml import assignment
from .config import TrainConfig
from .interrupt import seconds_of
from .recipes import RECIPES

if TYPE_CHECKING:
    from .result import TrainResult

_EPILOG = (
    f"data sets: {', '.join(DATASETS)}. recipes: {', '.join(RECIPES)}. A flag that is not given "
    "takes the recipe's value, and without --recipe the data set's own."
)

#: What a text stands for, where it is no name.
_METAVARS = {"data_dir": "PATH", "init_from": "WEIGHTS", "teacher": "RUN"}

#: What other programs call what a flag does.
ELSEWHERE = {
    "--pretrained": "--init-from",
    "--weights": "--init-from",
    "--learning-rate": "--lr",
    "--freeze": "--layer-decay 0",
    "--activation": "--model-options activation=NAME",
    "--widths": "--model-options widths=N,N",
    "--hidden": "--model-options widths=N,N",
    "--patience": "--early-stopping",
    "--val-split": "--val-fraction",
    "--wd": "--weight-decay",
}

#: What a flag's absence means where neither a recipe nor the field itself says so.
_DEFAULTS = {
    "recipe": "by data set",
    "data_dir": "a cache in the home folder",
    "img_size": "by data set; of a folder or npz the model's own",
    "model_options": "none",
    "positional_embedding": "as the model's name says, else learnable",
    "residual": "published",
    "cpu_attention_dropout": "if --attention-dropout is given",
    "init_from": "new weights",
    "teacher": "none",
    "track": "none",
    "decay_epochs": "a third of all; multistep: a half and three quarters",
}


def build_parser() -> Parser:
    """The parser, its flags made from the fields of ``TrainConfig``."""
    parser = Parser(
        "train",
        description="Train a model and write one folder with all there is to know.",
        epilog=_EPILOG,
        elsewhere=ELSEWHERE,
    )
    run = parser.add_argument_group("run")
    run.add_argument("--output", metavar="FOLDER", help="where to write (default: under runs/)")
    run.add_argument(
        "--resume",
        metavar="RUN",
        help="go on with this run; with --data-dir or --teacher if what these name has moved",
    )
    run.add_argument(
        "--time-limit", metavar="TIME", help="save and stop before 90s, 30m, 1h30m are over"
    )
    run.add_argument("--quiet", action="store_true", help="show no progress")
    run.add_argument("--json", action="store_true", help="print the summary as JSON")
    groups: dict[str, Any] = {}
    for entry in dataclasses.fields(TrainConfig):
        name = entry.metadata["group"]
        if name not in groups:
            groups[name] = parser.add_argument_group(name)
        add_training_flag(groups[name], entry)
    return parser


def add_training_flag(group: Any, entry: dataclasses.Field[Any]) -> None:
    """One field as a flag; its absence is left for the configuration to fill."""
    options: dict[str, Any] = {"dest": entry.name, "default": argparse.SUPPRESS}
    default = _DEFAULTS.get(entry.name, "by recipe" if entry.default is None else entry.default)
    options["help"] = f"{entry.metadata['help']} (default: {default})".replace("%", "%%")
    flag = "--" + entry.name.replace("_", "-")
    kind = str(entry.type).removesuffix(" | None")
    if kind == "bool":
        options["action"] = argparse.BooleanOptionalAction
    elif entry.name == "img_size":
        options |= {"type": pixels, "metavar": "PIXELS"}
    elif entry.name == "compile":  # alone it means on
        options |= {"nargs": "?", "const": "on", "metavar": "WHEN"}
    elif entry.name == "model_options":
        wanted = "OPTION=VALUE, such as widths=512,256"
        options |= {"nargs": "+", "type": assignment(wanted), "action": _Pairs}
        options["metavar"] = "OPTION=VALUE"
    elif entry.name == "track":
        options |= {"nargs": "+", "action": _Names, "metavar": "NAME"}
    elif entry.name == "accumulation":
        options |= {"type": _count_or_auto, "metavar": "N"}
    elif entry.name == "decay_epochs":
        options |= {"type": _epochs, "metavar": "N,N"}
    else:
        options["type"] = {"int": int, "float": float}.get(kind, str)
        told = {"int": "N", "float": "X"}.get(kind, "NAME")
        options["metavar"] = _METAVARS.get(entry.name, told)
    group.add_argument(flag, **options)
    if entry.name == "model_options":
        options |= {"nargs": None, "type": _head, "metavar": "N,N"}
        options["help"] = "the model option head: widths of hidden layers after timm's features"
        group.add_argument("--head", **options)


class _Pairs(argparse.Action):
    """Names and values in one dictionary, of however many flags."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        setattr(namespace, self.dest, {**getattr(namespace, self.dest, {}), **dict(values)})


class _Names(argparse.Action):
    """Names in one tuple."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        setattr(namespace, self.dest, (*getattr(namespace, self.dest, ()), *values))


def _head(text: str) -> dict[str, tuple[int, ...]]:
    """``1024,256`` as what ``--model-options head=1024,256`` gives, or a single width."""
    if not all(width.isdecimal() for width in text.split(",")):
        raise argparse.ArgumentTypeError(f"wanted widths such as 1024,256: {text!r}")
    return {"head": tuple(map(int, text.split(",")))}


def _count_or_auto(text: str) -> int | str:
    if text != "auto" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"wanted a whole number of at least 1, or auto: {text!r}")
    return text if text == "auto" else int(text)


def _epochs(text: str) -> tuple[int, ...]:
    if not all(number.isdecimal() for number in text.split(",")):
        raise argparse.ArgumentTypeError(f"wanted a number of epochs, or 60,120,160: {text!r}")
    return tuple(map(int, text.split(",")))


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Train, or go on training, and print what came of it."""
    given = vars(build_parser().parse_args(argv))
    output, run, quiet, as_json = (given.pop(k) for k in ("output", "resume", "quiet", "json"))
    limit = given.pop("time_limit")
    time_limit = None if limit is None else seconds_of(limit)
    places = ("data_dir", "teacher") if run is not None else ()
    moved = {name: given.pop(name) for name in places if name in given}
    if run is not None and (given or output is not None):
        flags = [*given, *["output"] * (output is not None)]
        extra = ", ".join("--" + name.replace("_", "-") for name in flags)
        raise UsageError(
            f"--resume goes on as the run began: leave out {extra}, or begin another run of its "
            f"data set and model with --init-from {run}"
        )
    config = TrainConfig(**given) if run is None else None

    from .loop import resume, train

    if config is None:
        result = resume(run, **moved, quiet=quiet, time_limit=time_limit)
    else:
        result = train(config, output=output, quiet=quiet, time_limit=time_limit)
    if speaks():
        print(json.dumps(result.summary, indent=2) if as_json else _told(result))
    return 0


def _told(result: TrainResult) -> str:
    """The summary in a few lines for a person; ``UsageError`` if a finished run's is damaged."""
    try:
        return _lines(result)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        path, problem = result.output / "summary.json", f"{type(error).__name__} {error}"
        raise UsageError(
            f"'{path}' is not a run's summary ({problem:.60}): delete it, and --resume writes it "
            "anew"
        ) from None


def _lines(result: TrainResult) -> str:
    summary = result.summary
    final, best, score = summary["final"], summary["best"], summary["score"]
    if score is None:
        return _pretrained(result)
    top5 = f" (top-5 {final['top5']:.2f}%)" if summary["num_classes"] > 5 else ""
    if "overfit" in summary:
        return _learnt(result)
    split = "validation" if final["split"] == "val" else "test"
    lines = [
        f"{final['accuracy']:.2f}% {split} accuracy{top5} on {final['n']:,} pictures, "
        f"last epoch ({final['epoch']})",
    ]
    if best["picked_on"]:
        lines.append(
            f"{best['accuracy']:.2f}% {split} accuracy of epoch {best['epoch']}, "
            f"best on the validation split ({best['val_accuracy']:.2f}%), "
            "which evaluate, predict and export take"
        )
    lines.append(
        f"{summary['parameters']:,} parameters ({summary['parameters_without_positions']:,} "
        f"without positions), {summary['macs'] / 1e6:,.2f}M multiply-accumulates a picture"
    )
    lines.append(
        f"score {score['value']:.3f} = 100 x points of accuracy above {score['floor']:g}% "
        f"/ million parameters without positions"
    )
    lines.append(f"{summary['seconds']:.0f} s; everything is in {result.output}")
    return "\n".join(lines)


def _pretrained(result: TrainResult) -> str:
    """What learning without answers came to."""
    summary, final = result.summary, result.summary["final"]
    return (
        f"squared error {final['loss']:.4f} of hidden pixels on {final['n']:,} {final['split']} "
        f"pictures, last epoch ({final['epoch']})\n"
        f"{summary['seconds']:.0f} s; go on with --init-from {result.output}"
    )


def _learnt(result: TrainResult) -> str:
    """What learning by heart came to."""
    summary, told = result.summary, result.summary["overfit"]
    final, count, epoch = summary["final"], told["pictures"], told["learnt_in_epoch"]
    line = f"all {count} pictures are learnt by heart in epoch {epoch}"
    if epoch is None:
        line = (
            f"{final['accuracy']:.2f}% of the {count} pictures learnt by heart after "
            f"{final['epoch']} epochs: try more, or another lr"
        )
    return f"{line}\n{summary['seconds']:.0f} s; everything is in {result.output}"
