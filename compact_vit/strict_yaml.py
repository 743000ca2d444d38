"""YAML as plain values, read strictly: what is ambiguous is refused by its line."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from .errors import UsageError

#: No experiment that a person wrote is longer, bytes.
_LARGEST = 1_000_000

#: YAML 1.1 takes 1e-5 for a word, as it has no point.
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)[eE][-+]?\d+")

#: YAML 1.1 takes 010 for 8, and 1:30 for 90.
_OTHER_BASE = re.compile(r"[-+]?0[0-7_]+|.*:.*")


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in the file ``path``; ``UsageError`` for anything else in it.

    A key that stands twice is refused, not overwritten, and so are aliases, whose size is not seen.
    """
    with open(path, "rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise UsageError(f"'{path}' is no experiment: it is longer than {_LARGEST:,} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"'{path}' is not text in UTF-8 (byte {error.start:,})") from None
    value = _parse(text, f"'{path}'")
    if not isinstance(value, dict):
        raise UsageError(f"'{path}' must hold keys with their values, got {value!r:.40}")
    return value


def assignment(wanted: str) -> Callable[[str], tuple[str, Any]]:
    """The type of an option whose values are ``NAME=VALUE``, as ``wanted`` says with an example.

    A value is taken as in a file: ``0.1``, ``true``, ``[8, 16]``; a list needs no brackets.
    """

    def read(text: str) -> tuple[str, Any]:
        name, _, value = text.partition("=")
        if not name or not value:
            raise argparse.ArgumentTypeError(f"wanted {wanted}, got {text!r}")
        bare = "," in value and value[0] not in "[{\"'"
        try:
            return name, _parse(f"[{value}]" if bare else value, f"the value {value!r:.40}")
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _parse(text: str, where: str) -> Any:
    import yaml

    try:
        return yaml.load(text, Loader=_loader())  # a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        problem = getattr(error, "problem", None) or str(error)
        if "'\\t'" in problem:
            problem = "a tab, which YAML does not take: use spaces"
        raise UsageError(f"{where}{line} is not YAML: {problem:.120}") from None
    except (ValueError, OverflowError) as error:  # the 31st of February, numbers of 5,000 digits
        raise UsageError(f"{where} is not YAML: {error!s:.120}") from None
    except RecursionError:
        raise UsageError(f"{where} is not YAML that fits: too many brackets") from None


@lru_cache
def _loader() -> Any:
    """yaml's ``SafeLoader``, stricter with keys and at ease with exponents."""
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                mark = self.peek_event().start_mark
                raise yaml.MarkedYAMLError(
                    problem="an alias, which is not taken here: write the value out",
                    problem_mark=mark,
                )
            return super().compose_node(parent, index)

        def construct_scalar(self, node: Any) -> Any:
            number = node.tag.rpartition(":")[2] in ("int", "float")
            if number and _OTHER_BASE.fullmatch(node.value):
                raise yaml.MarkedYAMLError(
                    problem=f"{node.value:.40} is a number to the base 8 or 60: write it plainly",
                    problem_mark=node.start_mark,
                )
            return super().construct_scalar(node)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                    problem = "a key that is no word"
                elif key.value in seen:
                    problem = f"the key {key.value!r:.40} a second time"
                else:
                    seen.add(key.value)
                    continue
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            return super().construct_mapping(node, deep)

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+.0123456789"))
    return Loader
