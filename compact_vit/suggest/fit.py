"""Which members of the families fit a budget, by arithmetic on the grammar of names."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ..data.catalog import dataset_info
from ..errors import UsageError
from ..models import arithmetic
from ..models.config import FAMILIES, SIZES, ModelConfig, config_from_name
from ..published import PublishedResult, published_datasets, published_results

#: The bounds of what is looked at.
KERNELS, CONVS = (3, 5, 7), (1, 2, 3)
MAX_PATCH = 32
TOKENS = (4, 1024)

#: Epochs of the published results that members are compared by: there is one for each of them.
BUDGET = 200


class Member(NamedTuple):
    """One member of the grammar of names."""

    name: str
    config: ModelConfig
    tokens: int
    parameters: int
    """All of them, positions too."""
    macs: int
    """Of one picture."""


def suggest(
    *,
    max_parameters: int | None = None,
    max_macs: int | None = None,
    max_latency_ms: float | None = None,
    img_size: int | tuple[int, int] = 32,
    num_classes: int = 10,
    in_chans: int = 3,
    dataset: str | None = None,
    top: int = 10,
) -> list[dict[str, Any]]:
    """The members that fit, those worth most first, as plain rows.

    ``max_parameters`` counts all parameters, positions too; latency is milliseconds of one picture
    on this machine, measured where it is limited. Worth is the accuracy published on ``dataset``
    (by default: on any of this size and number of classes) after 200 epochs; members of which none
    is published follow, the larger first. Raises ``UsageError`` if nothing fits, naming the
    smallest, or for options out of range.
    """
    for name, value in (
        ("max_parameters", max_parameters),
        ("max_macs", max_macs),
        ("num_classes", num_classes),
        ("in_chans", in_chans),
        ("top", top),
    ):
        if value is not None and value < 1:
            raise UsageError(f"{name} must be at least 1, got {value}")
    everyone = list(members(img_size, num_classes, in_chans))
    if not everyone:
        least, most = TOKENS
        shape = "x".join(map(str, _sides(img_size)))
        raise UsageError(f"no member makes {least} to {most:,} tokens of {shape} pixels")
    fitting = [
        member
        for member in everyone
        if (max_parameters is None or member.parameters <= max_parameters)
        and (max_macs is None or member.macs <= max_macs)
    ]
    if not fitting:
        raise _nothing_fits(everyone)
    published = _published_of(compared_on(dataset, img_size, num_classes, in_chans))
    fitting.sort(key=lambda member: _worth(member, published.get(member.name, [])), reverse=True)
    rows = []
    latencies: list[float] = []
    for member in fitting:
        latency = _latency(member) if max_latency_ms is not None else None
        if latency is not None:
            latencies.append(latency)
        if latency is None or max_latency_ms is None or latency <= max_latency_ms:
            rows.append(_row(member, published.get(member.name, []), latency))
            if len(rows) == top:
                break
    if not rows:
        quickest = fitting[latencies.index(min(latencies))]
        raise UsageError(
            f"nothing fits within {max_latency_ms:g} ms: the quickest here is {quickest.name} with "
            f"{min(latencies):.2f} ms a picture ({quickest.parameters:,} parameters)"
        )
    return rows


def members(
    img_size: int | tuple[int, int], num_classes: int, in_chans: int = 3
) -> Iterator[Member]:
    """Every member within the bounds, of pictures of ``img_size`` pixels.

    Patches divide the picture, kernels are 3, 5 or 7, up to three of them; 4 to 1,024 tokens.
    """
    sides = _sides(img_size)
    patches = [p for p in range(2, MAX_PATCH + 1) if not any(side % p for side in sides)]
    shapes = [f"{p}" for p in patches]
    convs = [f"{kernel}x{number}" for kernel in KERNELS for number in CONVS]
    for family in FAMILIES:
        for depth, shape in itertools.product(SIZES, convs if family.startswith("cct") else shapes):
            name = f"{family}_{depth}_{shape}"
            config = config_from_name(
                name, num_classes=num_classes, img_size=img_size, in_chans=in_chans
            )
            tokens = arithmetic.tokens(config)
            if TOKENS[0] <= tokens <= TOKENS[1]:
                yield Member(
                    name, config, tokens, arithmetic.parameters(config), arithmetic.macs(config)
                )


def _sides(img_size: int | tuple[int, int]) -> tuple[int, int]:
    return (img_size, img_size) if isinstance(img_size, int) else img_size


def compared_on(
    dataset: str | None, img_size: int | tuple[int, int], num_classes: int, in_chans: int
) -> str | None:
    """The data set whose published results are of such pictures: ``dataset``, or any if None.

    None where nothing is published of them: another size or number of classes is another task.
    """
    if dataset is not None:
        dataset_info(dataset)  # a misspelt name is no data set without results
    for name in published_datasets():
        info = dataset_info(name)
        theirs = (_sides(info.img_size), info.num_classes, info.in_chans)
        same = theirs == (_sides(img_size), num_classes, in_chans)
        if same and dataset in (None, name):
            return name
    return None


def _published_of(dataset: str | None) -> dict[str, list[PublishedResult]]:
    """What is published on ``dataset``, by the member that it is of."""
    found: dict[str, list[PublishedResult]] = {}
    for result in [] if dataset is None else published_results(dataset):
        if result.model is not None and result.epochs is not None:
            found.setdefault(result.model, []).append(result)
    return found


def _worth(member: Member, published: Sequence[PublishedResult]) -> tuple[float, int, int]:
    """What members are sorted by: published accuracy, else size."""
    known = [result.accuracy for result in published if result.epochs == BUDGET]
    return max(known, default=-1.0), member.parameters, member.macs


def _nothing_fits(everyone: Sequence[Member]) -> UsageError:
    least = min(everyone, key=lambda member: member.parameters)
    cheapest = min(everyone, key=lambda member: member.macs)
    text = f"nothing fits: the smallest is {_sized(least)}"
    if cheapest.name != least.name:
        text += f"; the cheapest is {_sized(cheapest)}"
    return UsageError(text)


def _sized(member: Member) -> str:
    return f"{member.name} with {member.parameters:,} parameters and {member.macs / 1e6:,.2f}M MACs"


def _latency(member: Member) -> float:
    from ..latency import latencies_ms

    return latencies_ms([member.config], rounds=3)[0]


def _row(
    member: Member, published: Sequence[PublishedResult], latency: float | None
) -> dict[str, Any]:
    """One member, all that is known of it."""
    best: dict[int, float] = {}
    for result in published:
        assert result.epochs is not None
        best[result.epochs] = max(result.accuracy, best.get(result.epochs, 0.0))
    return {
        "name": member.name,
        "tokens": member.tokens,
        "parameters": member.parameters,
        "parameters_without_positions": arithmetic.parameters(member.config, positions=False),
        "macs": member.macs,
        "activation_megabytes": arithmetic.activations(member.config) / 1e6,
        "latency_ms": latency,
        "published": [{"epochs": e, "accuracy": best[e]} for e in sorted(best)],
    }
