"""What goes wrong by the user's hand, said in one line: what was wanted, what came, what to do."""

from __future__ import annotations

import dataclasses
import difflib
import io
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard


class UsageError(ValueError):
    """A request that cannot be served; its message is one line and names the way out.

    Every command turns it into one line on standard error and exit status 2.
    """


class Stopped(Exception):  # noqa: N818  # it is no error
    """A run that stopped where it was asked to, with its state saved.

    Commands print the message and leave with ``status``.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def tell(text: str) -> None:
    """A line on standard error; where a full disk does not take it, the work goes on without."""
    try:
        print(text, file=sys.stderr or io.StringIO(), flush=True)
    except BrokenPipeError:  # the reader (head, less) went away
        raise
    except OSError:
        pass


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


def nearest(got: str, choices: Iterable[str]) -> str | None:
    """The choice closest in spelling to ``got``, or None if none is close."""
    matches = difflib.get_close_matches(got.lower(), list(choices), n=1, cutoff=0.6)
    return matches[0] if matches else None


def unknown(kind: str, got: str, choices: Iterable[str], form: str = "") -> UsageError:
    """The error for a name that is not among ``choices``: the nearest right one, or all of them.

    Where names follow a ``form``, that is named in place of all.
    """
    names = list(choices)
    near = nearest(got, names)
    every = f"names are of the form {form}" if form else f"choose from {', '.join(names)}"
    hint = f"did you mean {near!r}?" if near else every
    return UsageError(f"unknown {kind} {got!r}: {hint}")


def given_options(options: Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """Those of ``options`` that are not None; ``UsageError`` for one that is not ``known``."""
    names = list(known)
    for option in options:
        if option not in names:
            if (ours := TIMM_OPTIONS.get(option)) in names:
                raise UsageError(f"unknown model option {option!r}: did you mean {ours!r}?")
            raise unknown("model option", option, names)
    return {option: value for option, value in options.items() if value is not None}
