"""``python -m compact_vit.report``: one model in detail, or several side by side.

Nothing here imports torch before the arguments are understood.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..cli import Parser, pixels, program
from ..errors import UsageError

if TYPE_CHECKING:
    from ..models.compact import CompactTransformer
    from ..models.config import ModelConfig
    from .measure import Cost, ModelSummary

_CONVENTIONS = """\
Parameters: published counts of compact transformers leave the positions out.
MACs: multiply-accumulates of one forward pass of one picture, by torch.utils.flop_counter
(torchinfo's are far too low for transformers, and left out); some published figures leave out the
attention products: queries by keys, weights by values, tokens by pooling weights.
Activations: what autograd keeps of one picture for the backward pass in training, in float32, with
attention written out; a fused attention kernel keeps little of what its products do.
Weights: all parameters in float32. MB: 10^6 bytes."""

_HEADER = (
    "model|classes|pixels|tokens|parameters|without|MACs|without|activations|attention|weights",
    "|||||positions||attention|MB|products MB|MB",
)


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Print the sizes and costs of the models named."""
    options = _parser().parse_args(argv)
    from ..models.config import config_from_name

    configs = [
        config_from_name(
            name,
            num_classes=options.num_classes,
            img_size=options.img_size,
            in_chans=options.in_chans,
            positional_embedding=options.positional_embedding,
        )
        for name in options.names
    ]
    from .measure import summarize

    models = [_shapes_only(config) for config in configs]
    summaries = [summarize(model, _input_size(model.config)) for model in models]
    if options.json:
        entries = [_entry(*one) for one in zip(options.names, models, summaries, strict=True)]
        print(json.dumps(entries[0] if len(entries) == 1 else entries, indent=2))
    elif len(models) == 1:
        print(_detail(options.names[0], models[0], summaries[0]))
    else:
        print(_comparison(options.names, models, summaries))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "report",
        description="Parameters, multiply-accumulates and memory of models: one in detail, layer "
        "by layer, or several in one table.",
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="a model, such as cct_6_3x1")
    parser.add_argument("--num-classes", type=int, metavar="N", help="default: the name's, or 10")
    parser.add_argument(
        "--img-size",
        type=pixels,
        metavar="SIZE",
        help="pixels, 32 or 32x48 (height x width); default: the name's, or 32 or 224",
    )
    parser.add_argument("--in-chans", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument(
        "--positional-embedding",
        metavar="KIND",
        help="learnable, sine or none; default: the name's, or learnable",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, a list for several models")
    return parser


def _shapes_only(config: ModelConfig) -> CompactTransformer:
    """The model on the meta device: shapes only."""
    import torch

    from ..models.compact import CompactTransformer

    try:
        with torch.device("meta"):
            return CompactTransformer(config)
    except (RuntimeError, TypeError, OverflowError) as error:  # beyond what a tensor can be
        reason = str(error).split("\n")[0]
        raise UsageError(f"no tensor can be as large as these options ask: {reason}") from error


def _input_size(config: ModelConfig) -> tuple[int, int, int]:
    return (config.in_chans, *config.height_width)


def _grid(model: CompactTransformer) -> tuple[int, int]:
    return model.tokenizer.grid_size(*model.config.height_width)


def _tokens(model: CompactTransformer) -> int:
    height, width = _grid(model)
    return model.num_prefix_tokens + height * width


def _entry(name: str, model: CompactTransformer, summary: ModelSummary) -> dict[str, Any]:
    """One model for machines; ``img_size`` is always (height, width)."""
    return {
        "model": name,
        "num_classes": model.config.num_classes,
        "img_size": model.config.height_width,
        "in_chans": model.config.in_chans,
        "positional_embedding": model.config.positional_embedding,
        "tokens": _tokens(model),
        **asdict(summary),
    }


def _detail(name: str, model: CompactTransformer, summary: ModelSummary) -> str:
    """Everything about one model: its layers, its kinds of parts, its totals."""
    from .measure import by_kind, layer_table

    config, size = model.config, _input_size(model.config)
    channels, height, width = size
    kinds = by_kind(model, size)
    title = (
        f"{name}: {config.num_classes} classes, {height}x{width} pixels, {channels} channels, "
        f"positions {config.positional_embedding}"
    )
    products = _megabytes(kinds["attention, products"].activation_megabytes)
    totals = [
        ("Parameters", f"{summary.parameters:,}"),
        ("  trainable", f"{summary.trainable_parameters:,}"),
        ("  without positions", f"{summary.parameters_without_positions:,}"),
        ("MACs", _millions(summary.macs)),
        ("  without attention products", _millions(summary.macs_without_attention)),
        ("Activations", _megabytes(summary.activation_megabytes)),
        ("  of attention products", products),
        ("Weights", _megabytes(summary.weight_megabytes)),
    ]
    parts = layer_table(model, size), _kinds(kinds, summary), _attention(model), _aligned(totals)
    return "\n\n".join((title, *parts, _CONVENTIONS))


def _attention(model: CompactTransformer) -> str:
    """How many numbers attention weighs tokens with: what the number of tokens costs."""
    depth, heads, tokens = model.config.depth, model.config.num_heads, _tokens(model)
    rows, columns = _grid(model)
    weights = depth * heads * tokens**2
    token = " and a class token" if model.num_prefix_tokens else ""
    return (
        f"Tokens: {tokens:,} (a grid of {rows}x{columns}{token}).\n"
        f"Attention weights: {depth} layers x {heads} heads x {tokens:,} x {tokens:,} tokens "
        f"= {weights:,}, {_megabytes(4 * weights / 1e6)}."
    )


def _kinds(kinds: dict[str, Cost], summary: ModelSummary) -> str:
    """Where parameters, MACs and activations sit, each with its share of the whole."""
    rows = [("kind", "parameters", "", "MACs", "", "activations", "")]
    for kind, cost in kinds.items():
        memory = cost.activation_megabytes
        if cost.parameters or cost.macs or memory >= 0.005:
            rows.append(
                (
                    kind,
                    f"{cost.parameters:,}",
                    _share(cost.parameters, summary.parameters),
                    _millions(cost.macs),
                    _share(cost.macs, summary.macs),
                    _megabytes(memory),
                    _share(memory, summary.activation_megabytes),
                )
            )
    return _aligned(rows)


def _comparison(
    names: Sequence[str], models: Sequence[CompactTransformer], summaries: Sequence[ModelSummary]
) -> str:
    """A row per model, a column per figure."""
    from .measure import by_kind

    rows = [tuple(line.split("|")) for line in _HEADER]
    for name, model, summary in zip(names, models, summaries, strict=True):
        size = _input_size(model.config)
        height, width = model.config.height_width
        products = by_kind(model, size)["attention, products"]
        rows.append(
            (
                name,
                f"{model.config.num_classes:,}",
                f"{height}x{width}",
                f"{_tokens(model):,}",
                f"{summary.parameters:,}",
                f"{summary.parameters_without_positions:,}",
                _millions(summary.macs),
                _millions(summary.macs_without_attention),
                f"{summary.activation_megabytes:,.2f}",
                f"{products.activation_megabytes:,.2f}",
                f"{summary.weight_megabytes:,.2f}",
            )
        )
    return f"{_aligned(rows)}\n\n{_CONVENTIONS}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns two spaces apart, the first flush left and the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _millions(number: int) -> str:
    return f"{number / 1e6:,.2f}M"


def _megabytes(number: float) -> str:
    return f"{number:,.2f} MB"


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else ""
