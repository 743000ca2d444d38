"""The command's options, each checked as it is read."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping
from typing import TypeVar

from compact_vit.cli import Parser
from compact_vit.errors import unknown

from .layers import Layer, LeakyReLU, ReLU, Sigmoid, Tanh
from .optimizers import SGD, Momentum, RMSProp

Value = TypeVar("Value")

ACTIVATIONS: dict[str, type[Layer]] = {
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
}
#: name -> (optimiser, learning rate unless another is asked for)
OPTIMIZERS: dict[str, tuple[type[SGD], float]] = {
    "sgd": (SGD, 0.1),
    "momentum": (Momentum, 0.01),
    "rmsprop": (RMSProp, 0.0003),
}


def build_parser() -> Parser:
    """The parser of ``python -m backprop_from_scratch``."""
    parser = Parser("", description="An MLP learns with every derivative written by hand.")
    parser.prog = "python -m backprop_from_scratch"

    def add(name: str, kind: Callable[[str], object], default: object, about: str) -> None:
        shown = "" if default is None else f" ({default})"
        parser.add_argument(name, type=kind, default=default, metavar="", help=about + shown)

    add("--dataset", str, "digits", "digits, folder, or another that the library loads")
    add("--data-dir", str, None, "where it is; of folder: with train/<class>/ and test/<class>/")
    add("--hidden", _widths, "256,128", "widths of the hidden layers")
    add("--activation", _named("activation", ACTIVATIONS), "relu", ", ".join(ACTIVATIONS))
    share = _number(float, "a share from 0 to below 1", lambda p: 0 <= p < 1)
    add("--dropout", share, 0.2, "share of hidden activations left out in training")
    add("--optimizer", _named("optimizer", OPTIMIZERS), "momentum", ", ".join(OPTIMIZERS))
    usual = ", ".join(f"{name} {lr}" for name, (_, lr) in OPTIMIZERS.items())
    rate = _number(float, "a positive number", lambda lr: 0 < lr < math.inf)
    add("--lr", rate, None, f"learning rate ({usual})")
    penalty = _number(float, "a number of at least 0", lambda decay: 0 <= decay < math.inf)
    add("--weight-decay", penalty, 1e-4, "L2 penalty")
    count = _number(int, "a whole number from 1 to 1000000", lambda n: 1 <= n <= 10**6)
    add("--batch-size", count, 64, "pictures a step")
    add("--epochs", count, 20, "how often every picture is seen")
    add("--overfit", count, None, "learn so many pictures by heart instead")
    seed = _number(int, "a whole number from 0 to 4294967295", lambda n: 0 <= n < 2**32)
    add("--seed", seed, 0, "of every draw")
    return parser


def _number(
    kind: Callable[[str], Value], wanted: str, fits: Callable[[Value], bool]
) -> Callable[[str], Value]:
    """The reader of a number of a ``kind``, such that it ``fits``."""

    def read(text: str) -> Value:
        try:
            value = kind(text)
        except ValueError:
            pass
        else:
            if fits(value):
                return value
        raise ArgumentTypeError(f"wanted {wanted}, got {text!r}")

    return read


def _named(kind: str, choices: Mapping[str, Value]) -> Callable[[str], Value]:
    """The reader of the name of one of ``choices``."""

    def read(text: str) -> Value:
        if text not in choices:
            raise ArgumentTypeError(str(unknown(kind, text, choices)))
        return choices[text]

    return read


def _widths(text: str) -> list[int]:
    """The value of ``--hidden``: ``256,128``."""
    width = _number(int, "widths from 1 to 65536 such as 256,128", lambda n: 1 <= n <= 65536)
    return [width(word) for word in text.split(",")]
