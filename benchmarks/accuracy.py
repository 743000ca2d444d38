r"""Does the library reach the published accuracies at the published length?

    python benchmarks/accuracy.py --data-dir FOLDER --dataset folder \
        --rows cct_2_3x2 cct2_2_3x2:best-200 --seeds 0 1 --copy "JPEG, quality 75, halved chroma"

trains models for 200 epochs, each with every seed, in a folder of its own under ``--output``: the
published table's, or those named, by its recipe or by the one behind a colon. What is finished
there is left alone, what was stopped goes on. It ends with a table of Markdown, which says of each
row what was published and what was measured: the last epoch's accuracy on the whole test set,
nothing picked on it. Every other flag of training overrides the recipes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from compact_vit.bench import at_least_one
from compact_vit.cli import Parser, program
from compact_vit.data.catalog import dataset_info
from compact_vit.errors import UsageError, tell, unknown
from compact_vit.experiment.names import name_by
from compact_vit.experiment.plan import PAGE
from compact_vit.files import check_is_file
from compact_vit.models.names import config_of
from compact_vit.published import PublishedResult, published_datasets, published_results
from compact_vit.scoring import mean_and_spread, size_accuracy_score
from compact_vit.tables import Column, render, write_text
from compact_vit.train.cli import add_training_flag
from compact_vit.train.config import TrainConfig
from compact_vit.train.recipes import RECIPES

#: Epochs of the table.
LENGTH = 200

#: Fields that the rows and the seeds decide, and those that would make another question of it.
_OURS = ("model", "seed", "model_options", "objective", "report_on", "overfit")


class Row(NamedTuple):
    """A model and the recipe that it is trained by; what is published of it, if anything is."""

    model: str
    recipe: str
    published: PublishedResult | None

    def run(self, output: Path, seed: int) -> Path:
        """Where its run with ``seed`` is."""
        values = {"model": self.model, "recipe": self.recipe, "seed": seed}
        return output / name_by(_NAME, values.__getitem__)


_NAME = "{model}-{recipe}-seed{seed}"

_percent = "{:.2f}".format
_count = "{:,}".format

COLUMNS = [
    Column("name", "model", text=True),
    Column("recipe", "recipe", text=True),
    Column("published", f"published, {LENGTH} epochs,\nbest of several", _percent),
    Column("script", "published code's script,\nsame pictures", _percent),
    Column("accuracy", "measured,\nmean", _percent),
    Column("deviation", "±", _percent),
    Column("runs", "runs"),
    Column("epochs", "epochs"),
    Column("difference", "difference", "{:+.2f}".format),
    Column("n", "test\npictures", _count),
    Column("parameters", "parameters", _count),
    Column("bare", "without\npositions", _count),
    Column("score", "score", "{:,.1f}".format),
    Column("minutes", "minutes\na run", "{:,.1f}".format),
    Column("speed", "pictures/s", "{:,.0f}".format),
]


def published_table(dataset: str) -> dict[str, PublishedResult]:
    """The published table of ``LENGTH`` epochs on ``dataset``, by the members' names."""
    table: dict[str, PublishedResult] = {}
    for result in published_results(dataset):
        if result.model is not None and result.epochs == LENGTH:
            table.setdefault(result.model, result)  # the paper's come first
    return table


def rows_of(words: Sequence[str] | None, recipe: str, dataset: str | None) -> list[Row]:
    """The rows that ``MODEL`` and ``MODEL:RECIPE`` name; all that are published if there are none.

    ``recipe`` is that of the words without one, ``dataset`` whose results are published, if any
    are. Raises ``UsageError`` for an unknown model or recipe, and where no row is left.
    """
    table = published_table(dataset) if dataset is not None else {}
    if not words and not table:
        raise UsageError("--rows must name models, as nothing is published of the data set")
    rows = []
    for word in words or table:
        model, colon, named = word.partition(":")
        config_of(model)
        chosen = named if colon else recipe
        if chosen not in RECIPES:
            raise unknown("recipe", chosen, RECIPES)
        rows.append(Row(model, chosen, table.get(model)))
    return list(dict.fromkeys(rows))


