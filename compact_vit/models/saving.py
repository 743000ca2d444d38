"""A model written with all there is to know of it: weights, ``config.json``, a model card."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import UsageError
from ..files import check_is_folder, write_whole
from .card import model_card
from .compact import CompactTransformer
from .config import ModelConfig, config_from_name, name_of
from .preprocessing import pretrained_cfg
from .pretrained import differing_tensor, digest
from .shipped import CARD, WEIGHTS, holds_weights

#: What a name says of a model; the other fields are options.
_OF_NAME = (
    "family", "depth", "num_heads", "mlp_ratio", "embed_dim", "kernel_size", "num_convs"
)  # fmt: skip


def save_pretrained(
    model: CompactTransformer,
    folder: str | os.PathLike[str],
    *,
    half: bool = False,
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write ``model.safetensors``, ``config.json`` and ``README.md`` to ``folder``.

    What ``model.pretrained_cfg`` says of its input and its classes goes with it, and ``facts``
    beside: ``training``, ``results`` and ``size``, as ``compact_vit.export`` has them. ``half``
    rounds the weights to float16. Returns the content of ``config.json``. Raises ``UsageError``
    for a folder that holds something else.
    """
    from safetensors.torch import save

    path = Path(os.path.expanduser(folder))
    check_folder(path)
    config = dataclasses.replace(model.config, num_classes=model.num_classes)
    state = {
        name: t.detach().cpu().contiguous()
        for name, t in model.state_dict().items()
        if isinstance(t, Tensor)  # those of quantised layers are not
    }
    differing = differing_tensor(state, config)
    if differing is not None:
        raise UsageError(
            f"the model is not what its configuration describes ({differing} differs): "
            "save its state_dict with torch.save"
        )
    if half:
        state = {name: rounded(tensor) for name, tensor in state.items()}
    card = {
        "architecture": _architecture(config),
        "num_classes": config.num_classes,
        "num_features": config.embed_dim,
        "model_args": dataclasses.asdict(config),
        "pretrained_cfg": _known(model, config),
        **(facts or {}),
        "dtype": "float16" if half else str(next(iter(state.values())).dtype).split(".")[-1],
        "sha256": digest(state),
    }
    text, about = json.dumps(card, indent=2), model_card(card, path.resolve().name)
    _write(
        path,
        {
            WEIGHTS: save(state),
            CARD: f"{text}\n".encode(),
            "README.md": about.encode(errors="backslashreplace"),
        },
    )
    return json.loads(text)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write ``files`` into ``folder``: all, or where one cannot be written none."""
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as aside:
            for name, content in files.items():
                write_whole(Path(aside, name), content)
            for name in files:
                Path(aside, name).replace(folder / name)
    except OSError as error:
        if new:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise OSError(error.errno, error.strerror or str(error), str(folder)) from error


def check_folder(path: Path) -> None:
    """Refuse to write weights where something else is: a file, or the folder of a run."""
    check_is_folder(path)
    ours = (path / CARD).exists() and holds_weights(path)
    there = (name for name in (CARD, WEIGHTS, "README.md") if (path / name).exists())
    overwritten = None if ours else next(there, None)
    if overwritten:
        raise UsageError(
            f"output '{path}' is the folder of a run, or of something else with a {overwritten}, "
            "which would be overwritten: choose another"
        )


def rounded(tensor: Tensor) -> Tensor:
    """``tensor`` in float16, whole numbers as they are; ``UsageError`` where it does not fit."""
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    if not bool((half.isfinite() == tensor.isfinite()).all()):
        raise UsageError("the weights are too large for half precision: save them without half")
    return half


def _known(model: CompactTransformer, config: ModelConfig) -> dict[str, Any]:
    """What ``model.pretrained_cfg`` says, as far as it is still true of the model."""
    said = model.pretrained_cfg
    mean, std, names = (said.get(key) for key in ("mean", "std", "label_names"))
    if mean is not None and std is not None:
        prepared = model.transforms()  # for as many channels as the model has
        mean, std = prepared.mean, prepared.std
    if names is not None:
        listed = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
        if not listed or len(names) != config.num_classes:
            raise UsageError(f"label_names must be {config.num_classes} names, got {names!r:.60}")
    kept = ("tag", "license", "description", "origin_url", "interpolation", "crop_pct", "crop_mode")
    own = pretrained_cfg(config, mean, std, names)
    return own | {key: said[key] for key in kept if key in said}


def _architecture(config: ModelConfig) -> str:
    """The name of ``config``, or of its class where no name describes it."""
    name = name_of(config)
    named = config_from_name(name)
    same = all(getattr(named, field) == getattr(config, field) for field in _OF_NAME)
    return name if same else "CompactTransformer"
