"""Runs as their JSON files tell them, and what ``compact-vit score`` prints of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compact_vit.models.zoo import create_model
from compact_vit.score import main


@pytest.fixture
def write_run() -> Callable[..., Path]:
    """Writes what a finished run leaves of itself in JSON into a new folder."""

    def write(
        folder: Path,
        accuracy: float,
        *,
        model: str = "cct_2_3x2",
        seed: int = 0,
        dataset: str = "cifar10",
        n: int = 10_000,
        classes: int = 10,
        config: dict[str, Any] | None = None,
        **summary: Any,
    ) -> Path:
        folder.mkdir(parents=True)
        built = create_model(model, num_classes=classes)
        whole = sum(p.numel() for p in built.parameters())
        table = getattr(getattr(built, "positions", None), "table", None)
        said = {
            "model": model,
            "dataset": dataset,
            "num_classes": classes,
            "epochs": 3,
            "final": {"split": "test", "n": n, "epoch": 3, "accuracy": accuracy},
            "parameters": whole,
            "parameters_without_positions": whole - (0 if table is None else table.numel()),
            "macs": 35_341_568,
            "seed": seed,
            **summary,
        }
        chosen = {"dataset": dataset, "model": model, "seed": seed, "img_size": 32, "lr": 0.001}
        (folder / "summary.json").write_text(json.dumps(said))
        (folder / "config.json").write_text(json.dumps({**chosen, **(config or {})}))
        return folder

    return write


@pytest.fixture
def printed(capsys) -> Callable[..., str]:
    """What the command prints for the words given, having succeeded in silence."""

    def run(*words: object) -> str:
        status = main([str(word) for word in words])
        captured = capsys.readouterr()
        assert (status, captured.err) == (0, "")
        return captured.out

    return run


@pytest.fixture
def rows_of(printed) -> Callable[..., list[dict[str, Any]]]:
    """The rows of the same, from its JSON."""
    return lambda *words: json.loads(printed(*words, "--format", "json"))["rows"]
