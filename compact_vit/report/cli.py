"""``python -m compact_vit.report``: one model in detail, or several side by side.

Several are reported without torch, one with it for its table of layers alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from ..cli import Parser, add_format, one_of, pixels, program
from ..errors import UsageError
from ..models.arithmetic import activations, parameters
from ..models.config import ModelConfig
from ..models.names import config_of
from ..tables import FORMATS, comma_separated, markdown, terminal
from .told import GROUPINGS, Model, comparison, detail, entry, records


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Print the sizes and costs of the models named."""
    options = _parser().parse_args(argv)
    models = [_model(name, options) for name in options.names]
    text = _text(models, options)
    if options.plot:
        from ..plots import save_figure
        from ..plots.sizes import plot_sizes

        drawn = [(m.name, m.config) for m in models if isinstance(m.config, ModelConfig)]
        if len(drawn) < len(models):
            raise UsageError("--plot draws compact transformers alone: leave the baselines out")
        save_figure(plot_sizes(drawn), options.plot)
    print(text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "report",
        description="Parameters, multiply-accumulates and memory of models: one in detail, layer "
        "by layer, or several side by side.",
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
    parser.add_argument(
        "--by",
        type=one_of("grouping", GROUPINGS),
        default="kind",
        metavar="PARTS",
        help="what several models, and CSV, are broken down by: kind or module (default: kind)",
    )
    add_format(parser, FORMATS)
    parser.add_argument(
        "--json",
        action="store_const",
        dest="format",
        const="json",
        help="the same as --format json: an object, or a list of them for several models",
    )
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the kinds too: .png, .pdf or .svg"
    )
    return parser


def _model(name: str, options: argparse.Namespace) -> Model:
    values = {key: getattr(options, key) for key in ("num_classes", "img_size", "in_chans")}
    if options.positional_embedding is not None:
        values["positional_embedding"] = options.positional_embedding
    config = config_of(name, **values)
    if not isinstance(config, ModelConfig):
        return Model(name, config)
    if max(4 * parameters(config), activations(config)) >= 2**63:  # what torch counts bytes with
        height, width = config.height_width
        raise UsageError(
            f"no tensor can be as large as these options ask: {name} for {height}x{width} pixels, "
            f"{config.in_chans} channels and {config.num_classes} classes"
        )
    return Model(name, config)


def _text(models: Sequence[Model], options: argparse.Namespace) -> str:
    if options.format == "json":
        entries = [entry(model) for model in models]
        return json.dumps(entries[0] if len(entries) == 1 else entries, indent=2)
    if options.format == "csv":
        return comma_separated(records(models, options.by))
    written = terminal if options.format == "table" else markdown
    if len(models) > 1:
        return written(comparison(models, options.by))
    from .layers import layers_of

    return written(detail(models[0], layers_of(models[0].config)))
