"""The ``compact-vit`` command: one table of programs, one way to parse and to fail.

Nothing here imports torch, so every ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NoReturn

from ._version import __version__
from .errors import Stopped, UsageError, nearest, unknown

#: program -> (module that holds its ``main(argv)``, what it does)
COMMANDS = {
    "train": ("train.cli", "train a model on a named data set or a folder of pictures"),
    "evaluate": ("evaluate", "accuracy of a finished run, per class, with a confusion matrix"),
    "predict": ("predict", "the most likely classes of pictures, by a finished run"),
    "plot": ("plot", "pictures of runs, of the augmentation, of attention, of mistakes"),
    "report": ("report", "parameters, multiply-accumulates and memory of models"),
    "bench": ("bench", "latency and throughput of models on this machine"),
    "score": ("score.cli", "accuracy for size: one, runs ranked, among the published results"),
    "suggest": ("suggest.cli", "the models that fit so many parameters, MACs or milliseconds"),
}

#: How torch says on any device that a tensor is too large, in a ``RuntimeError``.
_OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate|not enough memory|Storage size")


class Parser(argparse.ArgumentParser):
    """``ArgumentParser`` whose errors are one line that names the nearest right option."""

    def __init__(self, command: str, **options: Any) -> None:
        options.setdefault("formatter_class", _Formatter)
        super().__init__(prog=f"compact-vit {command}".strip(), allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> argparse.Namespace:
        known, extra = self.parse_known_args(args, namespace)
        for word in extra:
            option = word.split("=")[0]
            near = nearest(option, self._option_string_actions) if option.startswith("-") else None
            hint = f"did you mean {near!r}?" if near else "see --help"
            self.error(f"unknown argument {word!r}: {hint}")
        return known


def pixels(text: str) -> int | tuple[int, int]:
    """The value of ``--img-size``: a side ``32``, or ``32x48`` for height and width."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"wanted pixels such as 32 or 32x48, got {text!r}")
    height, width = match.groups()
    return (int(height), int(width)) if width else int(height)


class _Formatter(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=100)


def program(main: Callable[[Sequence[str] | None], int]) -> Callable[..., int]:
    """Make ``main(argv) -> status`` a command that fails in one line, never in a traceback."""

    @functools.wraps(main)
    def guarded(argv: Sequence[str] | None = None) -> int:
        try:
            try:
                return main(argv)
            finally:
                sys.stdout.flush()  # or the interpreter would complain of a closed pipe at its end
        except UsageError as error:
            message = str(error)
        except BrokenPipeError:  # the reader (head, less) went away
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except OSError as error:
            message = f"{error.filename or 'input/output'}: {error.strerror or error}"
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and not _OUT_OF_MEMORY.search(str(error)):
                raise
            message = "out of memory: ask for smaller pictures, a smaller batch or a smaller model"
        except Stopped as stop:
            print(stop, file=sys.stderr)
            return stop.status
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130
        print(f"error: {' '.join(message.split())}", file=sys.stderr)
        return 2

    return guarded


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Run ``compact-vit PROGRAM ...``, the same as ``python -m compact_vit.PROGRAM ...``."""
    parser = Parser(
        "",
        description="Compact vision transformers: train, evaluate, predict, report, bench.",
        epilog="programs:\n"
        + "\n".join(f"  {name:<10} {about}" for name, (_, about) in COMMANDS.items())
        + "\n\n'compact-vit PROGRAM --help' tells more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="compact-vit PROGRAM [options]",
    )
    parser.add_argument("--version", action="version", version=f"compact-vit {__version__}")
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0].startswith("-"):
        parser.parse_args(words)
        parser.print_help()
        return 0
    if words[0] not in COMMANDS:
        raise unknown("program", words[0], COMMANDS)
    module = import_module(f".{COMMANDS[words[0]][0]}", __package__)
    return module.main(words[1:])
