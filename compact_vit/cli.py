"""The ``compact-vit`` command: one table of programs, one way to parse and to fail.

Nothing here imports torch, so every ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import functools
import io
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

from ._version import __version__
from .errors import OutOfReachError, Stopped, UsageError, nearest, unknown

#: program -> (module that holds its ``main(argv)``, what it does)
COMMANDS = {
    "train": ("train.cli", "train a model on a named data set, a folder of pictures or arrays"),
    "experiment": ("experiment.cli", "grids of runs and searches among them, from one file"),
    "evaluate": (
        "evaluate",
        "accuracy of a run or of weights, per class, with a confusion matrix",
    ),
    "predict": ("predict", "the most likely classes of pictures, by a run or weights at hand"),
    "export": ("export", "a finished run's weights as a folder to hand on"),
    "plot": ("plot", "pictures of runs, of the augmentation, of attention, of mistakes"),
    "page": ("page", "a finished run as one HTML page"),
    "report": ("report", "parameters, multiply-accumulates and memory of models"),
    "bench": ("bench", "latency and throughput of models on this machine"),
    "score": ("score.cli", "accuracy for size: one, runs ranked, among the published results"),
    "suggest": ("suggest.cli", "the models that fit so many parameters, MACs or milliseconds"),
}

#: What to do about what a disk says.
_WAYS_OUT = dict.fromkeys(
    (errno.ENOSPC, errno.EDQUOT), "; make room and try again (a run of train with --resume)"
) | {
    errno.EROFS: "; choose a folder that can be written to",
    errno.EFBIG: "; raise the limit on a file's size (ulimit -f) and try again",
}

#: How torch says on any device that a tensor is too large.
_OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate|not enough memory|_ALLOC_FAILED|Storage size"
    r"|Overflow when unpacking"
)


class Parser(argparse.ArgumentParser):
    """``ArgumentParser`` whose errors are one line that names the nearest right option.

    ``elsewhere`` says what options are called here that other programs know by other names.
    """

    def __init__(
        self, command: str, *, elsewhere: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        self.elsewhere = elsewhere or {}
        options.setdefault("formatter_class", _Formatter)
        super().__init__(prog=f"compact-vit {command}".strip(), allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {_line(message)}\n" if speaks() else None)

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> argparse.Namespace:
        words = [_at_home(word) for word in (sys.argv[1:] if args is None else args)]
        known, extra = self.parse_known_args(words, namespace)
        for word in extra:
            option = word.split("=")[0]
            near = self._nearest(option) if option.startswith("-") else None
            hint = f"did you mean {near!r}?" if near else "see --help"
            self.error(f"unknown argument {word!r}: {hint}")
        return known

    def _nearest(self, option: str) -> str | None:
        """The option that ``option`` seems to mean; the dashes, which all have, do not count."""
        names = {name.lstrip("-"): name for name in self._option_string_actions}
        near = nearest(option.lstrip("-"), names)
        return self.elsewhere.get(option) or (names[near] if near else None)


def _at_home(word: str) -> str:
    """``word`` with its ~ expanded, which a shell leaves in quotes and in ``--output=~/run``."""
    flag, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    return flag + equals + os.path.expanduser(value)


class Chooser(Parser):
    """A parser of the word that names what to do, before that has a parser of its own."""

    def __init__(
        self,
        command: str,
        kind: str,
        about: Mapping[str, str],
        *,
        description: str,
        usage: str = "[options]",
    ) -> None:
        super().__init__(command, description=description, formatter_class=_Raw)
        self.kind, self.about = kind, about
        lines = [f"  {name:<10} {does}" for name, does in about.items()]
        more = f"'{self.prog} {kind.upper()} --help' tells more."
        self.epilog = "\n".join([f"{kind}s:", *lines, "", more])
        self.usage = f"{self.prog} {kind.upper()} {usage}"

    def chosen(self, words: Sequence[str]) -> str | None:
        """The first of ``words``; None where there is none, and help has been printed.

        Raises ``UsageError`` for another than those there are.
        """
        if words and not words[0].startswith("-"):
            if words[0] not in self.about:
                raise unknown(self.kind, words[0], self.about)
            return words[0]
        self.parse_args(words)
        self.print_help()
        return None


def pixels(text: str) -> int | tuple[int, int]:
    """The value of ``--img-size``: a side ``32``, or ``32x48`` for height and width."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"wanted pixels such as 32 or 32x48, got {text!r}")
    height, width = match.groups()
    return (int(height), int(width)) if width else int(height)


