"""Weights with all there is to know of them: a folder of ``model.safetensors`` and ``config.json``.

The package's own lie in ``weights/<model>.<tag>``, ``save_pretrained`` writes such folders and
``from_pretrained`` reads them, from a disk or from the Hugging Face hub. They are laid out as
timm's, which reads them too.

Letters: C and c channels, D width, k kernel.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checks import given_options
from ..errors import UsageError
from .compact import CompactTransformer
from .config import ModelConfig
from .preprocessing import OF_CLASSES, Preprocess, as_taken, first_conv
from .reference import load_reference_state_dict
from .shipped import CARD, WEIGHTS, nothing_at, weights_at

#: What makes another model of a compact transformer, and does not show in its weights' shapes.
_UNSEEN = ("family", "kernel_size", "num_convs", "num_heads", "residual")

#: A model on the hub.
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


@dataclass(frozen=True)
class Stored:
    """What a folder of weights holds, checked."""

    config: ModelConfig
    card: Mapping[str, Any]
    """``config.json``, whole."""
    state: Mapping[str, Tensor]

    @property
    def name(self) -> str:
        """What model it is, ``cct_2_3x3``; ``CompactTransformer`` where no name describes it."""
        return str(self.card.get("architecture", "CompactTransformer"))


def digest(state: Mapping[str, Tensor]) -> str:
    """The SHA-256 of tensors: of names, types, shapes and values, whatever their order."""
    whole = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        whole.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        whole.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()


def read_folder(folder: Path) -> Stored:
    """Read the folder that ``save_pretrained`` wrote; ``UsageError`` if it is damaged or none."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    card = read_card(folder)
    try:
        config = ModelConfig(**card["model_args"])
        _check_input(card["pretrained_cfg"], config)
    except (UsageError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"'{folder / CARD}' is damaged: {error!s:.200}") from None
    path = folder / WEIGHTS
    try:
        state = load(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(f"'{folder}' has no {WEIGHTS}: give a folder of weights") from None
    except (SafetensorError, ValueError, KeyError) as error:
        raise _damaged(path, f"{error!s:.80}") from None
    check_sum(state, card, folder)
    name = differing_tensor(state, config)
    if name is not None:
        raise UsageError(
            f"'{folder / CARD}' is damaged: it is of another model than {WEIGHTS} ({name})"
        )
    return Stored(config, card, state)


def check_sum(state: Mapping[str, Tensor], card: Mapping[str, Any], folder: Path) -> None:
    """Refuse tensors that are not those which ``card``, the ``config.json`` of ``folder``, sums."""
    if digest(state) != card["sha256"]:
        raise _damaged(folder / WEIGHTS, f"its tensors do not have the checksum in {CARD}")


def read_card(folder: Path) -> dict[str, Any]:
    """The ``config.json`` of a folder of weights; ``UsageError`` if it is not of weights."""
    path = folder / CARD
    try:
        card = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(
            f"no folder of weights at '{folder}': give one that export or save_pretrained wrote, "
            "or USER/NAME of a model on the Hugging Face hub"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"'{path}' is damaged: it is not JSON ({error!s:.80})") from None
    if not isinstance(card, dict) or not {"model_args", "pretrained_cfg", "sha256"} <= card.keys():
        raise UsageError(
            f"'{path}' does not describe weights: write such a folder with save_pretrained, "
            "or with python -m compact_vit.export RUN"
        )
    return card


def _check_input(known: Mapping[str, Any], config: ModelConfig) -> None:
    """Refuse a description of the input and the classes that the model could not use."""
    if "mean" in known or "std" in known:
        if not len(known["mean"]) == len(known["std"]) == config.in_chans:
            raise UsageError(f"mean and std must be {config.in_chans} numbers")
        Preprocess.of(known, config.in_chans, config.height_width)
    names = known.get("label_names", [""] * config.num_classes)
    if not isinstance(names, list) or [type(name) for name in names] != [str] * config.num_classes:
        raise UsageError(f"label_names must be {config.num_classes} names, got {names!r:.60}")


def differing_tensor(state: Mapping[str, Tensor], config: ModelConfig) -> str | None:
    """The first tensor, by name, in which ``state`` is not of a model of ``config``, if any is."""
    with torch.device("meta"):
        described = CompactTransformer(config).state_dict()
    wanted, got = ({name: t.shape for name, t in s.items()} for s in (described, state))
    names = sorted(wanted.keys() | got.keys())
    return next((name for name in names if wanted.get(name) != got.get(name)), None)


def _damaged(path: Path, reason: str) -> UsageError:
    return UsageError(f"'{path}' is damaged ({reason}): put a whole copy in its place")


def build_pretrained(stored: Stored, **options: Any) -> CompactTransformer:
    """The model whose weights were ``stored``, in training mode; ``options`` as in ``ModelConfig``.

    None is the stored model's own. Another ``img_size`` resizes the positions, another number of
    channels adapts the first convolution, of other ``num_classes`` the classifier is new. Other
    options must suit the weights: ``UsageError`` if they do not.
    """
    known = (field.name for field in dataclasses.fields(ModelConfig))
    config = dataclasses.replace(stored.config, **given_options(options, known))
    check_unseen(config, stored.config)
    model = CompactTransformer(config)
    fill(model, stored.state, stored.config)
    model.pretrained_cfg = as_taken(input_of(stored.card), config)
    if config.num_classes != stored.config.num_classes:
        for said in OF_CLASSES:
            model.pretrained_cfg.pop(said, None)
    return model


def check_unseen(config: ModelConfig, trained: ModelConfig) -> None:
    """Refuse to give a model of ``config`` weights that would fit and mean something else."""
    for field in _UNSEEN:
        ours, theirs = getattr(config, field), getattr(trained, field)
        if ours != theirs:
            raise UsageError(f"{field} must be {theirs!r} with these weights, got {ours!r}")


def input_of(card: Mapping[str, Any]) -> dict[str, Any]:
    """The ``pretrained_cfg`` of a ``config.json``, its lists as tuples."""
    known = card["pretrained_cfg"].items()
    return {key: tuple(value) if isinstance(value, list) else value for key, value in known}


def fill(model: CompactTransformer, state: Mapping[str, Tensor], config: ModelConfig) -> None:
    """Give ``model`` the weights ``state`` of a model of ``config``, adapted to what differs."""
    load_reference_state_dict(
        model,
        adapted(state, model, config),
        grid_size=model.tokenizer.grid_size(*config.height_width),
    )


def adapted(
    state: Mapping[str, Tensor], model: CompactTransformer, config: ModelConfig
) -> dict[str, Tensor]:
    """``state`` in float32 at least, and for as many channels as ``model`` has.

    Where it has no classifier, that of ``model`` stands in.
    """
    full = in_full(state)
    if not config.num_classes:
        own = model.state_dict()
        full |= {name: own[name] for name in own if name.startswith("head.")}
    name = f"{first_conv(config)}.weight"
    if model.in_chans != config.in_chans and name in full:
        full[name] = _for_channels(full[name], model.in_chans)
    return full


def in_full(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``state`` in float32 at least: half precision is for storing, float64 is left."""
    return {
        name: tensor.to(torch.promote_types(tensor.dtype, torch.float32))
        for name, tensor in state.items()
    }


def _for_channels(weight: Tensor, in_chans: int) -> Tensor:
    """A first convolution for other channels, ``[D, c, k, k] -> [D, C, k, k]``, as timm has it.

    One channel sees the sum of all; more are repetitions, so scaled that the sum stays.
    """
    from timm.models import adapt_input_conv

    own = weight.shape[1]
    if own not in (1, 3):
        raise UsageError(
            f"weights for {own} channels cannot be adapted to {in_chans}: leave in_chans at {own}"
        )
    # gray is a colour whose three channels are the same
    colours = weight.repeat(1, 3, 1, 1) / 3 if own == 1 else weight
    return adapt_input_conv(in_chans, colours)


def from_pretrained(
    source: str | os.PathLike[str], revision: str | None = None, **options: Any
) -> CompactTransformer:
    """The model in the folder ``source``, of a name in the package, or ``user/name`` on the hub.

    In evaluation mode; ``options`` as in ``build_pretrained``.
    """
    folder = Path(os.path.expanduser(source))
    on_hub = not folder.is_dir() and _HUB_ID.fullmatch(os.fspath(source)) is not None
    if revision is not None and not on_hub:
        raise UsageError(f"revision is for a model on the hub, got {revision!r} with '{source}'")
    if folder.is_file():
        raise UsageError(f"'{source}' is a file: give the folder it is in, with {CARD} beside it")
    if on_hub:
        folder = _fetched(os.fspath(source), revision)
    elif not folder.is_dir():
        found = weights_at(source)
        if found is None:
            wanted = "a folder that export or save_pretrained wrote, a model on the hub (USER/NAME)"
            raise nothing_at(source, f"pretrained must be {wanted}")
        folder = found
    return build_pretrained(read_folder(folder), **options).eval()


def _fetched(name: str, revision: str | None) -> Path:
    """The files of a model on the hub, in the hub's own cache; ``UsageError`` without a network."""
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(name, revision=revision, allow_patterns=[WEIGHTS, CARD]))
    except Exception as error:  # of the network, the hub, the disk: each has its own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(
            f"{name!r} is no folder here and could not be fetched from the Hugging Face hub "
            f"({reason:.100}): where there is a network put {WEIGHTS} and {CARD} from "
            f"https://huggingface.co/{name} into a folder, and give that folder"
        ) from None
