"""What a finished run gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import TrainConfig

if TYPE_CHECKING:
    from ..models.zoo import AnyModel


@dataclass(frozen=True)
class TrainResult:
    """The model to use, and everything that the folder of its run says."""

    model: AnyModel
    output: Path
    config: TrainConfig
    history: list[dict[str, Any]]
    """One row an epoch, the lines of ``metrics.jsonl``."""
    summary: dict[str, Any]
    """The content of ``summary.json``."""
