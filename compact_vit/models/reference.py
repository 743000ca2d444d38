"""Checkpoints in the layout of the published implementation (SHI-Labs/Compact-Transformers)."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import UsageError
from ..layers import PositionalEmbedding, resize_positions, sine_positions
from .compact import CompactTransformer

#: Where the published layout has its positions, which are always of a square grid.
_PUBLISHED_POSITIONS = "classifier.positional_emb"

#: Where training scripts keep the weights in a checkpoint, first match wins: averaged ones.
_WRAPPED = ("state_dict_ema", "model_ema", "state_dict", "model")

#: What the checkpoint of a run of ours holds, besides much else.
_OF_RUN = {"format", "weights", "classes"}

#: published key -> ours, first match wins
_RENAMES = (
    (r"tokenizer\.conv_layers\.(\d+)\.0\.", r"tokenizer.convs.\1."),
    (r"classifier\.positional_emb$", "positions.table"),
    (r"classifier\.class_emb$", "class_token.token"),
    (r"classifier\.attention_pool\.", "pool.attention."),
    (r"classifier\.blocks\.(\d+)\.pre_norm\.", r"blocks.\1.norm1."),
    (r"classifier\.blocks\.(\d+)\.self_attn\.", r"blocks.\1.attn."),
    (r"classifier\.blocks\.(\d+)\.norm1\.", r"blocks.\1.norm2."),
    (r"classifier\.blocks\.(\d+)\.linear([12])\.", r"blocks.\1.mlp.fc\2."),
    (r"classifier\.norm\.", "norm."),
    (r"classifier\.fc\.", "head."),
)


@dataclass(frozen=True)
class LoadReport:
    """What loading changed on the way: nothing, resized positions, a head left as it was."""

    positions_resized: tuple[tuple[int, int], tuple[int, int]] | None = None
    """Token grids, the checkpoint's and the model's, where positions were interpolated."""
    head_changed: tuple[int, int] | None = None
    """Numbers of classes, the checkpoint's and the model's, where the model's own head was kept."""


def load_reference_state_dict(
    model: CompactTransformer,
    state: Mapping[str, Any] | str | os.PathLike[str],
    *,
    grid_size: tuple[int, int] | None = None,
) -> LoadReport:
    """Fill ``model`` from a checkpoint of the published layout, or from the path of one.

    Strict: a key too many, a key missing or a shape that differs is a ``UsageError`` and leaves
    the model as it was, with two exceptions, both reported: a learnt position table of another
    token grid is interpolated (the class token's apart), and a head of another number of classes
    is left out. ``grid_size`` names the checkpoint's grid. Without it a table of the published
    layout is square, and one under this library's own key has the model's grid, or where it does
    not fill that is square. A sine table of another grid is the model's own. ``module.`` and
    ``_orig_mod.`` prefixes are stripped; files are read with ``weights_only``, and of one with
    averaged weights beside the others (``state_dict_ema``, ``model_ema``) those are taken, as timm
    does. What a run wrote is refused: ``compact_vit.train.load_model`` reads it, and its checksum.
    """
    if not isinstance(model, CompactTransformer):
        raise UsageError(f"model must be a CompactTransformer, got a {type(model).__name__}")
    if not isinstance(state, Mapping | str | os.PathLike):
        wanted = "a checkpoint's dict of tensors, or the path of its file"
        raise UsageError(f"state must be {wanted}, got a {type(state).__name__}")
    unwrapped = _unwrapped(state if isinstance(state, Mapping) else read_state_dict(state))
    renamed = {_rename(model, key): value for key, value in unwrapped.items()}
    own = model.state_dict()
    resized = fit_positions(model, renamed, grid_size, square=_PUBLISHED_POSITIONS in unwrapped)
    changed = None
    head = renamed.get("head.weight")
    if head is not None and head.dim() == 2 and len(head) != model.num_classes:
        changed = (len(head), model.num_classes)
        for key in ("head.weight", "head.bias"):
            renamed.pop(key, None)
            if key in own:
                renamed[key] = own[key]
    _check_keys(renamed, own)
    model.load_state_dict(renamed)
    return LoadReport(positions_resized=resized, head_changed=changed)


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a checkpoint file holds, read with ``weights_only``: no code in it is run.

    Beside tensors and numbers it may have the arguments of the script that wrote it, as timm's
    and the published one leave them (an ``argparse.Namespace``).
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UsageError(f"no checkpoint at {os.fspath(path)!r}: give the path of a file") from None
    except IsADirectoryError:
        raise UsageError(
            f"{os.fspath(path)!r} is a folder: give the path of a file in it"
        ) from None
    except OSError:
        raise
    except Exception as error:  # reading damaged bytes as a pickle may fail in any way
        reason = (str(error).strip() or type(error).__name__).split("\n")[0]
        if foreign := re.search(r"GLOBAL (\S+) was not an allowed", str(error)):
            reason = f"it holds a {foreign[1]}: save the model's state_dict() alone"
        raise UsageError(
            f"{os.fspath(path)!r} is not a checkpoint of plain tensors ({reason})"
        ) from None
    if not isinstance(checkpoint, dict):
        got = type(checkpoint).__name__
        raise UsageError(f"{os.fspath(path)!r} must hold a dict of tensors, got a {got}")
    return checkpoint


