"""Models by name: one line for each named member, and a grammar for all the others."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Any, Protocol

from .compact import CompactTransformer
from .config import config_from_name, named_models


class Builder(Protocol):
    """What ``cct_6_3x1`` and its like are: functions from options to a model."""

    __name__: str

    def __call__(
        self,
        *,
        num_classes: int = 10,
        img_size: int | tuple[int, int] | None = None,
        in_chans: int = 3,
        positional_embedding: str = "learnable",
        dropout: float = 0.0,
        attention_dropout: float = 0.1,
        drop_path: float = 0.1,
        residual: str = "published",
    ) -> CompactTransformer: ...


def create_model(name: str, **options: Any) -> CompactTransformer:
    """Build a compact transformer by any well-formed name, listed or not: ``cct_6_5x3``.

    ``options`` are the fields of ``ModelConfig``; None stands for the name's own value. Raises
    ``UsageError`` naming the nearest right model or option.
    """
    return CompactTransformer(config_from_name(name, **options))


def list_models(filter: str | Sequence[str] = "*") -> list[str]:
    """The named members that match a glob, or any of several: ``list_models("cct_*")``."""
    patterns = [filter] if isinstance(filter, str) else filter
    return [n for n in named_models() if any(fnmatch.fnmatchcase(n, p) for p in patterns)]


def _builder(name: str) -> Builder:
    def build(
        *,
        num_classes: int = 10,
        img_size: int | tuple[int, int] | None = None,
        in_chans: int = 3,
        positional_embedding: str = "learnable",
        dropout: float = 0.0,
        attention_dropout: float = 0.1,
        drop_path: float = 0.1,
        residual: str = "published",
    ) -> CompactTransformer:
        return create_model(
            name,
            num_classes=num_classes,
            img_size=img_size,
            in_chans=in_chans,
            positional_embedding=positional_embedding,
            dropout=dropout,
            attention_dropout=attention_dropout,
            drop_path=drop_path,
            residual=residual,
        )

    family, *size = name.rsplit("_", 2)
    title = {"vit_lite": "ViT-Lite", "cvt": "CVT", "cct": "CCT"}[family] + "-" + "/".join(size)
    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"""{title} of arXiv 2104.05704: ``[B, in_chans, H, W] -> [B, num_classes]``.

    ``img_size`` None means {config_from_name(name).img_size} pixels. The options are the fields
    of ``ModelConfig``.
    """
    return build


vit_lite_2_4 = _builder("vit_lite_2_4")
vit_lite_2_8 = _builder("vit_lite_2_8")
vit_lite_2_16 = _builder("vit_lite_2_16")
vit_lite_4_4 = _builder("vit_lite_4_4")
vit_lite_4_8 = _builder("vit_lite_4_8")
vit_lite_4_16 = _builder("vit_lite_4_16")
vit_lite_6_4 = _builder("vit_lite_6_4")
vit_lite_6_8 = _builder("vit_lite_6_8")
vit_lite_6_16 = _builder("vit_lite_6_16")
vit_lite_7_4 = _builder("vit_lite_7_4")
vit_lite_7_8 = _builder("vit_lite_7_8")
vit_lite_7_16 = _builder("vit_lite_7_16")
vit_lite_8_4 = _builder("vit_lite_8_4")
vit_lite_8_8 = _builder("vit_lite_8_8")
vit_lite_8_16 = _builder("vit_lite_8_16")
cvt_2_4 = _builder("cvt_2_4")
cvt_2_8 = _builder("cvt_2_8")
cvt_2_16 = _builder("cvt_2_16")
cvt_4_4 = _builder("cvt_4_4")
cvt_4_8 = _builder("cvt_4_8")
cvt_4_16 = _builder("cvt_4_16")
cvt_6_4 = _builder("cvt_6_4")
cvt_6_8 = _builder("cvt_6_8")
cvt_6_16 = _builder("cvt_6_16")
cvt_7_4 = _builder("cvt_7_4")
cvt_7_8 = _builder("cvt_7_8")
cvt_7_16 = _builder("cvt_7_16")
cvt_8_4 = _builder("cvt_8_4")
cvt_8_8 = _builder("cvt_8_8")
cvt_8_16 = _builder("cvt_8_16")
cct_2_3x1 = _builder("cct_2_3x1")
cct_2_3x2 = _builder("cct_2_3x2")
cct_2_7x2 = _builder("cct_2_7x2")
cct_4_3x1 = _builder("cct_4_3x1")
cct_4_3x2 = _builder("cct_4_3x2")
cct_4_7x2 = _builder("cct_4_7x2")
cct_6_3x1 = _builder("cct_6_3x1")
cct_6_3x2 = _builder("cct_6_3x2")
cct_6_7x2 = _builder("cct_6_7x2")
cct_7_3x1 = _builder("cct_7_3x1")
cct_7_3x2 = _builder("cct_7_3x2")
cct_7_7x2 = _builder("cct_7_7x2")
cct_8_3x1 = _builder("cct_8_3x1")
cct_8_3x2 = _builder("cct_8_3x2")
cct_8_7x2 = _builder("cct_8_7x2")
cct_14_3x1 = _builder("cct_14_3x1")
cct_14_3x2 = _builder("cct_14_3x2")
cct_14_7x2 = _builder("cct_14_7x2")
