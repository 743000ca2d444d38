"""The scripts of ``benchmarks/`` are imported by their names."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from compact_vit.train import epoch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch) -> Iterator[Callable[[str], ModuleType]]:
    """Import a file of ``benchmarks/``, and give the process back its threads and its seed."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    yield importlib.import_module
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


@pytest.fixture
def terminated_in() -> Callable[[pytest.MonkeyPatch, int], None]:
    """Have a ``patch`` send SIGTERM in the training step of that number."""

    def patched(patch: pytest.MonkeyPatch, step: int) -> None:
        original, calls = epoch.train_step, []

        def counted(*args):
            calls.append(1)
            if len(calls) == step:
                os.kill(os.getpid(), signal.SIGTERM)
            return original(*args)

        patch.setattr(epoch, "train_step", counted)

    return patched


CHECKOUT = """
from torch import nn


class CCT(nn.Module):
    def __init__(self, **options):
        super().__init__()
        pixels = options["n_input_channels"] * options["img_size"] ** 2
        self.head = nn.Linear(pixels, options["num_classes"])

    def forward(self, x):
        return self.head(x.flatten(1))
"""


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A checkout laid out as the published one, its model a linear map."""
    source = tmp_path / "checkout" / "src"
    source.mkdir(parents=True)
    (source / "__init__.py").write_text("from .cct import *\n")
    (source / "cct.py").write_text(CHECKOUT)
    return source.parent
