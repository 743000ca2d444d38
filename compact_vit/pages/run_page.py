"""What the page of a finished run says, section by section."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..ranking import COUNTED, Row
from ..report.costs import Cost
from ..scoring import accuracy_interval, balanced_accuracy
from ..tables import duration
from .charts import confidence_chart, curve_charts, ranking_chart, reliability_chart

if TYPE_CHECKING:
    from jinja2 import Template

#: Up to so many classes every field of the confusion matrix is written out.
_WRITTEN = 20
_WORST = 12
#: From this share (percent) on, a field is so dark that writing on it is white.
_DARK = 35


class Sample(NamedTuple):
    """One picture and what the model says of it; pictures are data URIs."""

    picture: str
    said: str
    confidence: float
    """Percent."""
    truth: str
    maps: Mapping[str, str] = {}
    """Where the model looks, by the name of the map, laid over the picture."""


def page_of_run(
    *,
    title: str,
    config: Mapping[str, Any],
    summary: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    training_loss: str,
    classes: Sequence[str],
    epoch: int | None,
    confusion: Sequence[Sequence[int]],
    reliability: tuple[Sequence[int], Sequence[float], Sequence[float]],
    calibration_error: float,
    ranking: Sequence[Row],
    published: str | None,
    kinds: Mapping[str, Cost] | None,
    right: Sequence[Sample],
    wrong: Sequence[Sample],
    attended: Sequence[Sample],
) -> str:
    """A page of HTML that needs no other file and no network, all names in it escaped.

    ``config``, ``summary`` and ``history`` are what the run's files hold; ``epoch`` is the one
    whose weights gave the answers. ``training_loss`` is what that loss is and the others are not,
    or nothing. ``confusion`` counts true classes in rows and predicted ones in columns;
    ``reliability`` is what ``reliability_chart`` takes. ``ranking`` is of the run alone, or among
    the results ``published`` on a data set. ``kinds`` are the costs of a model that is made of
    them. Sections of which there is nothing say so, or are left out.
    """
    best = summary.get("best") or {}
    named = len(classes) <= _WRITTEN
    return _template().render(
        title=title,
        summary=summary,
        tiles=_tiles(summary, len(classes)),
        curves=curve_charts(history),
        training_loss=training_loss,
        standing=_standing(ranking),
        standing_chart=ranking_chart(ranking) if published else None,
        published=published,
        counted=COUNTED["without"],
        sizes=None if kinds is None else _sizes(kinds),
        classes=classes,
        epoch=epoch,
        picked=best.get("picked_on") and best["epoch"] == epoch,
        balanced=balanced_accuracy(confusion),
        confusion=_fields(confusion) if named else None,
        confusion_picture=None if named else _shaded(confusion),
        mistakes=[] if named else _mistakes(confusion, classes),
        reliability=[reliability_chart(*reliability), confidence_chart(reliability[0])],
        calibration_error=calibration_error,
        bins=len(reliability[0]),
        right=right,
        wrong=wrong,
        attended=attended,
        configuration={name: _written(value) for name, value in config.items()},
        machine=_machine(summary),
    )


@functools.cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("run.html")


def _tiles(summary: Mapping[str, Any], classes: int) -> list[tuple[str, str, str]]:
    """The figures that come first: what, how much, and how that is meant."""
    final, score = summary["final"], summary["score"]
    low, high = accuracy_interval(final["accuracy"], final["n"])
    tiles = [
        (
            "accuracy",
            f"{final['accuracy']:.2f}%",
            f"last epoch, {final['n']:,} {final['split']} pictures; "
            f"95%: {low:.2f} to {high:.2f} (Wilson)",
        )
    ]
    if classes > 5:
        tiles.append(
            ("top-5 accuracy", f"{final['top5']:.2f}%", "the class is among the first five")
        )
    best = summary.get("best") or {}
    if best.get("picked_on"):
        note = (
            f"{final['split']}, epoch {best['epoch']}, picked on the validation split; evaluate, "
            "predict and export take it"
        )
        tiles.append(("best epoch", f"{best['accuracy']:.2f}%", note))
    tiles += [
        (
            "score",
            f"{score['value']:,.1f}",
            f"100 x (accuracy - {score['floor']:g}) / millions of parameters "
            f"{COUNTED['without']}, 0 below {score['floor']:g}%",
        ),
        (
            "parameters",
            f"{summary['parameters_without_positions']:,}",
            f"{COUNTED['without']}; {summary['parameters']:,} with",
        ),
    ]
    if summary.get("macs"):
        tiles.append(("MACs", f"{summary['macs'] / 1e6:,.1f}M", "multiply-accumulates a picture"))
    done, asked = final.get("epoch", summary["epochs"]), summary["epochs"]
    note = (
        f"{done:,} epoch{'s' * (done != 1)} on {summary['train_pictures']:,} pictures, with tests"
    )
    if done < asked:
        note += f"; stopped early, of {asked:,}"
    return [*tiles, ("training", duration(summary["seconds"]), note)]


def _standing(ranking: Sequence[Row]) -> list[dict[str, Any]]:
    rows = []
    for row in ranking:
        result = row.result
        own = result.origin == "run"
        rows.append(
            {
                "own": own,
                "rank": "-" if row.rank is None else str(row.rank),
                "name": result.name,
                "accuracy": "" if result.accuracy is None else f"{result.accuracy:.2f}",
                "epochs": "" if result.epochs is None else f"{result.epochs:,}",
                "parameters": "" if result.parameters is None else f"{result.parameters:,}",
                "counted": _otherwise(result.counted),
                "score": "" if row.score is None else f"{row.score:,.1f}",
                "interval": ""
                if row.interval is None
                else "{:,.1f} to {:,.1f}".format(*row.interval),
                "front": row.front,
                "source": "this run" if own else result.source.split(",")[0].split(";")[0],
            }
        )
    return rows


def _otherwise(counted: str) -> str:
    """How parameters are counted, where that is not as the page says."""
    return "" if counted == COUNTED["without"] else counted.removesuffix(" (its source)")


def _sizes(kinds: Mapping[str, Cost]) -> list[list[tuple[str, float]]]:
    """A row for each kind and one for their sum: each quantity, and its share in percent."""

    def row(costs: Sequence[Cost]) -> tuple[float, float, float]:
        return (
            sum(cost.parameters for cost in costs),
            sum(cost.macs for cost in costs),
            sum(cost.activation_megabytes for cost in costs),
        )

    whole = row(list(kinds.values()))
    rows = []
    for name, values in [*((n, row([c])) for n, c in kinds.items()), ("total", whole)]:
        if any(values):
            parameters, macs, megabytes = values
            written = f"{parameters:,}", f"{macs / 1e6:,.2f}", f"{megabytes:,.2f}"
            shares = [100 * v / w if w else 0.0 for v, w in zip(values, whole, strict=True)]
            rows.append([(name, 0.0), *zip(written, shares, strict=True)])
    return rows


def _shares(confusion: Sequence[Sequence[int]]) -> list[list[float]]:
    """Percent of the true class, 0 for a class without pictures."""
    return [[100 * n / max(1, sum(row)) for n in row] for row in confusion]


def _fields(confusion: Sequence[Sequence[int]]) -> list[list[dict[str, Any]]]:
    return [
        [
            {
                "text": f"{share:.1f}" if n else "",
                "count": f"{n:,}",
                "depth": f"{(share / 100) ** 0.5:.2f}",
                "dark": share > _DARK,
            }
            for n, share in zip(counts, shares, strict=True)
        ]
        for counts, shares in zip(confusion, _shares(confusion), strict=True)
    ]


def _shaded(confusion: Sequence[Sequence[int]]) -> str:
    from .images import shares_uri

    return shares_uri([[share / 100 for share in row] for row in _shares(confusion)])


def _mistakes(
    confusion: Sequence[Sequence[int]], classes: Sequence[str]
) -> list[tuple[str, str, str, str]]:
    """The commonest: true class, predicted class, how often, share of the true class."""
    shares = _shares(confusion)
    found = [
        (n, i, j) for i, row in enumerate(confusion) for j, n in enumerate(row) if n and i != j
    ]
    found.sort(key=lambda mistake: -mistake[0])
    return [
        (classes[i], classes[j], f"{n:,}", f"{shares[i][j]:.1f}%") for n, i, j in found[:_WORST]
    ]


def _machine(summary: Mapping[str, Any]) -> dict[str, str]:
    keys = ("hardware", "precision", "compiled", "attention", "processes", "skipped_steps")
    machine = {key.replace("_", " "): _written(summary[key]) for key in keys if key in summary}
    return machine | {name: str(version) for name, version in summary.get("versions", {}).items()}


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return " x ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
