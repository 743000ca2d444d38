"""``python -m compact_vit.export RUN --output FOLDER``: a finished run as weights to hand on."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli import Parser, program
from .errors import UsageError, printable

if TYPE_CHECKING:
    from .data.pictures import Pictures
    from .models.compact import CompactTransformer
    from .score.runs import Needed
    from .train.config import TrainConfig
    from .train.run import RunFolder
    from .train.trained import TrainedModel


#: What ``summary.json`` says of how the weights came about.
_TOLD: Needed = (
    ("train_pictures", int, lambda v: v >= 1),
    ("seconds", (int, float), lambda v: 0 <= v < math.inf),
    ("hardware", str, bool),
    ("versions", dict, bool),
)

#: What files of weights are called elsewhere.
_FILES = (".onnx", ".pt", ".pt2", ".pth", ".safetensors")

#: What the machine decided, whatever was asked for; summaries of old do not say.
_DECIDED = ("precision", "attention", "attention_dropout")


def export_run(
    run: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    half: bool = False,
    checkpoint: str | None = None,
    dataset: str | None = None,
    copy: str | None = None,
    credit: str | None = None,
    license: str | None = None,
    data_dir: str | None = None,
    test: bool = True,
    device: str = "auto",
) -> dict[str, Any]:
    """Write the weights of the finished ``run`` and all that is known of them to ``output``.

    ``half`` rounds them to float16. With ``test`` they are tested as they are written, in float32,
    on the full test set; ``data_dir`` stands in where the data set has moved. ``dataset`` names the
    pictures (the run's data set, a folder by its own name), ``copy`` says how they differ from the
    originals, ``credit`` whose they are, ``license`` what the weights may be used for. Returns the
    content of ``config.json``. Raises ``UsageError`` for a run that is none, unfinished, damaged,
    or not of a compact transformer, and for an output that holds something else.
    """
    from .evaluate import open_split
    from .models.compact import CompactTransformer
    from .models.saving import rounded
    from .train.config import data_name
    from .train.machine import pick_device
    from .train.run import RunFolder
    from .train.summary import score_of
    from .train.trained import load_model

    pick_device(device)  # what is wrong is said before the pictures are read
    output = Path(os.path.expanduser(output))
    _check_output(output)
    summary = _summary_of(RunFolder.open(run))
    if test:
        trained, pictures = open_split(run, checkpoint=checkpoint, data_dir=data_dir)
    else:
        trained, pictures = load_model(run, checkpoint), None
    model = trained.model
    if not isinstance(model, CompactTransformer):
        raise UsageError(
            f"'{run}' must be of a compact transformer, got {trained.config.model}: hand on "
            f"torch.load('{run}/best.pt')['weights'], or train one, such as --model cct_2_3x2"
        )
    if half:
        model.load_state_dict({k: rounded(v) for k, v in model.state_dict().items()})
    dataset = printable(dataset or data_name(trained.config))
    about = f"{trained.config.model}, trained on {dataset}."
    model.pretrained_cfg |= {"tag": dataset, "description": about}
    model.pretrained_cfg |= {"license": license} if license else {}
    said = {"dataset": dataset, "copy": copy, "credit": credit}
    facts = {"training": said | _training(trained, summary), "size": _size(model)}
    if pictures is not None:
        facts["results"] = results = _tested(trained, pictures, device)
        score = score_of(results["accuracy"], facts["size"]["parameters_without_positions"])
        facts["size"]["score"] = score | {"accuracy": _which(checkpoint, trained, summary)}
    return model.save_pretrained(output, half=half, facts=facts)


def _check_output(path: Path) -> None:
    """Refuse what cannot be a folder of weights, and what is called like a file of another form."""
    from .models.saving import check_folder

    if path.suffix.lower() in _FILES and not path.is_dir():
        raise UsageError(
            f"output must be a folder, for weights, config.json and a card, got '{path}': leave "
            "out the ending; for ONNX, torch.export and TorchScript see Weights in the README"
        )
    check_folder(path)


def _summary_of(run: RunFolder) -> dict[str, Any]:
    """The summary of ``run``; ``UsageError`` for one that is damaged, or of no use to others."""
    from .score.runs import read_summary

    wanted = (("best", dict, bool), ("final.epoch", int, lambda v: v >= 1))
    summary = read_summary(run, (*_TOLD, *wanted))
    if "overfit" in summary:
        raise UsageError(
            f"'{run.path}' has learnt a few pictures by heart, to train and to test on: export a "
            "run without overfit"
        )
    return summary


def _training(trained: TrainedModel, summary: Mapping[str, Any]) -> dict[str, Any]:
    """How the weights came about."""
    config, done = trained.config, summary["final"]["epoch"]
    return {
        "recipe": config.recipe,
        "epochs": done,
        **({"planned_epochs": config.epochs} if done != config.epochs else {}),
        "epoch": trained.epoch,
        "seed": config.seed,
        "command": command_of(config),
        **{name: summary[name] for name, _, _ in _TOLD},
        **{name: summary[name] for name in _DECIDED if name in summary},
    }


def _which(checkpoint: str | None, trained: TrainedModel, summary: Mapping[str, Any]) -> str:
    """Whose accuracy it is: of the best epoch, if the run picked one and it is taken, or final."""
    best = {} if checkpoint == "last" else summary["best"]
    return "best" if best.get("picked_on") and best.get("epoch") == trained.epoch else "final"


def _tested(trained: TrainedModel, pictures: Pictures, device: str) -> dict[str, Any]:
    """The figures of the test ``pictures``, in float32 as whoever uses the weights computes."""
    from .evaluate import evaluate_pictures
    from .evaluated import class_report

    evaluation = evaluate_pictures(trained, pictures, device, "fp32")
    report = class_report(evaluation, trained.classes)
    return {
        "split": "test",
        "n": evaluation.n,
        "precision": "fp32",
        **evaluation.figures(),
        "balanced_accuracy": report["balanced_accuracy"],
    }


def _size(model: CompactTransformer) -> dict[str, Any]:
    from .report import summarize

    size = summarize(model, (model.in_chans, *model.config.height_width))
    counted = ("parameters", "parameters_without_positions", "macs")
    return {name: getattr(size, name) for name in counted}


def command_of(config: TrainConfig) -> str:
    """The command that trains by ``config``, its data in ``PICTURES`` and other runs in ``RUN``."""
    from .train.config import TrainConfig, is_name

    named = {name: getattr(config, name) for name in ("dataset", "recipe", "model")}
    plain = TrainConfig(**named, data_dir=config.data_dir)
    for name in ("objective", "overfit", "optimizer", "lr"):  # by which others are chosen
        if getattr(config, name) != getattr(plain, name):
            named[name] = getattr(config, name)
            plain = TrainConfig(**named, data_dir=config.data_dir)
    words = ["python", "-m", "compact_vit.train"]
    left_out = {*named, "track"}  # who was told changes nothing
    others = [entry.name for entry in dataclasses.fields(config) if entry.name not in left_out]
    for name in [*named, *others]:
        value, flag = getattr(config, name), f"--{name.replace('_', '-')}"
        if value is None:
            continue
        if name == "data_dir":
            words += [flag, "PICTURES"]
        elif name in ("init_from", "teacher") and not is_name(name, value):
            words += [flag, "RUN"]
        elif name == "cpu_attention_dropout":
            if value != ("--attention-dropout" in words):  # which, asked for, asks for this too
                words += _words(flag, value)
        elif name in named or value != getattr(plain, name):
            words += _words(flag, value)
    return shlex.join(words)


def _words(flag: str, value: Any) -> list[str]:
    """A flag of training and its value, as they are typed."""
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if isinstance(value, dict):
        return [flag, *(f"{name}={_typed(inside, ',')}" for name, inside in value.items())]
    return [flag, _typed(value, "x" if flag == "--img-size" else ",")]


def _typed(value: Any, between: str) -> str:
    """A value as it is typed, the parts of a tuple with something ``between`` them."""
    if isinstance(value, (tuple, list)):
        return between.join(_typed(part, between) for part in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parser() -> Parser:
    parser = Parser(
        "export",
        description="Write a finished run's weights as safetensors, with config.json and a card.",
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="the folder that training wrote")
    add("--output", metavar="FOLDER", help="where to write")
    add("--half", action="store_true", help="round the weights to half precision")
    add("--checkpoint", metavar="NAME", help="last or best, as in evaluate")
    add("--dataset", metavar="NAME", help="what the pictures are called (default: as in the run)")
    add("--copy", metavar="TEXT", help='how they differ from the originals: "JPEG, quality 75"')
    add("--credit", metavar="TEXT", help="whose pictures they are")
    add("--license", metavar="NAME", help="what the weights may be used for, such as mit")
    add("--data-dir", metavar="PATH", help="where the data set is now")
    add("--no-test", action="store_true", help="leave the accuracy out, where the data is not here")
    add("--device", metavar="NAME", default="auto", help="auto, cpu, cuda, ...")
    add("--json", action="store_true", help="print config.json")
    return parser


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Write the folder, and say what is in it."""
    parser = _parser()
    given = vars(parser.parse_args(argv))
    if given["output"] is None:  # after any unknown argument has been named
        parser.error("the following arguments are required: --output")
    as_json, test = given.pop("json"), not given.pop("no_test")
    card = export_run(**given, test=test)
    print(json.dumps(card, indent=2) if as_json else _told(card, Path(given["output"])))
    return 0


def _told(card: Mapping[str, Any], output: Path) -> str:
    results, size = card.get("results"), card["size"]
    megabytes = (output / "model.safetensors").stat().st_size / 1e6
    lines = [
        f"{card['architecture']}, {size['parameters']:,} parameters in {card['dtype']}, "
        f"{megabytes:.2f} MB"
    ]
    if results is not None:
        score, epoch = size["score"]["value"], card["training"]["epoch"]
        lines.append(
            f"{results['accuracy']:.2f}% of {results['n']:,} test pictures by epoch {epoch}, "
            f"computed in {results['precision']}, score {score:.3f}"
        )
    return "\n".join([*lines, f"everything is in {output}"])


if __name__ == "__main__":
    sys.exit(main())
