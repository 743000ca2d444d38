"""Sizes and costs of a compact transformer by hand formulas, from its configuration alone.

Nothing is built and no torch imported. The conventions are those of ``compact_vit.report``, which
counts the same on the built model (with ``torch.utils.flop_counter`` and autograd's own record):

- Parameters are all of them, the position table too, learnt or fixed; "without positions" leaves
  the table out, as published counts do.
- MACs are the multiply-accumulates of one forward pass of one picture: convolutions, linear maps
  and products of activations. Biases, norms, softmax and GELU are not counted.
- Activations are the bytes in float32 that autograd keeps of one picture in training, attention
  written out; see ``compact_vit.report.measure``.

Letters: H x W pixels, C channels, k kernel or patch, N tokens, D width, M hidden width of the MLP,
h heads, K classes.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

from .config import ModelConfig

#: What the parts of a compact transformer are for; each part is of one kind.
KINDS = (
    "tokenizer",
    "class token",
    "positions",
    "attention, linear maps",
    "attention, products",
    "MLP",
    "norms",
    "pooling",
    "head",
    "dropout, drop path",
)

#: Channels between two convolutions of the tokenizer.
HIDDEN_CHANNELS = 64

_FLOAT, _INDEX = 4, 8
"""Bytes of a number in float32, and of an index."""


class Part(NamedTuple):
    """What one part of a model holds and costs, without the others."""

    module: str
    """Its name in the built model, such as ``blocks.0.attn``; attention comes as two parts."""
    kind: str
    """One of ``KINDS``."""
    parameters: int = 0
    macs: int = 0
    products: int = 0
    """Those of ``macs`` that multiply activations with each other, as attention does."""
    activation_bytes: int = 0
    """What this part is the first to keep for its backward pass."""


def token_grid(config: ModelConfig) -> tuple[int, int]:
    """Rows and columns of tokens that the tokenizer makes of a picture."""
    if not config.num_convs:
        height, width = config.height_width
        return height // config.kernel_size, width // config.kernel_size
    return _convolved(config)[-1][1]


def tokens(config: ModelConfig) -> int:
    """N: the tokens that the encoder sees, the class token among them."""
    rows, columns = token_grid(config)
    return rows * columns + int(config.class_token)


def parameters(config: ModelConfig, *, positions: bool = True) -> int:
    """All parameters; ``positions=False`` leaves the position table out, learnt or fixed."""
    return sum(p.parameters for p in parts(config) if positions or p.kind != "positions")


def macs(config: ModelConfig, *, products: bool = True) -> int:
    """Multiply-accumulates of one forward pass of one picture.

    ``products=False`` leaves out what multiplies activations with each other: queries by keys,
    weights by values, tokens by pooling weights. Some published figures do.
    """
    return sum(p.macs if products else p.macs - p.products for p in parts(config))


def activations(config: ModelConfig) -> int:
    """Bytes that autograd keeps of one picture in float32 training, attention written out."""
    return sum(p.activation_bytes for p in parts(config))


def largest_activation(config: ModelConfig) -> int:
    """Elements of the largest tensor that one picture becomes.

    It is a convolution's output, before its pool, or the tokens as queries, keys and values or
    within the MLP.
    """
    width = config.embed_dim
    largest = tokens(config) * max(3 * width, int(config.mlp_ratio * width))
    if config.num_convs:
        widths = [HIDDEN_CHANNELS] * (config.num_convs - 1) + [config.embed_dim]
        for channels, (convolved, _) in zip(widths, _convolved(config), strict=True):
            largest = max(largest, channels * convolved[0] * convolved[1])
    return largest


def parts(config: ModelConfig) -> list[Part]:
    """Every part, in the order of the forward pass; the sums are the whole model."""
    n, d, classes = tokens(config), config.embed_dim, config.num_classes
    norm = _norm_bytes(n, d)
    found = [_tokenizer(config)]
    if config.class_token:
        found.append(Part("class_token", "class token", d))
    if config.positional_embedding != "none":
        found.append(Part("positions", "positions", n * d))
    if config.dropout:
        found.append(Part("dropout", "dropout, drop path", activation_bytes=_FLOAT * n * d))
    for i, rate in enumerate(config.drop_path_rates):
        found += _block(config, i, n, rate)
    found.append(Part("norm", "norms", 2 * d, activation_bytes=norm))
    if config.class_token:
        before_head = n * d if classes else 0  # the class token is a view of all tokens
    else:
        kept = _FLOAT * (n * d + n)  # the tokens and their weights
        found.append(Part("pool", "pooling", d + 1, 2 * n * d, n * d, kept))
        before_head = d if classes else 0
    if classes:
        kept = _FLOAT * before_head
        found.append(Part("head", "head", d * classes + classes, d * classes, 0, kept))
    return found


def _tokenizer(config: ModelConfig) -> Part:
    """Convolutions with their pools and ReLUs, or one linear map per patch."""
    (height, width), channels = config.height_width, config.in_chans
    k, d = config.kernel_size, config.embed_dim
    picture = _FLOAT * channels * height * width
    if not config.num_convs:
        rows, columns = token_grid(config)
        weights = k * k * channels * d
        return Part("tokenizer", "tokenizer", weights + d, rows * columns * weights, 0, picture)
    total, cost, kept = 0, 0, picture
    widths = [channels] + [HIDDEN_CHANNELS] * (config.num_convs - 1) + [d]
    for (inputs, outputs), (convolved, pooled) in zip(
        itertools.pairwise(widths), _convolved(config), strict=True
    ):
        before, after = convolved[0] * convolved[1], pooled[0] * pooled[1]
        total += k * k * inputs * outputs
        cost += k * k * inputs * outputs * before
        # the pool keeps its input and where each maximum was, the ReLU its output
        kept += outputs * (_FLOAT * before + (_INDEX + _FLOAT) * after)
        if config.tokenizer_norm:  # its input, and of two pictures each channel's mean and scale
            total += 2 * outputs
            kept += outputs * _FLOAT * (after + 1)
    return Part("tokenizer", "tokenizer", total, cost, 0, kept)


def _convolved(config: ModelConfig) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Height and width after each convolution of the tokenizer, and after its pool."""
    k, side = config.kernel_size, config.height_width
    stride, padding = max(1, k // 2 - 1), max(1, k // 2)
    sizes = []
    for _ in range(config.num_convs):
        height, width = ((pixels + 2 * padding - k) // stride + 1 for pixels in side)
        side = (height - 1) // 2 + 1, (width - 1) // 2 + 1  # the pool is 3 x 3, stride 2, padding 1
        sizes.append(((height, width), side))
    return sizes


def _block(config: ModelConfig, i: int, n: int, drop_path: float) -> list[Part]:
    """One encoder layer: ``blocks.i``."""
    d, heads, hidden = config.embed_dim, config.num_heads, int(config.embed_dim * config.mlp_ratio)
    norm = _norm_bytes(n, d)
    of_tokens = n * d
    weights = heads * n * n
    # scaled queries, scaled keys, values; those of a single head are not copied out of the memory
    # that they share with the unscaled two, and so keep all of it
    products = (3 if heads > 1 else 5) * of_tokens
    # the weights; with dropout its factors too, and what both make
    products += weights * (3 if config.attention_dropout else 1)
    maps, mlp = 2 * of_tokens, of_tokens + 2 * n * hidden  # inputs of linear maps, and of the GELU
    if config.dropout:  # its factors
        maps += of_tokens
        mlp += n * hidden + of_tokens
    # the ReLU has kept the very tokens that the first norm is given, where nothing is between
    untouched = config.num_convs and config.positional_embedding == "none" and not config.dropout
    first = norm - _FLOAT * of_tokens if i == 0 and untouched else norm
    name = f"blocks.{i}"
    linear, multiplied = "attention, linear maps", "attention, products"
    taps = config.mlp_kernel**2
    if taps:  # the convolution's input, too, which the residual is added to
        mlp += n * hidden
    found = [
        Part(f"{name}.norm1", "norms", 2 * d, activation_bytes=first),
        Part(f"{name}.attn", linear, 4 * d * d + d, 4 * n * d * d, 0, _FLOAT * maps),
        Part(f"{name}.attn", multiplied, 0, 2 * n * n * d, 2 * n * n * d, _FLOAT * products),
        Part(f"{name}.norm2", "norms", 2 * d, activation_bytes=norm),
        Part(
            f"{name}.mlp",
            "MLP",
            2 * d * hidden + hidden + d + (taps + 1 if taps else 0) * hidden,
            2 * n * d * hidden + taps * hidden * (n - int(config.class_token)),
            0,
            _FLOAT * mlp,
        ),
    ]
    if drop_path:  # a factor for each of both branches
        found.append(Part(f"{name}.drop_path", "dropout, drop path", activation_bytes=2 * _FLOAT))
    return found


def _norm_bytes(n: int, d: int) -> int:
    """What a layer norm keeps: its input, and each token's mean and deviation."""
    return _FLOAT * (n * d + 2 * n)
