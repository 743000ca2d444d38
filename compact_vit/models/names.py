"""Every model by its name, compact transformer or baseline. Imports no torch."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..errors import UsageError, unknown
from .config import FORMS, ModelConfig, config_from_name, named_models

if TYPE_CHECKING:
    from ..baselines.config import BaselineConfig

    #: What describes any model; for annotations.
    AnyConfig = ModelConfig | BaselineConfig

#: What is certainly meant for a compact transformer.
_COMPACT = re.compile(r"(vit_lite|vit|cvt|cct2?)_\d.*", re.DOTALL)


def all_models() -> list[str]:
    """The members that are listed: the compact transformers, then the baselines."""
    from ..baselines.names import named_baselines

    return named_models() + named_baselines()


def config_of(name: str, **options: Any) -> AnyConfig:
    """The configuration of any well-formed name, as ``config_from_name`` of its room has it.

    An option of None stands for the name's own value. Raises ``UsageError`` naming the nearest
    right model or option.
    """
    if not isinstance(name, str):
        raise UsageError(f"model must be a name, got {name!r}")
    if _COMPACT.fullmatch(name):
        return config_from_name(name, **options)
    from ..baselines import names

    if not names.is_baseline(name):
        import timm

        if timm.is_model(name):
            raise UsageError(f"unknown model {name!r}: did you mean 'timm/{name}'?")
        forms = ", ".join((*FORMS, *names.FORMS))
        raise unknown("model", name, all_models(), f"{forms} or one of list_models()")
    return names.config_from_name(name, **options)
