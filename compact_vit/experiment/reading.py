"""An experiment's YAML as plain values, read strictly: what is ambiguous is refused by its line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import UsageError, is_real, is_whole, unknown

#: No experiment that a person wrote is longer, bytes.
_LARGEST = 1_000_000

#: YAML 1.1 takes 1e-5 for a word, as it has no point.
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)[eE][-+]?\d+")


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


def read_word(text: str) -> Any:
    """A value as the command line gives it, taken as in the file: ``0.1``, ``true``, ``[8, 16]``.

    A list may be written without its brackets.
    """
    bare = "," in text and text[0] not in "[{\"'"
    return _parse(f"[{text}]" if bare else text, f"the value {text!r:.40}")


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


class Section:
    """A mapping of the file, whose mistakes are said with the file's name and the key."""

    def __init__(self, path: Path, name: str, value: Any) -> None:
        self.path, self.name = path, name
        if not isinstance(value, dict):
            raise self.wrong("", f"must be keys with their values, got {value!r:.40}")
        self.values: dict[str, Any] = value

    def wrong(self, key: str, problem: str) -> UsageError:
        """The error that ``problem`` is with ``key`` of this section."""
        place = ".".join(part for part in (self.name, key) if part)
        return UsageError(f"'{self.path}': {place} {problem}")

    def only(self, kind: str, choices: Iterable[str]) -> None:
        """Refuse a key that is not among ``choices``."""
        names = list(choices)
        for key in self.values:
            if key not in names:
                place = f"'{self.path}': {self.name}: " if self.name else f"'{self.path}': "
                raise UsageError(f"{place}{unknown(kind, key, names)}")

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """The word under ``key``, by default the first of ``choices``."""
        value = self.values.get(key, choices[0])
        if value not in choices:
            place = f"'{self.path}': {self.name}.{key}" if self.name else f"'{self.path}'"
            raise UsageError(f"{place}: {unknown(key, f'{value!s:.40}', choices)}")
        return str(value)

    def listed(self, key: str) -> list[Any]:
        """The list under ``key``, which must hold something."""
        value = self.values[key]
        if not isinstance(value, list):
            raise self.wrong(key, f"must be a list of values, got {value!r:.40}")
        if not value:
            raise self.wrong(key, "must hold at least one value, got an empty list")
        return value

    def number(self, key: str) -> float:
        """The finite number under ``key``."""
        value = self.values.get(key)
        if is_real(value):
            return value
        raise self.wrong(key, f"must be a number, got {value!r:.40}")

    def whole(self, key: str, default: int, least: int) -> int:
        """The whole number of at least ``least`` under ``key``."""
        value = self.values.get(key, default)
        if not is_whole(value, least):
            wanted = f"must be a whole number of at least {least}"
            raise self.wrong(key, f"{wanted}, got {value!r:.40}")
        return value
