"""What a configuration may hold: whole numbers, plain values, options that are known."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

from .errors import UsageError, unknown

#: timm's name of a model's option -> ours.
TIMM_OPTIONS = {
    "drop_rate": "dropout",
    "attn_drop_rate": "attention_dropout",
    "drop_path_rate": "drop_path",
}


def is_whole(value: object, least: int) -> TypeGuard[int]:
    """Whether ``value`` is a whole number of at least ``least``; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_real(value: object) -> TypeGuard[float]:
    """Whether ``value`` is a number that a float holds, and finite; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= sys.float_info.max  # also of whole numbers that no float holds


def plain(value: Any) -> Any:
    """``value``; a number of numpy's, or a tensor of one, as Python's."""
    return value.item() if getattr(value, "shape", None) == () else value


def plain_fields(config: Any) -> None:
    """Make the fields of a frozen dataclass ``plain``, and lists tuples where those are meant."""
    for entry in dataclasses.fields(config):
        value = plain(getattr(config, entry.name))
        if isinstance(value, list) and "tuple" in str(entry.type):  # as JSON brings it
            value = tuple(value)
        object.__setattr__(config, entry.name, value)


def checked_classes(num_classes: Any) -> int:
    """``num_classes`` of a classifier; ``UsageError`` if there cannot be so many."""
    num_classes = plain(num_classes)
    if not is_whole(num_classes, 0):
        raise UsageError(
            f"num_classes must be a whole number, 0 for no classifier, got {num_classes!r:.60}"
        )
    return num_classes


def given_options(options: Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """Those of ``options`` that are not None; ``UsageError`` for one that is not ``known``."""
    names = list(known)
    for option in options:
        if option not in names:
            if (ours := TIMM_OPTIONS.get(option)) in names:
                raise UsageError(f"unknown model option {option!r}: did you mean {ours!r}?")
            raise unknown("model option", option, names)
    return {option: value for option, value in options.items() if value is not None}
