"""The smallest member of each family, of every positional kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from compact_vit import create_model
from compact_vit.models import CompactTransformer

SMALLEST = {"vit_lite": "vit_lite_2_8", "cvt": "cvt_2_8", "cct": "cct_2_3x2", "cct2": "cct2_2_3x2"}

Build = Callable[..., CompactTransformer]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=SMALLEST)
def build(request: pytest.FixtureRequest) -> Build:
    """``build(**options)``: the smallest member of each family in turn."""
    name = SMALLEST[request.param]

    def build(**options: Any) -> CompactTransformer:
        return create_model(name, **options)

    return build


@pytest.fixture(params=["learnable", "sine", "none"])
def positions(request: pytest.FixtureRequest) -> str:
    return request.param
