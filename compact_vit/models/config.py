"""What a compact transformer is made of, and the grammar of its names. Imports no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any

from ..checks import given_options, is_real, is_whole, plain_fields
from ..errors import UsageError, unknown

FAMILIES = ("vit_lite", "cvt", "cct", "cct2")
POSITIONAL_EMBEDDINGS = ("learnable", "sine", "none")
RESIDUAL_FORMS = ("published", "pre_norm")

#: depth -> (heads, MLP ratio, width), the published sizes (arXiv 2104.05704, table 12)
SIZES = {
    2: (2, 1.0, 128),
    4: (2, 1.0, 128),
    6: (4, 2.0, 256),
    7: (4, 2.0, 256),
    8: (4, 2.0, 256),
    14: (6, 3.0, 384),
}

#: What makes a CCT a CCT2, of this library: a tokenizer with norms, and MLPs with a convolution
#: (benchmarks/LOG.md has what each of them gave).
CCT2: dict[str, Any] = {"mlp_kernel": 3, "tokenizer_norm": True}

#: The largest number of classes, of channels and width: beyond, their sizes are no numbers.
MOST = 1_000_000_000

#: The most layers, and convolutions of a tokenizer: far beyond, a model is not built in an hour.
MOST_LAYERS = 1_000

#: The largest convolution within an MLP: far beyond, its weights fit into no memory.
MOST_KERNEL = 99

#: What a published name says of the number of classes: its data set's suffix, or all of the name.
_CLASSES = {
    "c10": 10,
    "c100": 100,
    "fl": 102,
    "cct_7_7x2_224": 102,
    "cct_14_7x2_224": 1000,
    "cct_14_7x2_384": 1000,
}

#: How the names of members are made.
FORMS = ("vit_lite_L_P", "cvt_L_P", "cct_L_PxC", "cct2_L_PxC")

_NAME = re.compile(
    r"(?P<family>vit_lite|vit|cvt|cct2?)_(?P<depth>#)_(?P<kernel>#)(?:x(?P<convs>#))?"
    r"(?:_(?P<size>#))?(?P<sine>_sine)?(?:_(?P<classes>c100|c10|fl))?".replace(
        "#", "0|[1-9][0-9]{0,3}"
    )
)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One compact transformer, whole: its size, its tokenizer, its input and its regularisation."""

    family: str
    depth: int
    num_heads: int
    mlp_ratio: float
    embed_dim: int
    kernel_size: int
    """Side of a patch (ViT-Lite, CVT) or of the tokenizer's convolutions (CCT), in pixels."""
    num_convs: int = 0
    """Convolutions of the tokenizer; 0 for patches."""
    num_classes: int = 10
    """Outputs of the classifier; 0 gives the pooled features themselves."""
    img_size: int | tuple[int, int] = 32
    """Side, or height and width, of the pictures in pixels."""
    in_chans: int = 3
    positional_embedding: str = "learnable"
    dropout: float = 0.0
    attention_dropout: float = 0.1
    drop_path: float = 0.1
    """Stochastic depth of the last layer; it rises linearly from 0 at the first."""
    residual: str = "published"
    mlp_kernel: int = 0
    """Side, in tokens, of a depthwise convolution within each MLP; 0 for none."""
    tokenizer_norm: bool = False
    """Whether a batch norm follows each convolution of the tokenizer and its pool."""

    def __post_init__(self) -> None:
        plain_fields(self)
        _check(self)

    @property
    def height_width(self) -> tuple[int, int]:
        """``img_size`` as height and width in pixels."""
        size = self.img_size
        return (size, size) if isinstance(size, int) else size

    @property
    def class_token(self) -> bool:
        """Whether a class token is read out (ViT-Lite) rather than sequence pooling."""
        return self.family == "vit_lite"

    @property
    def drop_path_rates(self) -> tuple[float, ...]:
        """Stochastic depth of each layer, from 0 at the first to ``drop_path`` at the last."""
        last = max(1, self.depth - 1)
        return tuple(self.drop_path * i / last for i in range(self.depth))


