"""Numbers as people write them on a command line: 3.19M, 500k, 5ms."""

from __future__ import annotations

import argparse
import re
from decimal import Decimal

_SCALES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_COUNT = re.compile(r"(\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?(?:e\d{1,2})?)([kmg]?)", re.IGNORECASE)
_MILLISECONDS = {"us": Decimal("0.001"), "ms": Decimal(1), "s": Decimal(1000)}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s)", re.IGNORECASE)


def count(text: str) -> int:
    """How many: ``3191397``, ``3,191,397``, ``3.19M``, ``500k`` or ``1.5G``."""
    match = _COUNT.fullmatch(text.strip())
    number = Decimal(0)
    if match:
        number = Decimal(match[1].replace(",", "")) * _SCALES[match[2].lower()]
    if number < 1 or number != int(number):
        raise argparse.ArgumentTypeError(
            f"wanted a whole number of at least 1, such as 3191397, 3.19M or 500k, got {text!r}"
        )
    return int(number)


def milliseconds(text: str) -> float:
    """How long, with its unit: ``5ms``, ``0.5s`` or ``800us``."""
    match = _DURATION.fullmatch(text.strip())
    duration = Decimal(match[1]) * _MILLISECONDS[match[2].lower()] if match else Decimal(0)
    if duration <= 0:
        raise argparse.ArgumentTypeError(
            f"wanted a time above 0 with its unit, such as 5ms or 0.5s, got {text!r}"
        )
    return float(duration)
