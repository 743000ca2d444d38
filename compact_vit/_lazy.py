"""Public names that import their module on first use, so that ``--help`` never pays for torch."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def attach(
    package: str, file: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package, from the stub beside it (PEP 562).

    The stub ``__init__.pyi`` says ``from .module import name as name`` for each public name: type
    checkers read it, and so does this function, so there is one list.
    """
    stub = ast.parse(Path(file).with_suffix(".pyi").read_bytes())
    home_of = {
        alias.name: "." * node.level + (node.module or "")
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(home_of[name], package), name)
        setattr(sys.modules[package], name, value)
        return value

    names = sorted(home_of)
    return __getattr__, lambda: names, names
