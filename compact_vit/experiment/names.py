"""Names of runs by a template, fit for folders."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import UsageError
from .fields import DOTTED, FIELDS, unknown_field
from .words import shown

#: Fields whose values say by themselves what they are.
SPEAKING = ("model", "optimizer", "schedule", "dataset", "recipe", "auto_augment")

#: Characters of the longest name that every file system takes.
_LONGEST = 150


def default_template(fields: Sequence[str]) -> str:
    """The template that names what ``fields`` are: ``{model}-lr{lr}-seed{seed}``."""
    parts = [
        f"{{{field}}}" if field in SPEAKING else f"{field.removeprefix(DOTTED)}{{{field}}}"
        for field in fields
    ]
    return "-".join(parts) or "{model}"


def fields_of(template: str) -> list[str]:
    """The fields that ``template`` names; ``UsageError`` if it is none."""
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UsageError(f"is no template: {error}") from None
    fields = []
    for _, field, form, conversion in parsed:
        if field is None:
            continue
        if field not in FIELDS and not (field.startswith(DOTTED) and field != DOTTED):
            raise UsageError(f"names an {unknown_field(field)}")
        if conversion or re.search(r"[{}]|\d{3}", form or ""):
            raise UsageError(f"must have simple forms such as {{{field}:g}}, got {template!r:.60}")
        fields.append(field)
    return fields


def name_by(template: str, value: Callable[[str], Any]) -> str:
    """The name that ``template`` gives, by each field's ``value``; safe as that of a folder.

    ``UsageError`` where a value does not take its form, or nothing is left of a name.
    """
    parts = []
    for text, field, form, _ in string.Formatter().parse(template):
        parts.append(text)
        if field is None:
            continue
        got = value(field)
        if got is None:  # an option that not all models have
            continue
        try:
            parts.append(format(got, form) if form else shown(got))
        except (ValueError, TypeError):
            raise UsageError(f"gives {field} the form {form!r}, got {got!r:.40}") from None
    safe = re.sub(r"[^\w.,=+-]+|-{2,}", "-", "".join(parts)).strip(".-")
    if not 0 < len(safe) <= _LONGEST:
        raise UsageError(f"must give names of 1 to {_LONGEST} characters, got {safe!r:.40}")
    return safe