def _unwrapped(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of a checkpoint, without the prefixes that DataParallel and torch.compile add."""
    for key in _WRAPPED:
        if isinstance(state.get(key), Mapping):
            state = state[key]
    if state.keys() >= _OF_RUN:
        raise UsageError(
            "the checkpoint is of a run: give load_model(RUN).model.state_dict(), of "
            "compact_vit.train"
        )
    clean = {re.sub(r"^(module\.|_orig_mod\.)+", "", str(key)): v for key, v in state.items()}
    clean.pop("n_averaged", None)  # a count that torch's AveragedModel keeps
    for key, value in clean.items():
        if not isinstance(value, Tensor):
            raise UsageError(
                f"checkpoint entry {key!r} must be a tensor, got {type(value).__name__}: "
                "give the dict of the model's tensors"
            )
    return clean


def _rename(model: CompactTransformer, key: str) -> str:
    for pattern, ours in _RENAMES:
        new, count = re.subn("^" + pattern, ours, key)
        if count:
            # patches are one projection here, and the one convolution of the list there
            return new if model.config.num_convs else new.replace("convs.0.", "proj.")
    return key


def fit_positions(
    model: CompactTransformer,
    state: dict[str, Tensor],
    old: tuple[int, int] | None,
    *,
    square: bool = False,
) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Bring ``state``'s table, of the grid ``old``, to the model's; returns both if it had to.

    None is the model's grid where the table fills it, and otherwise or if ``square`` a square.
    """
    table, positions = state.get("positions.table"), model.positions
    if table is None or not isinstance(positions, PositionalEmbedding):
        return None
    if table.dim() != 3 or table.shape[2] != positions.embed_dim:
        return None  # not a table of this width: the strict check names it
    if positions.kind == "sine":
        _keep_sine(state, table, positions)
        return None
    prefix, new = positions.num_prefix_tokens, positions.grid_size
    if old is None and not square and table.shape == positions.table.shape:
        return None
    tokens = table.shape[1] - prefix
    side = math.isqrt(max(0, tokens))
    old = old or (side, side)
    if old[0] * old[1] != tokens or tokens < 1:
        raise UsageError(
            f"the checkpoint's {tokens} positions do not fill a grid of {old[0]}x{old[1]}: "
            "pass grid_size=(height, width) in tokens"
        )
    if old == new:
        return None
    state["positions.table"] = resize_positions(table, old, new, prefix)
    return old, new


def _keep_sine(state: dict[str, Tensor], table: Tensor, positions: PositionalEmbedding) -> None:
    """A sine table says nothing the model does not know, so its own stays, whatever the grid.

    The published ``*_sine`` builders of CCT and CVT made learnt tables by mistake: those are named.
    """
    sine = sine_positions(table.shape[1], table.shape[2]).to(table.device)
    # as far off as bfloat16 rounds; learnt tables start with a spread of 0.2
    if not torch.allclose(table.float(), sine, atol=5e-3):
        raise UsageError(
            "the checkpoint's positions are learnt, not sine: "
            "build the model with positional_embedding='learnable'"
        )
    state["positions.table"] = positions.table.detach()


def _check_keys(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Name the first thing in which the checkpoint is not this model's."""
    problems = [f"lacks {key}" for key in own if key not in state]
    problems += [f"has {key}, which the model lacks" for key in state if key not in own]
    problems += [
        f"has {key} of shape {list(state[key].shape)}, the model {list(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if problems:
        more = f" (and {len(problems) - 1} more differences)" if len(problems) > 1 else ""
        raise UsageError(f"the checkpoint is of another model: it {problems[0]}{more}")
