"""What goes wrong by the user's hand, said in one line: what was wanted, what came, what to do."""

from __future__ import annotations

import difflib
import io
import sys
import unicodedata
from collections.abc import Iterable


class UsageError(ValueError):
    """A request that cannot be served; its message is one line and names the way out.

    Every command turns it into one line on standard error and exit status 2.
    """


class OutOfReachError(UsageError):
    """That another process of a run is gone, which is said by whichever is left."""


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


def printable(name: str) -> str:
    """``name`` on one line that any UTF-8 stream takes: what breaks it (``\\n``, bytes) escaped."""
    breaking = ("Cc", "Cs", "Zl", "Zp")  # controls, surrogates, separators of lines
    return "".join(ascii(c)[1:-1] if unicodedata.category(c) in breaking else c for c in name)


def listed(names: Iterable[str], most: int = 8) -> str:
    """The first of ``names``, and how many more there are."""
    shown = list(map(printable, names))
    more = f" and {len(shown) - most:,} more" if len(shown) > most else ""
    return (", ".join(shown[:most]) + more) or "none"