def one_of(kind: str, choices: Sequence[str]) -> Callable[[str], str]:
    """The type of an option whose values are ``choices``, each a ``kind``."""

    def checked(word: str) -> str:
        if word not in choices:
            raise argparse.ArgumentTypeError(str(unknown(kind, word, choices)))
        return word

    return checked


def add_format(parser: Any, formats: Sequence[str]) -> None:
    """The option ``--format`` of a command that prints a table, in a parser or a group of it."""
    parser.add_argument(
        "--format",
        type=one_of("format", formats),
        default="table",
        metavar="KIND",
        help=f"{', '.join(formats)} (default: table)",
    )


class _Formatter(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=100)


class _Raw(_Formatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of descriptions."""


def program(main: Callable[[Sequence[str] | None], int]) -> Callable[..., int]:
    """Make ``main(argv) -> status`` a command that fails in one line, never in a traceback."""

    @functools.wraps(main)
    def guarded(argv: Sequence[str] | None = None) -> int:
        try:
            _give_way()
            _ready_streams()
            _check_folder()
            try:
                with _warned_once():
                    return main(argv)
            finally:
                _flush()
        except UsageError as error:
            if not speaks() and not isinstance(error, OutOfReachError):
                return 2
            message = str(error)
        except BrokenPipeError:  # the reader (head, less) went away
            return 141
        except OSError as error:
            message = f"{error.filename or 'input/output'}: {error.strerror or error}"
            message += _WAYS_OUT.get(error.errno or 0, "")
        except (MemoryError, RuntimeError, TypeError) as error:
            if not isinstance(error, MemoryError) and not _OUT_OF_MEMORY.search(str(error)):
                raise
            message = "out of memory: ask for smaller pictures, a smaller batch or a smaller model"
        except Stopped as stop:
            if speaks():
                _say(str(stop))
            return stop.status
        except KeyboardInterrupt:
            _say("interrupted")
            return 130
        _say(f"error: {_line(message)}")
        return 2

    return guarded


@contextlib.contextmanager
def _warned_once() -> Iterator[None]:
    """Within, only the first of several processes warns: what it warns of all would."""
    log = logging.getLogger(__package__)
    before = log.level
    log.setLevel(before if speaks() else logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _say(text: str) -> None:
    """A last line on standard error; where nobody takes it the status still says how it ended."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr)


def _line(message: str) -> str:
    """``message`` on one line; of a very long one its two ends, which say what and what to do."""
    line = " ".join(message.split())
    return line if len(line) <= 600 else f"{line[:400]} ... {line[-150:]}"


def _give_way() -> None:
    """Let threads that wait for one another sleep sooner, where something else wants the cores.

    GNU's OpenMP, which torch computes with on Linux, reads this when torch is imported. By itself
    it spins 30 times as long, which beside one busy process makes a small run 3 to 15 times slower.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def _check_folder() -> None:
    """Refuse a current folder that was removed, in which libraries fail in their own words."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UsageError("the current folder is no longer there: change to one that is") from None


def _ready_streams() -> None:
    """Let file names be printed that are no text in the terminal's encoding, or nowhere at all."""
    if sys.stderr is None:  # the command was started without one, which tqdm does not expect
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _flush() -> None:
    """Hand over what was printed; what nobody takes must not trouble the interpreter's end."""
    if sys.stdout is None:  # the command was started without one
        return
    try:
        sys.stdout.flush()
    except OSError as error:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise type(error)(error.errno, error.strerror, "standard output") from None


def speaks() -> bool:
    """Whether this process speaks for its run: of those that ``torchrun`` starts only the first."""
    return not several() or os.environ.get("RANK", "0") == "0"


def several() -> bool:
    """Whether this process says that it is one of several, as those of ``torchrun`` do."""
    return os.environ.get("WORLD_SIZE", "") not in ("", "1")


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Run ``compact-vit PROGRAM ...``, the same as ``python -m compact_vit.PROGRAM ...``."""
    parser = Chooser(
        "",
        "program",
        {name: about for name, (_, about) in COMMANDS.items()},
        description="Compact vision transformers: models, training, evaluation, size reports.",
    )
    parser.add_argument("--version", action="version", version=f"compact-vit {__version__}")
    words = list(sys.argv[1:] if argv is None else argv)
    name = parser.chosen(words)
    if name is None:
        return 0
    return import_module(f".{COMMANDS[name][0]}", __package__).main(words[1:])
