"""A model of this library beside the same model, or one of its size, by others.

Letters: B batch, C channels, H x W pixels.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable
from importlib import import_module, util
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from _common import how_called, machine_parser, print_head, print_table, start

from compact_vit.bench import at_least_one
from compact_vit.cli import Parser
from compact_vit.errors import UsageError
from compact_vit.timing import Call, Timing, seconds_in_turns

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from compact_vit.models.config import ModelConfig

    #: a model, or why there is none
    Peer = nn.Module | str
    #: (model, [B,C,H,W], precision, off, on or graphs) -> what is timed
    MakeCall = Callable[[nn.Module, Tensor, str, str], Call]

OURS, PUBLISHED = "compact_vit", "published code"


def peers_parser(command: str, description: str) -> Parser:
    """The options of a benchmark of peers side by side."""
    parser = machine_parser(command, description, rounds=7)
    add = parser.add_argument
    add("--model", default="cct_6_3x1", metavar="NAME", help="of this library (cct_6_3x1)")
    add("--batch-size", type=at_least_one, default=32, metavar="N", help="pictures (32)")
    add("--attention-dropout", type=float, metavar="P", help="of all (published, ours as trained)")
    add("--peer-attention-dropout", type=float, metavar="P", help="of the peers (the same)")
    add("--reference", type=Path, metavar="PATH", help="checkout of the published code")
    add("--all", action="store_true", help="every named model at 32 px against --reference")
    return parser


def ours(config: ModelConfig, reference: Path | None) -> Peer:
    from compact_vit.models.compact import CompactTransformer

    return CompactTransformer(config)


def vit_pytorch(config: ModelConfig, reference: Path | None) -> Peer:
    try:
        from vit_pytorch.cct import CCT
    except ImportError:
        return "not installed"
    if config.family != "cct":
        return "has no such model"
    return CCT(
        img_size=config.height_width,
        embedding_dim=config.embed_dim,
        n_input_channels=config.in_chans,
        n_conv_layers=config.num_convs,
        kernel_size=config.kernel_size,
        stride=max(1, config.kernel_size // 2 - 1),
        padding=max(1, config.kernel_size // 2),
        num_layers=config.depth,
        num_heads=config.num_heads,
        mlp_ratio=config.mlp_ratio,
        num_classes=config.num_classes,
        positional_embedding=config.positional_embedding,
        dropout_rate=config.dropout,
        attention_dropout=config.attention_dropout,
        stochastic_depth_rate=config.drop_path,
    )


def timm_vit(config: ModelConfig, reference: Path | None) -> Peer:
    """A plain ViT of the model's width, depth and heads, its patches giving as many tokens."""
    try:
        from timm.models.vision_transformer import VisionTransformer
    except ImportError:
        return "not installed"
    from compact_vit.models.compact import CompactTransformer

    grid = CompactTransformer(config).tokenizer.grid_size(*config.height_width)
    pairs = zip(config.height_width, grid, strict=True)
    return VisionTransformer(
        img_size=config.height_width,
        patch_size=tuple(max(1, pixels // tokens) for pixels, tokens in pairs),
        in_chans=config.in_chans,
        num_classes=config.num_classes,
        embed_dim=config.embed_dim,
        depth=config.depth,
        num_heads=config.num_heads,
        mlp_ratio=config.mlp_ratio,
        pos_drop_rate=config.dropout,
        proj_drop_rate=config.dropout,
        attn_drop_rate=config.attention_dropout,
        drop_path_rate=config.drop_path,
    )


def published(config: ModelConfig, reference: Path | None) -> Peer:
    """The published implementation's own class, from the checkout at ``reference``."""
    if reference is None:
        return "not given"
    if config.family == "cct2":
        return "has no such model"
    convolutions = {
        "n_conv_layers": config.num_convs,
        "stride": max(1, config.kernel_size // 2 - 1),
        "padding": max(1, config.kernel_size // 2),
    }
    file, name = {"vit_lite": ("vit", "ViTLite"), "cvt": ("cvt", "CVT"), "cct": ("cct", "CCT")}[
        config.family
    ]
    build = getattr(_published_module(reference, file), name)
    return build(
        img_size=config.height_width[0],  # it knows squares only
        embedding_dim=config.embed_dim,
        n_input_channels=config.in_chans,
        kernel_size=config.kernel_size,
        num_layers=config.depth,
        num_heads=config.num_heads,
        mlp_ratio=config.mlp_ratio,
        num_classes=config.num_classes,
        positional_embedding=config.positional_embedding,
        dropout=config.dropout,
        attention_dropout=config.attention_dropout,
        stochastic_depth=config.drop_path,
        **(convolutions if config.num_convs else {}),
    )


@functools.cache
def _published_module(reference: Path, file: str) -> ModuleType:
    """``src/FILE.py`` of a checkout, its package under a name that nothing else can have."""
    source = (reference / "src").resolve()
    init = source / "__init__.py"
    if not init.is_file():
        raise UsageError(f"--reference must be a checkout with src/__init__.py, got '{reference}'")
    package = f"published_{abs(hash(source))}"
    registry = "timm.models.registry"
    kept = sys.modules.get(registry)
    sys.modules[registry] = None  # type: ignore[assignment]  # it would enter timm's own table
    try:
        if package not in sys.modules:
            spec = util.spec_from_file_location(
                package, init, submodule_search_locations=[str(source)]
            )
            assert spec is not None
            assert spec.loader is not None
            sys.modules[package] = util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[package])
        return import_module(f"{package}.{file}")
    except ImportError as error:
        raise UsageError(f"--reference: '{source}' cannot be imported: {error}") from None
    finally:
        del sys.modules[registry]
        if kept is not None:
            sys.modules[registry] = kept


PEERS: dict[str, Callable[[ModelConfig, Path | None], Peer]] = {
    OURS: ours,
    "vit-pytorch CCT": vit_pytorch,
    "timm ViT": timm_vit,
    PUBLISHED: published,
}


def configuration(args: argparse.Namespace, name: str, model: str = "") -> ModelConfig:
    """Of ``model`` at 32 px, or of the model asked for, as the peer ``name`` is to build it."""
    from compact_vit.models.config import config_from_name
    from compact_vit.train.machine import pick_device

    rate = args.attention_dropout
    if name == OURS and rate is None and pick_device(args.device).type == "cpu":
        rate = 0.0  # what training leaves out by itself
    if name != OURS and args.peer_attention_dropout is not None:
        rate = args.peer_attention_dropout
    size = 32 if model else None
    return config_from_name(model or args.model, img_size=size, attention_dropout=rate)


def build_call(
    name: str, args: argparse.Namespace, make_call: MakeCall, device: torch.device, model: str = ""
) -> tuple[Call | str, int]:
    """What is timed of the peer ``name``, or why there is none, and its number of parameters."""
    import torch

    config = configuration(args, name, model)
    peer = PEERS[name](config, args.reference)
    if isinstance(peer, str):
        return peer, 0
    x = torch.randn(args.batch_size, config.in_chans, *config.height_width)
    precision, compile = (args.precision, args.compile) if name == OURS else ("fp32", "off")
    call = make_call(peer.to(device), x.to(device), precision, compile)
    return call, sum(p.numel() for p in peer.parameters())


def compare(args: argparse.Namespace, what: str, make_call: MakeCall) -> list[str]:
    """Time what ``make_call`` makes of a model and its peers in turns; the names of those there."""
    if args.all and args.reference is None:
        raise UsageError("--all compares with the published code: give its checkout, --reference")
    device = start(args)
    names = (OURS, PUBLISHED) if args.all else tuple(PEERS)
    built = {name: build_call(name, args, make_call, device) for name in names}
    dropouts = [configuration(args, name).attention_dropout for name in (OURS, PUBLISHED)]
    print_head(device, ("timm", "vit-pytorch"))
    how = f"{args.precision}, {how_called(args.compile)}"
    print(f"{what}, batch {args.batch_size}")
    print(f"this library: {how}, attention dropout {dropouts[0]}")
    print(f"the others: fp32, eager, attention dropout {dropouts[1]}")
    if args.all:
        _compare_all(args, make_call, device)
        return []
    there = {name: call for name, (call, _) in built.items() if not isinstance(call, str)}
    sizes = ", ".join(f"{name} {built[name][1]:,}" for name in there)
    print(f"{args.model}; parameters: {sizes}")
    seconds = seconds_in_turns(list(there.values()), rounds=args.rounds, device=device)
    times = dict(zip(there, seconds, strict=True))
    rows: dict[str, list[float] | str] = {
        name: call if isinstance(call, str) else [1000 * s for s in times[name]]
        for name, (call, _) in built.items()
    }
    print_table("ms a batch", rows)
    return list(there)


def _compare_all(args: argparse.Namespace, make_call: MakeCall, device: torch.device) -> None:
    """The times of every model that the published code has, here and there; which are slower here.

    The ratio is taken turn by turn, so that what slows a turn slows both.
    """
    from compact_vit.models.config import named_models

    columns = "".join(f"{title:>11}" for title in ("here", "published", "ratio", "min", "max"))
    print(f"\n{'ms a batch':<16}{columns}{'n':>4}")
    slower = []
    for model in named_models():
        calls = [build_call(n, args, make_call, device, model)[0] for n in (OURS, PUBLISHED)]
        if isinstance(calls[1], str):
            continue
        here, there = seconds_in_turns(calls, rounds=args.rounds, device=device)
        ratio = Timing.of(b / a for a, b in zip(here, there, strict=True))
        medians = [1000 * Timing.of(times).median for times in (here, there)]
        spread = "".join(f"{r:>10.2f}x" for r in (ratio.median, ratio.low, ratio.high))
        print(
            f"{model:<16}{medians[0]:>11,.2f}{medians[1]:>11,.2f}{spread}{ratio.n:>4}", flush=True
        )
        if ratio.median < 1:
            slower.append(model)
    print(f"\nslower than the published code: {', '.join(slower) or 'none'}")