def _check(config: ModelConfig) -> None:
    """Refuse what cannot be built, naming the field."""

    def need(ok: bool, field: str, wanted: str) -> None:
        if not ok:
            raise UsageError(f"{field} must be {wanted}, got {getattr(config, field)!r}")

    for field, choices in (
        ("family", FAMILIES),
        ("positional_embedding", POSITIONAL_EMBEDDINGS),
        ("residual", RESIDUAL_FORMS),
    ):
        if getattr(config, field) not in choices:
            raise unknown(field, str(getattr(config, field)), choices)
    for field in ("depth", "num_heads", "embed_dim", "kernel_size", "in_chans"):
        need(is_whole(getattr(config, field), 1), field, "a whole number of at least 1")
    need(is_whole(config.num_classes, 0), "num_classes", "a whole number, 0 for no classifier")
    for field in ("num_classes", "in_chans", "embed_dim"):
        need(getattr(config, field) <= MOST, field, f"at most {MOST:,}")
    need(config.depth <= MOST_LAYERS, "depth", f"at most {MOST_LAYERS:,}")
    patches = config.family in ("vit_lite", "cvt")
    wanted = "0: patches have no convolutions" if patches else "a whole number of at least 1"
    need(is_whole(config.num_convs, 0) and (config.num_convs == 0) == patches, "num_convs", wanted)
    need(config.num_convs <= MOST_LAYERS, "num_convs", f"at most {MOST_LAYERS:,}")
    need(config.embed_dim % config.num_heads == 0, "embed_dim", "a multiple of num_heads")
    need(is_real(config.mlp_ratio) and config.mlp_ratio > 0, "mlp_ratio", "a positive number")
    wide = config.embed_dim * config.mlp_ratio >= 1
    need(wide, "mlp_ratio", f"at least 1 / embed_dim = 1/{config.embed_dim}")
    kernel = config.mlp_kernel
    odd = is_whole(kernel, 0) and (kernel == 0 or kernel % 2 == 1) and kernel <= MOST_KERNEL
    need(odd, "mlp_kernel", f"0 or an odd number up to {MOST_KERNEL}")
    need(isinstance(config.tokenizer_norm, bool), "tokenizer_norm", "true or false")
    need(not (patches and config.tokenizer_norm), "tokenizer_norm", "false: patches have no norm")
    for field in ("dropout", "attention_dropout", "drop_path"):
        value = getattr(config, field)
        need(is_real(value) and 0.0 <= value < 1.0, field, "a probability in [0, 1)")
    size = config.img_size if isinstance(config.img_size, tuple) else (config.img_size,) * 2
    least = config.kernel_size
    fits = len(size) == 2 and all(is_whole(s, least) for s in size)
    need(fits, "img_size", f"a side or (height, width) of at least {least} pixels")


def named_models() -> list[str]:
    """The members that have a builder of their own, in the order of the families."""
    patch = [f"{f}_{d}_{p}" for f in FAMILIES[:2] for d in (2, 4, 6, 7, 8) for p in (4, 8, 16)]
    convs = [f"cct_{d}_{c}" for d in SIZES for c in ("3x1", "3x2", "7x2")]
    return patch + convs + [f"cct2_{d}_{c}" for d in (2, 4, 6, 7) for c in ("3x1", "3x2")]


def config_from_name(name: str, **options: Any) -> ModelConfig:
    """The configuration of any well-formed name: ``vit_lite_L_P``, ``cvt_L_P``, ``cct_L_PxC``.

    ``cct2_L_PxC`` is a CCT with what ``CCT2`` lists.

    The published implementation's names are understood too, with what they imply:
    ``cct_7_3x1_32_sine_c100`` is ``cct_7_3x1`` at 32 px with sine positions and 100 classes, and
    ``cct_14_7x2_384`` has the 1000 of ImageNet. An option of None stands for the name's own value.
    Raises ``UsageError`` for a name outside the grammar and for an unknown or impossible option.
    """
    if not isinstance(name, str):
        raise UsageError(f"model must be a name, got {name!r}")
    match = _NAME.fullmatch(name)
    if match is None or (match["convs"] is None) == match["family"].startswith("cct"):
        raise unknown("model", name, named_models(), ", ".join(FORMS))
    if int(match["depth"]) not in SIZES:
        depths = ", ".join(map(str, SIZES))
        raise UsageError(f"unknown model {name!r}: its depth must be one of {depths}")
    num_heads, mlp_ratio, embed_dim = SIZES[int(match["depth"])]
    values: dict[str, Any] = {
        "family": "vit_lite" if match["family"] == "vit" else match["family"],
        "depth": int(match["depth"]),
        "num_heads": num_heads,
        "mlp_ratio": mlp_ratio,
        "embed_dim": embed_dim,
        "kernel_size": int(match["kernel"]),
        "num_convs": int(match["convs"] or 0),
        # kernels of 7 pixels and more were made for pictures of 224
        "img_size": int(
            match["size"] or (224 if match["convs"] and int(match["kernel"]) >= 7 else 32)
        ),
        "positional_embedding": "sine" if match["sine"] else "learnable",
        "num_classes": _CLASSES.get(match["classes"] or name.removesuffix("_sine"), 10),
    }
    values |= CCT2 if match["family"] == "cct2" else {}
    values |= given_options(options, (field.name for field in fields(ModelConfig)))
    return ModelConfig(**values)


def name_of(config: ModelConfig) -> str:
    """The name nearest to ``config``: its own, or of a member that options made it of."""
    depth = min(SIZES, key=lambda known: abs(known - config.depth))
    # a kernel fits into the pictures that a name means
    kernel = min(config.kernel_size, 224 if config.num_convs else 32)
    name = f"{config.family}_{depth}_{kernel}"
    return f"{name}x{config.num_convs}" if config.num_convs else name
