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
    """The model of the last epoch, and everything that the folder of its run says.

    Where the best epoch was picked on held-out pictures, ``load_model(output)`` is the better one.
    """

    model: AnyModel
    """Averaged if the run averages; it knows how its pictures are prepared, and its classes."""
    output: Path
    config: TrainConfig
    history: list[dict[str, Any]]
    """One row an epoch, the lines of ``metrics.jsonl``."""
    summary: dict[str, Any]
    """The content of ``summary.json``."""
