"""Where a compact transformer looks.

Letters: B pictures, C channels, H x W pixels, h x w token grid, P prefix tokens (1 class token or
none), N = P + h * w tokens, A heads, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layers import SequencePooling
from ..models.compact import CompactTransformer
from .style import LABEL, TICK, new_figure, plain, show_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POOL, CLASS_TOKEN, ROLLOUT = "sequence pool", "class token", "attention roll-out"


@torch.no_grad()
def attention_weights(model: CompactTransformer, x: Tensor) -> tuple[list[Tensor], Tensor]:
    """Every layer's attention on ``x [B, C, H, W]``, ``[B, A, N, N]`` each, and the final tokens.

    The tokens are ``forward_features``'s, ``[B, N, D]``, computed as in evaluation.
    """
    was_training = model.training
    model.eval()
    grid = model.grid_of(x)
    tokens = model.embed(x)
    weights = []
    for block in model.blocks:
        weights.append(block.attn.weights(block.norm1(tokens)))  # type: ignore[operator, union-attr]
        tokens = block(tokens, grid)
    tokens = model.norm(tokens)
    model.train(was_training)
    return weights, tokens


def attention_rollout(weights: Sequence[Tensor]) -> Tensor:
    """How much of every input token is in every output token: ``[B, N, N]``, rows sum to one.

    ``weights`` are each layer's ``[B, A, N, N]``, the first layer first. The heads are averaged,
    and half of a layer's output is its input by the residual (Abnar and Zuidema 2020, arXiv
    2005.00928).
    """
    first = weights[0]
    identity = torch.eye(first.shape[-1], dtype=first.dtype, device=first.device)
    rollout = identity.expand(len(first), -1, -1)
    for layer in weights:
        rollout = (layer.mean(dim=1) + identity) / 2 @ rollout
    return rollout


def attention_maps(model: CompactTransformer, x: Tensor) -> dict[str, Tensor]:
    """What each place of the normalised pictures ``[B, C, H, W]`` counts for: ``[B, H, W]`` each.

    First the weights that make the pooled vector out of the last layer's tokens: the sequence
    pool's, or the class token's attention averaged over heads. Then those weights carried down to
    the input tokens by the roll-out. The unit is the mean weight: 1 everywhere is no preference.
    """
    weights, tokens = attention_weights(model, x)
    rollout = attention_rollout(weights)
    if isinstance(model.pool, SequencePooling):
        with torch.no_grad():
            pooled = model.pool.weights(tokens)  # [B, N]
        maps = {POOL: pooled, ROLLOUT: (pooled.unsqueeze(1) @ rollout).squeeze(1)}
    else:
        maps = {CLASS_TOKEN: weights[-1].mean(dim=1)[:, 0], ROLLOUT: rollout[:, 0]}
    grid = model.grid_of(x)
    laid = {}
    for name, values in maps.items():
        places = values[:, model.num_prefix_tokens :]  # [B, h * w]
        places = (places / places.mean(dim=1, keepdim=True)).unflatten(1, grid).unsqueeze(1)
        laid[name] = F.interpolate(places, size=x.shape[2:], mode="bilinear").squeeze(1)
    return laid


def plot_attention(
    images: Tensor, maps: Mapping[str, Tensor], captions: Sequence[str], title: str = ""
) -> Figure:
    """A row for each picture ``uint8 [B, C, H, W]``: itself, then each of ``maps`` laid over it.

    ``maps`` are ``attention_maps``'s, ``[B, H, W]`` by name; ``captions`` stand above the B
    pictures.
    """
    from matplotlib.ticker import FormatStrFormatter, MaxNLocator

    rows, columns = len(images), 1 + len(maps)
    shape = images.shape[2] / images.shape[3]  # of a picture, height over width
    figure = new_figure(0.6 + 2.3 * columns, 0.5 + (2.0 * shape + 0.35) * rows, title)
    grid = figure.subplots(rows, columns, squeeze=False)
    for row, (image, caption) in enumerate(zip(images, captions, strict=True)):
        show_picture(grid[row, 0], image)
        grid[row, 0].set_title(plain(caption), fontsize=LABEL)
        gray = image.float().mean(dim=0, keepdim=True).round().to(torch.uint8)  # [1, H, W]
        for axes, (name, weights) in zip(grid[row, 1:], maps.items(), strict=True):
            show_picture(axes, gray)
            laid = axes.imshow(
                weights[row].float().cpu().numpy(), cmap="inferno", alpha=0.6, vmin=0
            )
            axes.set_title(name, fontsize=LABEL)
            bar = figure.colorbar(laid, ax=axes, shrink=0.85)
            bar.locator = MaxNLocator(5, steps=[1, 2, 5, 10])
            bar.formatter = FormatStrFormatter("%.1f")  # all as wide, so that columns align
            bar.update_ticks()
            bar.ax.tick_params(labelsize=TICK)
            bar.set_label("weight / mean weight", fontsize=TICK)
    return figure
