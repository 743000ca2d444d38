"""``python -m compact_vit.suggest``: the models that fit so many parameters, MACs, milliseconds.

Nothing here imports torch before the arguments are understood.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..cli import Parser, add_format, pixels, program
from ..data.catalog import dataset_info
from ..errors import UsageError
from ..models.config import SIZES
from ..tables import FORMATS, Column, render, write_text
from ..units import count, milliseconds
from .fit import BUDGET, CONVS, KERNELS, MAX_PATCH, TOKENS, compared_on, suggest


def _said(published: Sequence[dict[str, Any]]) -> str:
    return ", ".join(f"{row['accuracy']:.2f} ({row['epochs']:,})" for row in published)


_COLUMNS = (
    Column("name", "model", text=True),
    Column("tokens", "tokens", "{:,}".format),
    Column("parameters", "parameters", "{:,}".format),
    Column("parameters_without_positions", "without positions", "{:,}".format),
    Column("macs", "MACs", lambda macs: f"{macs / 1e6:,.2f}M"),
    Column("activation_megabytes", "activations MB", "{:,.2f}".format),
    Column("latency_ms", "latency ms", "{:,.2f}".format),
    Column("published", "published % (epochs)", _said, text=True),
)

_EPILOG = (
    f"Looked at: the depths {', '.join(map(str, SIZES))}; for vit_lite and cvt patches of 2 to "
    f"{MAX_PATCH} pixels that divide the picture; for cct and cct2 kernels of "
    f"{', '.join(map(str, KERNELS))} and {', '.join(map(str, CONVS))} convolutions; what makes "
    f"{TOKENS[0]} to {TOKENS[1]:,} tokens. With --max-latency every member that fits otherwise is "
    "measured until enough are found, which may take minutes."
)


def _parser() -> Parser:
    parser = Parser(
        "suggest",
        description="The models that fit a budget, those worth most first: by the accuracy that is "
        f"published of them after {BUDGET} epochs on pictures of this size and number of classes, "
        "then by size.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--max-parameters", type=count, metavar="N", help="such as 500k; positions count too"
    )
    parser.add_argument("--max-macs", type=count, metavar="N", help="of one picture, such as 100M")
    parser.add_argument(
        "--max-latency",
        type=milliseconds,
        metavar="TIME",
        help="of one picture, measured on this machine, such as 5ms",
    )
    parser.add_argument("--img-size", type=pixels, metavar="SIZE", help="default: 32")
    parser.add_argument("--num-classes", type=int, metavar="N", help="default: 10")
    parser.add_argument("--in-chans", type=int, metavar="N", help="default: 3")
    parser.add_argument(
        "--dataset", metavar="NAME", help="a named data set, which says these three and what counts"
    )
    parser.add_argument("--top", type=count, default=10, metavar="N", help="how many (default: 10)")
    add_format(parser, FORMATS)
    parser.add_argument("--output", metavar="FILE", help="write there, not to the terminal")
    return parser


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Print the members that fit, with what they hold, cost and have reached."""
    args = _parser().parse_args(argv)
    if args.max_parameters is None and args.max_macs is None and args.max_latency is None:
        raise UsageError("no limit given: say --max-parameters, --max-macs or --max-latency")
    info = None if args.dataset is None else dataset_info(args.dataset)
    if info is not None and info.num_classes is None and args.num_classes is None:
        raise UsageError(f"say --num-classes: the data set {info.name} has none of its own")

    def asked(option: str, general: Any) -> Any:
        """The option as given, else as the data set has it."""
        given = getattr(args, option)
        if given is None and info is not None:
            given = getattr(info, option)
        return general if given is None else given

    setting = {
        "img_size": asked("img_size", 32),
        "num_classes": asked("num_classes", 10),
        "in_chans": asked("in_chans", 3),
    }
    rows = suggest(
        max_parameters=args.max_parameters,
        max_macs=args.max_macs,
        max_latency_ms=args.max_latency,
        dataset=args.dataset,
        top=args.top,
        **setting,
    )
    published = compared_on(args.dataset, **setting)
    timed = args.max_latency is not None
    if args.format == "csv":
        rows = [{**row, "published": _said(row["published"])} for row in rows]
    head = {"published_on": published, **setting}
    text = render(args.format, _COLUMNS, rows, head, _notes(published, setting, timed))
    if args.output:
        write_text(Path(args.output), text)
    else:
        print(text)
    return 0


def _notes(published: str | None, setting: dict[str, Any], timed: bool) -> list[str]:
    """What the figures mean, for whoever reads them."""
    side = setting["img_size"]
    shape = f"{side}x{side}" if isinstance(side, int) else "x".join(map(str, side))
    notes = [
        f"for {setting['num_classes']} classes of {shape} pixels, {setting['in_chans']} channels; "
        "parameters with learnable positions, which the limit counts, and without",
        "MACs and activations of one picture, as compact_vit.report counts them",
    ]
    if published is not None:
        notes.append(f"published: accuracy on {published}, often the best of several runs; by size "
                     "where there is none")  # fmt: skip
    else:
        notes.append("nothing is published of such pictures here: the larger first")
    if timed:
        from ..latency import this_machine

        notes.append(f"latency of one picture in float32, measured here: {this_machine()}")
    return notes
