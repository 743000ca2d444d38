"""A section of an experiment's file, whose mistakes are said by their place."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..checks import is_real, is_whole
from ..errors import UsageError, unknown


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

    def only(self, choices: Iterable[str]) -> None:
        """Refuse a key that is not among ``choices``."""
        names = list(choices)
        for key in self.values:
            if key not in names:
                place = f"'{self.path}': {self.name}: " if self.name else f"'{self.path}': "
                raise UsageError(f"{place}{unknown('key', key, names)}")

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
