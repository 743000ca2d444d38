"""What is seen of the reading of pictures."""

from __future__ import annotations

import pytest

from compact_vit.data import packing


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """The paths decoded so far: empty while packs are read from where they are kept."""
    seen: list[str] = []
    decode_into = packing.decode_into

    def spy(array, start: int, paths: list[str]) -> list[tuple[int, str]]:
        seen.extend(paths)
        return decode_into(array, start, paths)

    monkeypatch.setattr(packing, "decode_into", spy)
    return seen