def record(
    row: Row, summaries: Sequence[Mapping[str, Any]], script: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """``row`` in the table, of the runs that have finished, and of the published ``script``'s."""
    known = row.published
    classes = {summary["num_classes"] for summary in summaries}
    if known is not None and classes - {dataset_info(known.dataset).num_classes}:
        known = None  # of another task
    published = None if known is None else known.accuracy
    told = dict.fromkeys(column.key for column in COLUMNS) | {
        "name": row.model,
        "recipe": row.recipe,
        "published": published,
        "runs": len(summaries),
    }
    if not summaries:
        return told
    accuracy = mean_and_spread([s["final"]["accuracy"] for s in summaries])
    first = summaries[0]
    final, bare = first["final"], first["parameters_without_positions"]
    same = final["epoch"], final["n"]
    theirs = [s["accuracy"] for s in script if (s["epochs"], s.get("n")) == same]
    return told | {
        "script": _mean(theirs) if theirs else None,
        "accuracy": accuracy.mean,
        "deviation": accuracy.deviation,
        "epochs": final["epoch"],
        "difference": accuracy.mean - published if published and final["epoch"] == LENGTH else None,
        "n": final["n"],
        "parameters": first["parameters"],
        "bare": bare,
        # of the mean: the mean of scores would not know how far below the floor a run is
        "score": size_accuracy_score(accuracy.mean, bare, known_percent=True),
        "minutes": _mean([s["seconds"] / 60 for s in summaries]),
        "speed": _mean([s["pictures_per_second"] for s in summaries]),
    }


def _mean(values: Sequence[float]) -> float:
    return mean_and_spread(values).mean


def notes(
    summaries: Sequence[Mapping[str, Any]], dataset: str | None, copy: str | None, command: str
) -> list[str]:
    """What the table cannot be read without."""
    published = f"published: {dataset}, arXiv 2104.05704; " if dataset is not None else ""
    told = [
        f"{published}measured: the last epoch's test accuracy, nothing picked; ±: sample standard "
        "deviation over seeds",
        "score: 100 x points above 70% / million parameters without positions",
    ]
    if copy is not None:
        told.append(f"the pictures are a copy ({copy}): not comparable digit for digit")
    for title, key in (
        ("precision", "precision"),
        ("attention dropout", "attention_dropout"),
        ("parts a batch", "parts"),
        ("on", "hardware"),
    ):
        told += [f"{title}: {', '.join(_distinct(summaries, key))}"] if summaries else []
    versions = [", ".join(f"{k} {v}" for k, v in s["versions"].items()) for s in summaries]
    told += [f"with {'; or '.join(dict.fromkeys(versions))}"] if versions else []
    return [*told, f"`{command}`"]


def _distinct(summaries: Sequence[Mapping[str, Any]], key: str) -> list[str]:
    return list(dict.fromkeys(str(summary[key]) for summary in summaries))


def _parser() -> Parser:
    parser = Parser(
        "accuracy", description=__doc__.split("\n\n")[0], epilog="further flags: those of training"
    )
    add = parser.add_argument
    add(
        "--rows",
        nargs="+",
        metavar="MODEL[:RECIPE]",
        help="models, and recipes other than --recipe (default: all of the published table)",
    )
    add("--seeds", nargs="+", type=int, default=[0], metavar="N", help="default: 0")
    add("--published", metavar="NAME", help="whose table (default: its own, a folder's cifar10)")
    add("--copy", metavar="TEXT", help="how the pictures differ from the originals")
    add("--script-runs", type=Path, metavar="FOLDER", help="what published_script.py left, beside")
    add("--output", default="runs/accuracy", metavar="FOLDER", help="default: runs/accuracy")
    add("--markdown", metavar="FILE", help="the table (default: ACCURACY.md in --output)")
    add("--workers", type=at_least_one, default=1, metavar="N", help="runs at once (1)")
    add("--cores", type=at_least_one, metavar="N", help="for all of them (all there are)")
    add("--retry", action="store_true", help="try again what failed for a reason of its own")
    add("--quiet", action="store_true", help="show no progress")
    training = parser.add_argument_group("training")
    for entry in dataclasses.fields(TrainConfig):
        if entry.name not in _OURS:
            add_training_flag(training, entry)
    parser.set_defaults(dataset="cifar10", recipe="published-200", epochs=LENGTH)
    return parser


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Train what is not trained yet, and write the table."""
    from compact_vit.train.machine import pick_device

    words = list(sys.argv[1:] if argv is None else argv)
    args = _parser().parse_args(words)
    own = "cifar10" if args.dataset == "folder" else args.dataset
    dataset = args.published or (own if own in published_datasets() else None)
    rows, output = rows_of(args.rows, args.recipe, dataset), Path(args.output)
    pick_device(getattr(args, "device", "auto"))  # a wrong name is said once, before any run
    script = _script_runs(args.script_runs)
    markdown = Path(args.markdown or output / "ACCURACY.md")
    check_is_file(markdown)
    failed = _train(args, rows, output)
    runs = {row: _finished(output, row, args.seeds) for row in rows}
    records = [
        record(row, summaries, script.get(row.model, ()) if row.recipe == "published-200" else ())
        for row, summaries in runs.items()
    ]
    dataset = dataset if any(told["published"] for told in records) else None
    every = [summary for summaries in runs.values() for summary in summaries]
    command = shlex.join(["python", "benchmarks/accuracy.py", *_anywhere(words)])
    text = render("markdown", COLUMNS, records, {}, notes(every, dataset, args.copy, command))
    title = "Accuracies, measured" if dataset is None else "The published table, measured again"
    titled = f"# {title}\n\n{text}"
    write_text(markdown, titled)
    print(text)
    if failed:
        tell(
            f"{failed} runs have not finished: why is in {output / PAGE}, --retry tries them again"
        )
    return 1 if failed else 0


def _train(args: argparse.Namespace, rows: Sequence[Row], output: Path) -> int:
    """Run every row with every seed; how many did not finish."""
    from compact_vit.experiment import Experiment, run_grid

    fields = {entry.name for entry in dataclasses.fields(TrainConfig)} - {"recipe"}
    experiment = Experiment(
        path=Path("accuracy"),
        name=_NAME,
        train={name: value for name, value in vars(args).items() if name in fields},
        grid={"seed": list(dict.fromkeys(args.seeds))},
        cases=[{"model": row.model, "recipe": row.recipe} for row in rows],
        axes="linear",
        against=None,
        search=None,
    )
    result = run_grid(
        experiment,
        output=output,
        cores=args.cores,
        workers=args.workers,
        retry=args.retry,
        quiet=args.quiet,
    )
    return result.failed


def _finished(output: Path, row: Row, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """The summaries of the runs of ``row`` that have finished."""
    paths = [row.run(output, seed) / "summary.json" for seed in dict.fromkeys(seeds)]
    return [json.loads(path.read_bytes()) for path in paths if path.exists()]


def _script_runs(folder: Path | None) -> dict[str, list[dict[str, Any]]]:
    """By model, the summaries of the runs that ``published_script.py`` left in ``folder``."""
    found: dict[str, list[dict[str, Any]]] = {}
    if folder is None:
        return found
    for path in sorted(folder.glob("*/summary.json")):
        try:
            summary = json.loads(path.read_bytes())
        except ValueError:
            raise UsageError(f"'{path}' is damaged: make its run again") from None
        if isinstance(summary, dict) and {"model", "words", "accuracy"} <= summary.keys():
            found.setdefault(summary["model"], []).append(summary)  # and none of this library's
    if not found:
        raise UsageError(f"--script-runs must hold runs of published_script.py, got '{folder}'")
    return found


def _anywhere(words: Sequence[str]) -> list[str]:
    """The command's words without the folders of this machine."""
    folders = {"--data-dir": "FOLDER", "--output": "RUNS", "--markdown": "FILE"}
    folders |= {"--script-runs": "SCRIPT_RUNS"}
    apart = [part for word in words for part in _flag_and_value(word)]
    return [
        folders.get(before, word) for before, word in zip(["", *apart[:-1]], apart, strict=True)
    ]


def _flag_and_value(word: str) -> list[str]:
    """``--flag=value`` as the two words that it stands for."""
    return word.split("=", 1) if word.startswith("--") else [word]


if __name__ == "__main__":
    sys.exit(main())
