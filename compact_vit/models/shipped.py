"""Which weights there are in the package, and whether a folder is of weights. Imports no torch."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..errors import UsageError, nearest, unknown

#: The weights that come with the package.
SHIPPED = Path(__file__).parents[1] / "weights"

WEIGHTS, CARD = "model.safetensors", "config.json"


def shipped() -> dict[str, dict[str, Path]]:
    """The weights in the package: the folder of every tag of every model that has any."""
    found: dict[str, dict[str, Path]] = {}
    for card in sorted(SHIPPED.glob(f"*/{CARD}")):
        name, _, tag = card.parent.name.partition(".")
        found.setdefault(name, {})[tag] = card.parent
    return found


def shipped_folder(name: str, tag: bool | str) -> Path:
    """Where the weights ``tag`` of the model ``name`` are; True for its first.

    ``UsageError`` names those that there are.
    """
    every = shipped()
    if name not in every:
        there = ", ".join(f"{known} ({', '.join(tags)})" for known, tags in every.items())
        raise UsageError(
            f"the package has no weights of {name!r}, it has {there or 'none at all'}: leave "
            "pretrained out, or read a folder of weights with from_pretrained"
        )
    if tag is True:
        return next(iter(every[name].values()))
    if not isinstance(tag, str):
        raise UsageError(f"pretrained must be True, False or a tag, got {tag!r}")
    if tag not in every[name]:
        raise unknown(f"weights of {name}", tag, every[name])
    return every[name][tag]


def weights_at(source: str | os.PathLike[str]) -> Path | None:
    """The folder of the weights called ``source``; None if it is not of weights.

    Such a folder itself, or a name in the package: ``cct_2_3x3``, or ``cct_2_3x3.cifar10`` with a
    tag. Where there is a folder of that name, it is the one that is meant.
    """
    folder = Path(os.path.expanduser(source))
    if folder.is_dir():
        return folder if holds_weights(folder) else None
    name, _, tag = os.fspath(source).partition(".")
    tags = shipped().get(name, {})
    return tags.get(tag) if tag else next(iter(tags.values()), None)


def nothing_at(source: str | os.PathLike[str], wanted: str) -> UsageError:
    """The error for a ``source`` that is neither what was ``wanted`` nor weights in the package."""
    got = "which does not exist"
    if os.path.exists(source):
        got = "a folder of something else" if os.path.isdir(source) else "a file"
    every = shipped()
    names = [*every, *(f"{name}.{tag}" for name, tags in every.items() for tag in tags)]
    near = nearest(os.fspath(source), names)
    hint = f": did you mean {near!r}?" if near else ""
    return UsageError(
        f"{wanted}, or weights in the package ({', '.join(every) or 'which has none'}), "
        f"got '{source}', {got}{hint}"
    )


def holds_weights(folder: Path) -> bool:
    """Whether ``folder`` is one of weights, be they damaged; a run's ``config.json`` is another."""
    try:
        card = json.loads((folder / CARD).read_bytes())
    except (OSError, ValueError, RecursionError):
        return (folder / WEIGHTS).is_file()
    return isinstance(card, dict) and {"model_args", "sha256"} <= card.keys()
