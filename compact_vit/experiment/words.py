"""Values as names, messages, tables and pictures say them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any


def brief(value: Any) -> str:
    """``value`` where there is little room: ``0.01235``, eight widths of 256 as ``256x8``."""
    if isinstance(value, (list, tuple)):
        runs = [(brief(item), len(list(same))) for item, same in itertools.groupby(value)]
        return "-".join(f"{text}x{count}" if count > 1 else text for text, count in runs)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def shown(value: Any) -> str:
    """``value`` in a name or a message: ``0.1``, ``cct_2_3x2``, ``512-256``."""
    if isinstance(value, (list, tuple)):
        return "-".join(map(shown, value))
    return str(value)


def apart(values: Sequence[Any]) -> list[str]:
    """Each of different ``values`` in brief, or whole where two would read the same."""
    names = list(map(brief, values))
    return names if len(set(names)) == len(names) else list(map(shown, values))


def in_words(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose lists are words, for CSV."""
    return {k: shown(v) if isinstance(v, (list, tuple)) else v for k, v in row.items()}
